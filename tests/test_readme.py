"""What the README says exists: commands with their options, files, modules, notebooks."""

import importlib.util
import re
import subprocess
import sys

import pytest

from r2d import __main__ as command_line
from r2d import paths, recipes

TEXT = (paths.ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [
    line.split("#")[0].strip()
    for block in BLOCKS
    for line in block.splitlines()
    if line.split("#")[0].strip()
]
OURS = [c for c in COMMANDS if c.startswith("./run_all.sh")]
MODULES = [c for c in COMMANDS if " -m " in c]


@pytest.fixture(scope="module")
def usage() -> str:
    return subprocess.run(
        [paths.ROOT / "run_all.sh", "--help"], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("command", OURS)
def test_run_all_knows_what_the_readme_asks_of_it(command, usage):
    words = command.split()[1:]
    if words[:1] == ["your-data"]:
        command_line.parser().parse_args(words)
        return
    profile = next((w for w in words if w in recipes.profiles()), "mini")
    assert all(
        word in usage
        for word in words
        if word.startswith("--") and word != "--help" or word in ("test", "lab", "report")
    )
    if "--only" in words:
        assert set(words[words.index("--only") + 1].split(",")) <= set(
            recipes.load(profile).experiments
        )
    if "--set" in words:
        recipes.load(profile, recipes.settings_of([words[words.index("--set") + 1]]))
    if "--on" in words:
        assert (
            paths.NOTEBOOKS / "workflow" / words[words.index("--on") + 1] / "config.yaml"
        ).is_file()


@pytest.mark.parametrize("command", MODULES)
def test_the_packages_own_commands_take_what_the_readme_gives_them(command):
    name, *words = command.partition(" -m ")[2].split()
    if name == "r2d":
        command_line.parser().parse_args(words)
        return
    assert importlib.util.find_spec(name)
    said = subprocess.run(
        [sys.executable, "-m", name, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=paths.ROOT,
    )
    assert all(word in said.stdout for word in words if word.startswith("-"))
    if name == "r2d.run":
        recipe = recipes.load(words[0])
        assert words[1] in recipe.datasets and words[2] in recipe.methods and int(words[3])


def test_there_are_commands_to_check():
    assert len(OURS) >= 10 and len(MODULES) >= 5


def test_every_module_and_notebook_has_its_place_in_the_layout():
    layout = re.search(r"```\nrun_all.sh.*?```", TEXT, re.DOTALL)[0]
    modules = {p.stem for p in paths.PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    plumbing = {"paths", "env", "assets", "notebook", "readme", "baselines"}  # what their names say
    named = set(re.findall(r"(\w+)\.py", layout)) | {"figures", "figures_llm", "figures_studies"}
    assert modules - plumbing == named, sorted((modules - plumbing) ^ named)
    assert all(f"`{p.stem}`" in TEXT for p in paths.NOTEBOOKS.glob("*.ipynb"))
    for name in re.findall(r"^  ?(\w+)/ ", layout, re.MULTILINE):
        assert (paths.PACKAGE / name).is_dir()


def test_its_links_into_the_project_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT):
        assert (paths.ROOT / target).exists(), target
