"""What README and the site's pages say exists: commands and options, files, rooms, notebooks."""

import re
import shlex

import pytest
import typer

from r2d import paths, recipes
from r2d.cli import app
from r2d.errors import R2DError
from r2d.reporting import readme, tables

README = (paths.ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((paths.PACKAGE / "reporting" / "pages").glob("*.md"))
TEXT = "\n".join([README, *(page.read_text(encoding="utf-8") for page in PAGES)])
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if "./run_all.sh" in line or " -m r2d " in line
]


def words_of(command: str) -> list[str]:
    """The words that `python -m r2d` gets: run_all.sh puts `run` before a profile or an option."""
    words = shlex.split(re.split(r"\./run_all\.sh| -m r2d ", command)[1])
    hands_over = not words or words[0].startswith("-") or words[0] in recipes.profiles()
    return ["run", *words] if hands_over else words


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood_with_its_options(command):
    words = words_of(command)
    whole = typer.main.get_command(app)
    if words[-1] == "--help":
        assert words[0] in whole.commands
        return
    context = whole.make_context("r2d", list(words))
    name, chosen, rest = whole.resolve_command(context, words)
    given = chosen.make_context(name, rest, parent=context).params
    profile = given.get("profile") or "mini"
    recipe = recipes.load(profile if isinstance(profile, str) else profile[0])
    if given.get("only"):
        assert set(given["only"].split(",")) <= set(recipe.experiments)
    if given.get("changes"):
        recipes.load(recipe.profile, recipes.parse_settings(given["changes"]))
    if given.get("on"):
        assert (paths.NOTEBOOKS / "workflow" / given["on"] / "config.yaml").is_file()
    if name == "train":
        assert given["dataset"] in recipe.datasets and given["method"] in recipe.methods


def test_there_are_commands_to_check():
    assert len([c for c in COMMANDS if c.startswith("./run_all.sh")]) >= 10


def test_an_option_that_does_not_exist_would_be_noticed():
    whole = typer.main.get_command(app)
    context = whole.make_context("r2d", ["run", "--nosuch"])
    name, chosen, rest = whole.resolve_command(context, ["run", "--nosuch"])
    with pytest.raises(Exception, match="No such option"):
        chosen.make_context(name, rest, parent=context)


def test_every_room_and_notebook_has_its_place():
    layout = re.search(r"```\nrun_all.sh.*?```", README, re.DOTALL)[0]
    rooms = {p.parent.name for p in paths.PACKAGE.glob("*/__init__.py")}
    assert set(re.findall(r"^  (\w+)/ ", layout, re.MULTILINE)) == rooms
    assert all(f"`{p.stem}`" in README for p in paths.NOTEBOOKS.glob("*.ipynb"))


def test_its_links_into_the_project_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (paths.ROOT / target).exists(), target


# --- the results

MINI = paths.ROOT / "figures" / "mini"
committed = pytest.mark.skipif(
    not (MINI / "manifest.json").is_file(), reason="figures/mini is not there"
)


@committed
def test_the_results_are_those_of_the_committed_files():
    assert README == readme.filled(README, readme.block(MINI)), "run ./run_all.sh figures"


@committed
def test_the_results_are_one_table_of_six_columns_three_sentences_and_one_figure():
    block = readme.block(MINI)
    rows = [line for line in block.splitlines() if line.startswith("|")]
    methods = tables.read(MINI / "table_1.csv").query("dataset == 'triage'")["title"]
    assert len(rows) == 2 + len(methods) and {row.count("|") for row in rows} == {7}
    sentences = [line for line in block.splitlines() if line.startswith("- ")]
    findings = (MINI / "findings.md").read_text(encoding="utf-8")
    assert len(sentences) == 3 and all(sentence in findings for sentence in sentences)
    assert block.count("![") == 1 and "pubmedqa" not in block
    assert recipes.load("mini").note in block


@committed
def test_training_time_takes_in_the_stage_1_that_a_method_starts_from():
    costs = tables.read(MINI / "table_2.csv").set_index("method")["seconds"]
    (row,) = [line for line in readme.block(MINI).splitlines() if line.startswith("| R2D  ")]
    assert f"| {costs['r2d-full'] + costs['stage1-full']:.0f} s " in row


def test_only_what_stands_between_the_markers_is_rewritten(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(readme, "block", lambda folder: f"results of {folder.name}")
    file = tmp_path / "README.md"
    file.write_text(f"before\n{readme.START}\nold\n{readme.END}\nafter\n")
    readme.rewrite()
    block = f"{readme.START}\n\nresults of mini\n\n{readme.END}"
    assert file.read_text() == f"before\n{block}\nafter\n"
    assert (tmp_path / "figures" / "method.png").is_file()


def test_without_markers_or_results_a_sentence_says_so(tmp_path):
    with pytest.raises(R2DError, match="needs one line"):
        readme.filled("no markers", "block")
    folder = tmp_path / "mini"
    folder.mkdir()
    with pytest.raises(R2DError, match="table_1.csv is not there; run `./run_all.sh` first."):
        readme.block(folder)
