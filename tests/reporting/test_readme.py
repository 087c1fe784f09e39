"""What README and the site's pages say exists: commands and options, files, rooms, notebooks."""

import json
import re
import shlex

import pandas as pd
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

MINI, STUDY = (paths.ROOT / "figures" / profile for profile in ("mini", "study"))
committed = pytest.mark.skipif(
    not (MINI / "manifest.json").is_file(), reason="figures/mini is not there"
)


@committed
def test_the_results_are_those_of_the_committed_files():
    assert README == readme.filled(README, readme.block(MINI)), "run ./run_all.sh figures"


@committed
def test_the_examples_are_those_of_the_committed_run():
    block = readme.examples(MINI)
    ends = readme.EXAMPLES_START, readme.EXAMPLES_END
    assert README == readme.filled(README, block, *ends), "run ./run_all.sh figures"
    made = json.loads((MINI / readme.EXAMPLES).read_text(encoding="utf-8"))
    right, wrong = made["examples"]
    assert right["outcome"] == "right" and right["label"] == right["gold"]
    assert wrong["outcome"] != "right" and wrong["label"] != wrong["gold"]


@committed
def test_the_studys_answers_are_those_of_its_committed_findings():
    block = readme.answers(STUDY)
    ends = readme.ANSWERS_START, readme.ANSWERS_END
    assert README == readme.filled(README, block, *ends), "run ./run_all.sh figures"
    questions = re.findall(r"^- (.+?\?) ", block, re.MULTILINE)
    assert [question.split()[0] for question in questions] == ["Do", "Does", "Does"]
    assert recipes.load("study").note in block and "synthetic: triage" in block


@committed
def test_the_results_are_one_table_of_eight_columns_the_findings_and_one_figure():
    block = readme.block(MINI)
    rows = [line for line in block.splitlines() if line.startswith("|")]
    methods = tables.read(MINI / "table_1.csv").query("dataset == 'triage'")["title"]
    assert len(rows) == 2 + len(methods) and {row.count("|") for row in rows} == {9}
    sentences = [line for line in block.splitlines() if line.startswith("- ")]
    findings = (MINI / "findings.md").read_text(encoding="utf-8")
    as_found = [re.sub(r"^- [^:]+ \((E\d)\): ", r"- \1: ", sentence) for sentence in sentences]
    assert sentences and all(sentence in findings for sentence in as_found)
    assert block.count("![") == 1 and "pubmedqa" not in block
    assert recipes.load("mini").note in block


@pytest.fixture
def results(tmp_path):
    """`results(runs, costs)`: a folder of mini, of runs of table 1 and rows of table 2."""
    folder = tmp_path / "mini"
    folder.mkdir()

    def write(runs, costs):
        known = {"dataset": "triage", "profile": "mini", "test_cases": 9, "macro_f1": 0.5}
        known |= {"total_steps": None, "total_target_tokens": None}
        frame = pd.DataFrame([known | {"title": run["method"]} | run for run in runs])
        tables.summarise(frame).to_csv(folder / "table_1.csv", index=False)
        (folder / "table_1.md").write_text("Profile\n\n| table |\n\nThese rows: one run.\n")
        table_2 = pd.DataFrame([{"dataset": "triage", "seeds": 2} | row for row in costs])
        table_2.to_csv(folder / "table_2.csv", index=False)
        (folder / f"{readme.FIGURE}.png").write_bytes(b"")
        found = "- R2D can't be told apart on triage from DSS."
        (folder / "findings.md").write_text(f"**Table 1**\n\n{found}\n")
        return folder

    return write


def cells_of(block: str) -> dict[str, list[str]]:
    """The cells of a block's table by the first of each row."""
    rows = [line for line in block.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {first: rest for first, *rest in cells}


def test_steps_are_the_means_of_the_rows_own_runs_with_their_range(results):
    runs = [
        {"method": "sft-matched", "seed": seed, "total_steps": steps, "total_target_tokens": tokens}
        for seed, steps, tokens in ((1, 2400, 250000), (2, 1700, 170000), (3, 2080, 240000))
    ]
    runs += [{"method": "r2d-full", "seed": 1, "total_steps": 900, "total_target_tokens": 6e5}]
    runs += [{"method": "majority", "seed": 1, "total_steps": None, "total_target_tokens": None}]
    costs = [{"method": "sft-matched", "seconds": 115.0, "steps": 2400}]
    cells = cells_of(readme.block(results(runs, costs)))
    steps, tokens = (
        cells["method"].index("Steps"),
        cells["method"].index("Target tokens (thousands)"),
    )
    assert cells["sft-matched"][steps] == "2,060 (1,700–2,400)"
    assert cells["sft-matched"][tokens] == "220" and cells["sft-matched"][-1] == "115 s"
    assert cells["r2d-full"][steps] == "900" and cells["r2d-full"][tokens] == "600"
    assert cells["majority"][steps:] == ["–", "–", "–"]


def test_seconds_take_in_stage_1_and_are_said_to_be_of_the_seeds_of_their_table(results):
    costs = [
        {"method": "r2d-full", "seconds": 80.0, "seeds": 3},
        {"method": "stage1-full", "seconds": 25.0, "seeds": 3},
    ]
    block = readme.block(results([{"method": "r2d-full", "seed": 1}], costs))
    assert cells_of(block)["r2d-full"][-1] == "105 s"
    assert "the cost experiment, *What it costs* (E7: 3 seeds), by the clock" in block
    assert "over 1 seeds" in block


def test_following_a_forced_label_stands_beside_agreement(results):
    run = {"method": "r2d-full", "seed": 1, "agreement": 0.9, "follows_label": 0.75}
    run |= {"degenerate": 0.0}
    cells = cells_of(readme.block(results([run], [{"method": "r2d-full", "seconds": 2.0}])))
    assert cells["r2d-full"][cells["method"].index("Follows a forced label")] == "75.0"


def test_the_findings_shown_are_table_1s_and_how_rationales_follow_labels(results):
    run = {"method": "r2d-full", "title": "R2D", "seed": 1, "agreement": 0.8}
    folder = results([run], [{"method": "r2d-full", "seconds": 2.0}])
    shown = [
        "- Table 1: R2D beats SFT on triage: macro-F1 +3.0 [+1.0, +5.0].",
        "- E3: R2D beats another on triage: macro-F1 +3.0 [+1.0, +5.0].",
        "- E6: In wrongly decided cases of triage the gap of R2D is smaller than another's.",
        "- R2D can't be told apart on triage (3 runs a method) from DSS.",
        "- Power: with 3 runs a method and 400 cases of triage, a true difference.",
        "- R2D on triage (3 runs): the rationale supports the decided label in 84.0% of cases.",
    ]
    others = [
        "- E6: R2D beats another on triage: macro-F1 +3.0 [+1.0, +5.0].",
        "- One run each on pubmedqa, 200 cases, says nothing about the methods.",
        "- DSS on triage (3 runs): the rationale supports the decided label in 80.0% of cases.",
    ]
    blocks = {"Told apart": (0, 1, 2), "Table 1": (3, 4), "E6: Exposure bias": (5,)}
    text = []
    for (heading, places), other in zip(blocks.items(), others, strict=True):
        listed = "\n".join([*(shown[k] for k in places), other])
        text.append(f"**{heading}**\n\n{listed}")
    (folder / "findings.md").write_text("\n\n".join(text) + "\n")
    block = readme.block(folder)
    shown[1] = f"- What each part of the method is worth (E3): {shown[1].removeprefix('- E3: ')}"
    shown[2] = f"- Exposure bias (E6): {shown[2].removeprefix('- E6: ')}"
    assert [line for line in block.splitlines() if line.startswith("- ")] == shown
    assert "| 50.0 " in block and "| 80.0 " in block
    (folder / "findings.md").write_text("**E2**\n\n- Nothing.\n")
    with pytest.raises(R2DError, match="hold no comparison on triage"):
        readme.block(folder)


def test_only_what_stands_between_the_markers_is_rewritten(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(readme, "block", lambda folder: f"results of {folder.name}")
    monkeypatch.setattr(readme, "examples", lambda folder: f"cases of {folder.name}")
    monkeypatch.setattr(readme, "answers", lambda folder: f"answers of {folder.name}")
    file = tmp_path / "README.md"
    cases = f"{readme.EXAMPLES_START}\nold\n{readme.EXAMPLES_END}"
    results = f"{readme.START}\nold\n{readme.END}"
    answers = f"{readme.ANSWERS_START}\nold\n{readme.ANSWERS_END}"
    file.write_text(f"before\n{cases}\nbetween\n{results}\nafter\n{answers}\n")
    readme.rewrite()
    cases = f"{readme.EXAMPLES_START}\n\ncases of mini\n\n{readme.EXAMPLES_END}"
    results = f"{readme.START}\n\nresults of mini\n\n{readme.END}"
    answers = f"{readme.ANSWERS_START}\n\nanswers of study\n\n{readme.ANSWERS_END}"
    assert file.read_text() == f"before\n{cases}\nbetween\n{results}\nafter\n{answers}\n"
    assert (tmp_path / "figures" / "method.png").is_file()


def test_without_markers_or_results_a_sentence_says_so(tmp_path):
    with pytest.raises(R2DError, match="needs one line"):
        readme.filled("no markers", "block")
    folder = tmp_path / "mini"
    folder.mkdir()
    with pytest.raises(R2DError, match="table_1.csv is not there; run `./run_all.sh` first."):
        readme.block(folder)
    with pytest.raises(R2DError, match="examples.json is not there; run `./run_all.sh figures`"):
        readme.examples(folder)
    with pytest.raises(R2DError, match="findings.md is not there; run `./run_all.sh study` first"):
        readme.answers(folder)


def test_an_example_shows_what_was_written_how_sure_it_was_and_no_markup(tmp_path):
    case = {"outcome": "wrong, yet convincing", "kind": "plain", "note": "cough *<b>*", "gold": "a"}
    case |= {"label": "b", "rationale": "b | because", "gold_rationale": "a", "confidence": 0.414}
    made = {"run": "runs/mini/triage/r2d-full/seed1", "title": "R2D", "temperature": 1.3}
    made |= {"abstain_below": 0.6, "coverage": 0.8, "accuracy": 0.9}
    made["examples"] = [case | {"abstained": True}]
    (tmp_path / readme.EXAMPLES).write_text(json.dumps(made))
    lines = readme.examples(tmp_path).splitlines()
    cells = [" ".join(line.replace("\\|", "/").split("|")[2].split()) for line in lines[:8]]
    assert cells[0] == "decided wrong, yet convincing" and cells[2] == r"cough \*\<b\>\*"
    assert cells[3:] == ["a", "b", "b / because", "a", "41.4%, would leave it to a person"]
    assert "temperature 1.30); leaving cases below 60% to a person answers 80%" in lines[-1]
