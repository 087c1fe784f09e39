"""The code keeps to one format, and every line fits a page: notebooks and recipes too."""

import json
import subprocess
import sys

import pytest

from r2d import paths

CHECKED = ("r2d", "tests", "notebooks")


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_ruff_has_nothing_to_say(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache", *CHECKED],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("file", sorted(paths.NOTEBOOKS.glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_is_kept_without_outputs_and_fits_a_screen(file):
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    lines = [line for cell in code for line in "".join(cell["source"]).split("\n")]
    assert max(map(len, lines)) <= 100 and len(cells) <= 40


@pytest.mark.parametrize("file", sorted(paths.RECIPES.glob("*.yaml")), ids=lambda p: p.stem)
def test_a_recipe_fits_a_page(file):
    assert max(map(len, file.read_text(encoding="utf-8").splitlines())) <= 100
