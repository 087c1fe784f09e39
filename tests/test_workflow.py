"""The workflow: what a dry run lists, and every notebook under `smoke`, end to end, from a copy of the project."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from conftest import new_home

from r2d import config, grid, paths

NAMES = ("r2d", "notebooks", "run_all.sh", "pyproject.toml", "constraints.txt", "environment.yml")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project, so that neither its figures nor its lock are touched."""
    folder = tmp_path_factory.mktemp("copy") / "project"
    folder.mkdir()
    for name in NAMES:
        source = paths.ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
        elif source.is_file():
            shutil.copy2(source, folder / name)
    return folder


@pytest.fixture(scope="module")
def outside(project) -> dict[str, str]:
    """The environment of a user: a home elsewhere, the data sets if there are any, this interpreter."""
    data = Path(os.environ.get("R2D_DATA") or paths.ROOT.parent / "shared" / "data").expanduser().resolve()
    inside = {k: v for k, v in os.environ.items() if k not in ("CONDA_PREFIX", "R2D_DATA")}
    mine = {"R2D_HOME": str(new_home(project.parent / "home")), "VIRTUAL_ENV": sys.prefix, "PYTHONPATH": str(project)}
    return inside | mine | ({"R2D_DATA": str(data)} if data.is_dir() else {})


@pytest.fixture(scope="module")
def asked(outside):
    """The recipe and every run that its experiments are made of."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("R2D_HOME", "R2D_DATA"):
            patch.setenv(name, outside[name]) if name in outside else patch.delenv(name, raising=False)
        recipe = config.load("smoke")
        return recipe, grid.runs(recipe, list(recipe.experiments)), grid.datasets(recipe, list(recipe.experiments))


def snakemake(project, outside, *more):
    command = [sys.executable, "-m", "snakemake", "--snakefile", "notebooks/Snakefile", "--cores", "1", "-n"]
    command += ["--quiet", "host", "--config", "profile=smoke", *more]
    done = subprocess.run(command, cwd=project, env=outside, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_dry_run_lists_every_run_and_every_notebook_once(project, outside, asked):
    recipe, runs, datasets = asked
    status, said = snakemake(project, outside)
    assert status == 0, said[-2000:]
    outputs = re.findall(r"notebooks/([\w-]+)\.ipynb(?=\s*$)", "\n".join(re.findall(r"output: .*", said)), re.M)
    starts = {(d, recipe.methods[m].init, s) for d, m, s in runs if recipe.methods[m].init}
    wanted = {f"{d}-{m}-seed{s}" for d, m, s in {*runs, *starts}} | {f"01_data-{d}" for d in datasets}
    assert set(outputs) == wanted | {"00_overview", "06_automatic_metrics", "08_figures"} and len(outputs) == len(set(outputs))


def test_one_experiment_lists_fewer_runs(project, outside, asked):
    status, said = snakemake(project, outside, "only=E8")
    wildcards = re.findall(r"wildcards: dataset=(\w+), method=([\w-]+), seed=(\d+)", said)
    recipe = asked[0]
    needed = {*recipe.experiments["E8"].methods} | {recipe.methods[m].init for m in recipe.experiments["E8"].methods} - {None}
    assert status == 0 and {(d, m) for d, m, _ in wildcards} == {("triage", m) for m in needed}


def test_an_unknown_experiment_or_profile_stops_before_anything_runs(project, outside):
    for setting, said in (("only=E99", "has no experiment 'E99'"), ("profile=smok", "'smok' is not known")):
        status, output = snakemake(project, outside, setting)
        assert status != 0 and said in output


# --- the whole of it


@pytest.fixture(scope="module")
def executed(project, outside):
    """`./run_all.sh smoke` in the copy: (finished process, home)."""
    command = ["./run_all.sh", "smoke", "--no-install", "--cores", str(os.cpu_count())]
    done = subprocess.run(command, cwd=project, env=outside, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done, Path(outside["R2D_HOME"])


def test_one_command_ends_by_saying_where_everything_is(executed, project):
    done, home = executed
    assert re.search(r"Done in \d+ min \d+ s", done.stdout)
    for folder in (project / "figures" / "smoke", home / "runs" / "smoke" / "results", home / "runs" / "smoke" / "notebooks"):
        assert f"{folder}/" in done.stdout and any(folder.iterdir())


def test_every_notebook_was_executed_to_its_end(executed, asked):
    recipe, runs, datasets = asked
    folder = executed[1] / "runs" / "smoke" / "notebooks"
    names = {p.stem for p in folder.glob("*.ipynb")}
    assert {"00_overview", "06_automatic_metrics", "08_figures"} | {f"01_data-{d}" for d in datasets} <= names
    carried = {grid.notebook(recipe, m) for d, m, s in runs if f"{d}-{m}-seed{s}" in names}
    carried |= {grid.notebook(recipe, m) for m in recipe.methods if any(f"-{m}-seed" in name for name in names)}
    assert carried == {"02_stage1", "03_stage2", "04_baselines"}
    for path in folder.glob("*.ipynb"):
        code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        assert all(c.execution_count for c in code) and not [o for c in code for o in c.outputs if o.output_type == "error"]


def test_every_run_of_the_grid_has_metrics(executed, asked):
    _, runs, _ = asked
    assert len(runs) >= 6
    for dataset, method, seed in runs:
        folder = executed[1] / "runs" / "smoke" / dataset / method / f"seed{seed}"
        found = json.loads((folder / "metrics.json").read_text())
        assert 0 <= found["metrics"]["macro_f1"]["value"] <= 1 and found["signatures"]
        assert not folder.with_name(f".seed{seed}.part").exists()


def test_tables_and_figures_are_files_with_their_origin(executed, project, asked):
    folder, results = project / "figures" / "smoke", executed[1] / "runs" / "smoke" / "results"
    assert {"table_1.csv", "table_1.md", "table_2.csv", "runs.csv", "comparisons.csv"} <= {p.name for p in results.iterdir()}
    manifest = json.loads((folder / "manifest.json").read_text())
    pictures = sorted(folder.glob("*.png"))
    assert {p.stem.split("_")[0] for p in pictures} >= {"fig1", "fig7"}
    for picture in pictures:
        assert picture.with_suffix(".pdf").is_file() and picture.with_suffix(".csv").is_file()
        entry = manifest[picture.stem]
        assert entry["profile"] == "smoke" and entry["recipe"] == asked[0].fingerprint() and entry["inputs"]
    assert asked[0].note in (folder / "table_1.md").read_text()


def test_no_note_stands_in_any_log(executed, outside):
    home = executed[1]
    tested = [json.loads(line) for p in home.rglob("predictions.jsonl") for line in p.open(encoding="utf-8")]
    secret = {row["rationale_gold"] for row in tested}
    if "R2D_DATA" in outside and (Path(outside["R2D_DATA"]) / "pubmedqa" / "ori_pqal.json").is_file():
        cases = json.loads((Path(outside["R2D_DATA"]) / "pubmedqa" / "ori_pqal.json").read_text(encoding="utf-8"))
        secret |= {cases[row["id"]]["QUESTION"] for row in tested if row["id"] in cases}
        assert any(row["id"] in cases for row in tested)
    logs = [p for p in home.rglob("*") if p.suffix in (".log", ".jsonl") and p.name != "predictions.jsonl"]
    said = "".join(p.read_text(encoding="utf-8") for p in logs)
    assert len(secret) > 20 and len(logs) > 10 and not [text for text in secret if text[:60] in said]


def test_the_same_command_again_does_nothing(executed, project, outside):
    home = executed[1]
    before = {p: p.stat().st_mtime_ns for p in (home / "runs" / "smoke").rglob("*.json*")}
    began = time.monotonic()
    command = ["./run_all.sh", "smoke", "--no-install"]
    done = subprocess.run(command, cwd=project, env=outside, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and time.monotonic() - began < 60
    assert {p: p.stat().st_mtime_ns for p in (home / "runs" / "smoke").rglob("*.json*")} == before
    assert not [p for p in (home / "runs" / "smoke" / "logs").glob("*-seed*.log") if p.stat().st_mtime_ns > max(before.values())]
