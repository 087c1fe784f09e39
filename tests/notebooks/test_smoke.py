"""Every notebook under `smoke`, end to end, in a copy of the project: what a run leaves."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from r2d import data, paths
from r2d.experiments import grid

STORY = {
    "00_overview",
    "05_zero_shot_llms",
    "06_automatic_metrics",
    "07_llm_judge",
    "08_figures",
    "10_when_rationales_help",
}


def run_all(project, environment, cores):
    command = ["./run_all.sh", "smoke", "--no-install", "--cores", str(cores)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=project, env=environment, **pipes) as running:
        try:
            shown = running.communicate(timeout=3600)
        except subprocess.TimeoutExpired:
            running.terminate()  # the workflow stops its notebooks, too
            raise
    assert running.returncode == 0, "".join(shown)[-4000:]
    return shown[0]


@pytest.fixture(scope="module")
def executed(project, outside):
    """`./run_all.sh smoke` in the copy: (what it said, home)."""
    shown = run_all(project, outside, min(4, len(os.sched_getaffinity(0))))
    return shown, Path(outside["R2D_HOME"])


def test_one_command_ends_by_saying_where_everything_is(executed, project):
    shown, home = executed
    runs = home / "runs" / "smoke"
    assert re.search(r"Done in \d+ min \d+ s", shown)
    assert str(runs / "report" / "index.html") in shown
    assert (runs / "report" / "index.html").is_file()
    for folder in (runs / "figures", runs / "results", runs / "notebooks"):
        assert f"{folder}/" in shown and any(folder.iterdir())


def test_every_notebook_was_executed_to_its_end(executed, needed):
    runs, datasets = needed()
    folder = executed[1] / "runs" / "smoke" / "notebooks"
    wanted = {grid.executed(run) for run in runs}
    wanted |= {f"01_data-{dataset}" for dataset in datasets} | STORY
    assert {path.stem for path in folder.glob("*.ipynb")} == wanted
    for path in folder.glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        code = [cell for cell in cells if cell.cell_type == "code"]
        outputs = [output for cell in code for output in cell.outputs]
        assert all(cell.execution_count for cell in code)
        assert not [output for output in outputs if output.output_type == "error"]


def test_every_run_of_the_grid_has_metrics(executed, smoke):
    _, runs, _ = smoke
    assert len(runs) >= 6
    for run in runs:
        method = executed[1] / "runs" / "smoke" / run.dataset / run.method
        metrics = json.loads((method / f"seed{run.seed}" / "metrics.json").read_text())
        assert 0 <= metrics["metrics"]["macro_f1"]["value"] <= 1 and metrics["signatures"]
        assert not (method / f".seed{run.seed}.part").exists()


def test_tables_and_figures_are_files_with_their_origin(executed, project, smoke):
    runs = executed[1] / "runs" / "smoke"
    folder, results = runs / "figures", runs / "results"
    tables = {"table_1.csv", "table_1.md", "table_2.csv", "runs.csv", "comparisons.csv"}
    assert tables <= {path.name for path in results.iterdir()}
    manifest = json.loads((folder / "manifest.json").read_text())
    pictures = sorted(folder.glob("*.png"))
    assert {path.stem.split("_")[0] for path in pictures} >= {"fig1a", "fig7", "fig8a"}
    for picture in pictures:
        assert picture.with_suffix(".pdf").is_file() and picture.with_suffix(".csv").is_file()
        entry = manifest[picture.stem]
        assert (entry["profile"], entry["recipe"]) == ("smoke", smoke[0].fingerprint())
        assert entry["inputs"]
    assert smoke[0].note in (folder / "table_1.md").read_text()
    for name in ("table_1.csv", "table_1.md", "table_2.csv", "comparisons.csv"):
        ((behind, digest),) = manifest[name]["inputs"].items()
        file = executed[1] / behind
        assert hashlib.sha256(file.read_bytes()).hexdigest()[:12] == digest
        # They name a run's directory.
        assert {"dataset", "method", "seed"} <= {*pd.read_csv(file)}


def test_no_note_stands_in_any_log(executed, outside, smoke):
    home = executed[1]
    tested = []
    for path in home.rglob("predictions.jsonl"):
        with path.open(encoding="utf-8") as file:
            tested += [json.loads(line) for line in file]
    secret = {row["rationale_gold"] for row in tested}
    secret |= {record.question for record in data.load("triage", smoke[0].datasets["triage"]).test}
    pubmedqa = Path(outside.get("R2D_DATA", "/nowhere")) / "pubmedqa" / "ori_pqal.json"
    if pubmedqa.is_file():
        cases = json.loads(pubmedqa.read_text(encoding="utf-8"))
        questions = {cases[row["id"]]["QUESTION"] for row in tested if row["id"] in cases}
        assert questions
        secret |= questions
    logs = [path for path in home.rglob("*") if path.suffix in (".log", ".jsonl")]
    logs = [path for path in logs if path.name != "predictions.jsonl"]
    text = "".join(path.read_text(encoding="utf-8") for path in logs)
    assert len(secret) > 20 and len(logs) > 10
    assert not [each for each in secret if each[:60] in text]


def test_the_same_command_again_does_nothing(executed, project, outside):
    runs = executed[1] / "runs" / "smoke"
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*.json*")}
    began = time.monotonic()
    shown = run_all(project, outside, 2)
    assert "start" not in shown and time.monotonic() - began < 15
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*.json*")} == before


def test_a_notebook_runs_with_its_defaults_without_papermill_in_this_environments_kernel(tmp_path):
    """As `./run_all.sh lab` does it, although the user has another kernel of the same name."""
    decoy = tmp_path / "user" / "kernels" / "r2d"
    decoy.mkdir(parents=True)
    (decoy / "kernel.json").write_text(
        '{"argv": ["false"], "display_name": "elsewhere", "language": "python"}'
    )
    env = os.environ | {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_DATA_DIR": str(tmp_path / "user")}
    env |= {"R2D_HOME": str(tmp_path), "PYTHONPATH": str(paths.ROOT)}
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook"]
    command += ["--output-dir", str(tmp_path), "01_data.ipynb"]
    done = subprocess.run(
        command, cwd=paths.NOTEBOOKS, env=env, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (paths.NOTEBOOKS / "01_data.ipynb").is_file()
    assert list(tmp_path.glob("runs/mini/triage/data.json"))
