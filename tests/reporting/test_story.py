"""The executed notebooks that are kept: which, with which links, and what is left out of them."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from r2d import paths, recipes
from r2d.reporting import collect, story

RUNS = [
    ("02_stage1", "stage1-qlora", 1),
    ("02_stage1", "stage1-full", 2),
    ("02_stage1", "stage1-full", 1),
    ("03_stage2", "r2d-qlora", 1),
    ("03_stage2", "r2d-full", 1),
    ("04_baselines", "majority", 1),
    ("04_baselines", "dss-full", 1),
]
CHOSEN = [
    "00_overview",
    "01_data-triage",
    "02_stage1-triage-stage1-full-seed1",
    "03_stage2-triage-r2d-full-seed1",
    "04_baselines-triage-dss-full-seed1",
]


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """Executed notebooks of `smoke`, each with a link to 03, one to 09 and a progress bar."""
    monkeypatch.setenv("R2D_HOME", str(tmp_path))
    synthetic = {"triage": True, "pubmedqa": False}
    monkeypatch.setattr(collect, "dataset", lambda _, name: {"synthetic": synthetic[name]})
    folder = paths.runs("smoke") / "notebooks"
    folder.mkdir(parents=True)
    for stem in ("00_overview", "01_data-triage", "01_data-pubmedqa"):
        write(folder, stem, {})
    for source, method, seed in RUNS:
        given = {"dataset": "triage", "method": method, "seed": seed}
        write(folder, f"{source}-triage-{method}-seed{seed}", given)
    return tmp_path / "kept" / "notebooks"


def write(folder, stem, given):
    links = "[read on](03_stage2.ipynb), [yours](09_your_dataset.ipynb)"
    bar = new_output("stream", name="stderr", text="100%|####|")
    said = new_output("stream", name="stdout", text="done")
    cells = [new_markdown_cell(f"# A question\n\n{links}"), new_code_cell("1", outputs=[bar, said])]
    record = {"parameters": given, "duration": 1.5, "output_path": str(folder / stem)}
    book = new_notebook(cells=cells, metadata={"papermill": record})
    nbformat.write(book, folder / f"{stem}.ipynb")


def test_one_of_each_notebook_is_kept_and_none_of_real_notes(executed):
    story.keep(recipes.load("smoke"), executed)
    assert sorted(file.stem for file in executed.iterdir()) == CHOSEN


def test_one_that_was_not_executed_leads_to_another_profiles_executed_copy(
    executed, tmp_path, monkeypatch
):
    monkeypatch.setattr(paths, "ROOT", tmp_path / "project")
    kept = paths.committed("study") / story.FOLDER
    kept.mkdir(parents=True)
    for stem in ("03_stage2-n0500-r2d-full-seed1", "09_your_dataset"):
        (kept / f"{stem}.ipynb").write_text("{}")
    story.keep(recipes.load("smoke"), executed)
    text = (executed / "00_overview.ipynb").read_text()
    yours = text.partition("[yours](")[2].partition(")")[0]
    assert (executed / yours).resolve() == kept / "09_your_dataset.ipynb"
    assert "(03_stage2-triage-r2d-full-seed1.ipynb)" in text  # its own comes first


def test_they_lead_to_one_another_and_say_nothing_of_the_machine(executed):
    recipe = recipes.load("smoke")
    executed.mkdir(parents=True)
    (executed / "06_old.ipynb").write_text("of an earlier run")
    story.keep(recipe, executed)
    text = (executed / "00_overview.ipynb").read_text()
    assert "(03_stage2-triage-r2d-full-seed1.ipynb)" in text
    stored = text.partition("[yours](")[2].partition(")")[0]
    assert (executed / stored).resolve() == paths.NOTEBOOKS / "09_your_dataset.ipynb"  # no copy
    assert str(paths.home()) not in text and "100%" not in text and "done" in text
    assert json.loads(text)["metadata"]["papermill"] == {"parameters": {}, "duration": 1.5}
    assert not (executed / "06_old.ipynb").exists()
