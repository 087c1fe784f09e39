"""The workflow: what a dry run lists, and every notebook under `smoke`, end to end, from a copy of the project."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest
import yaml
from conftest import new_home, project_copy

from r2d import data, paths, recipes
from r2d.experiments import grid

STORY = {
    "00_overview",
    "05_zero_shot_llms",
    "06_automatic_metrics",
    "07_llm_judge",
    "08_figures",
    "report",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project, so that neither its figures nor its lock are touched."""
    return project_copy(tmp_path_factory.mktemp("copy"))


@pytest.fixture(scope="module")
def outside(project) -> dict[str, str]:
    """The environment of a user: a home elsewhere, the data sets if there are any, this interpreter."""
    data = (
        Path(os.environ.get("R2D_DATA") or paths.ROOT.parent / "shared" / "data")
        .expanduser()
        .resolve()
    )
    inside = {k: v for k, v in os.environ.items() if k not in ("CONDA_PREFIX", "R2D_DATA")}
    mine = {
        "R2D_HOME": str(new_home(project.parent / "home")),
        "VIRTUAL_ENV": sys.prefix,
        "PYTHONPATH": str(project),
    }
    return inside | mine | ({"R2D_DATA": str(data)} if data.is_dir() else {})


@pytest.fixture(scope="module")
def asked(outside):
    """The recipe and every run that its experiments are made of."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("R2D_HOME", "R2D_DATA"):
            patch.setenv(name, outside[name]) if name in outside else patch.delenv(
                name, raising=False
            )
        recipe = recipes.load("smoke")
        return (
            recipe,
            grid.runs(recipe, list(recipe.experiments)),
            grid.datasets(recipe, list(recipe.experiments)),
        )


def listed(project, outside, *more) -> list[str]:
    """The jobs that a dry run of `smoke` lists."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        "notebooks/Snakefile",
        "--cores",
        "1",
        "--dry-run",
    ]
    command += [
        "--workflow-profile",
        "notebooks/workflow",
        "--quiet",
        "host",
        "reason",
        "--config",
        "profile=smoke",
        *more,
    ]
    done = subprocess.run(
        command, cwd=project, env=outside, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"^Job \d+: (.+)$", done.stdout + done.stderr, re.M)


def names(recipe, runs) -> set[str]:
    """What the workflow calls these runs and the stage 1 runs that they start from."""
    starts = {(d, recipe.methods[m].init, s) for d, m, s in runs if recipe.methods[m].init}
    return {f"{d} {m} seed {s}" for d, m, s in {*runs, *starts}}


def test_a_dry_run_lists_every_run_and_every_notebook_once(project, outside, asked):
    recipe, runs, datasets = asked
    found = listed(project, outside)
    assert set(found) == names(recipe, runs) | {f"01_data {d}" for d in datasets} | STORY and len(
        found
    ) == len(set(found))


@pytest.mark.parametrize(
    ("only", "asks"), [("E8", set()), ("E2,E4", {"05_zero_shot_llms"}), ("E5", {"07_llm_judge"})]
)
def test_chosen_experiments_list_their_runs_and_no_others(project, outside, asked, only, asks):
    recipe = asked[0]
    runs = grid.runs(recipe, only.split(","))
    asking = {"05_zero_shot_llms", "07_llm_judge"}
    assert (
        set(listed(project, outside, f"only={only}"))
        == names(recipe, runs) | {"01_data triage"} | (STORY - asking) | asks
    )


@pytest.mark.parametrize(
    ("profile", "only", "said"),
    [("smoke", "E99", "has no experiment 'E99'"), ("smok", "E1", "'smok' is not known")],
)
def test_an_unknown_experiment_or_profile_stops_before_anything_runs(
    project, outside, profile, only, said
):
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        "notebooks/Snakefile",
        "--cores",
        "1",
    ]
    command += ["--config", f"profile={profile}", f"only={only}"]
    done = subprocess.run(
        command, cwd=project, env=outside, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode != 0 and said in done.stdout + done.stderr


@pytest.mark.parametrize("cluster", ["slurm", "kubernetes"])
def test_each_cluster_profile_plans_the_same_jobs(project, outside, asked, cluster):
    pytest.importorskip(
        f"snakemake_executor_plugin_{cluster}",
        reason="needs the extra `cluster`: pip install '.[cluster]'",
    )
    command = [
        "./run_all.sh",
        "smoke",
        "--no-install",
        "--on",
        cluster,
        "--only",
        "E8",
        "--dry-run",
    ]
    done = subprocess.run(
        command, cwd=project, env=outside, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0 and all(
        name in done.stdout for name in names(asked[0], grid.runs(asked[0], ["E8"]))
    ), done.stderr
    rules = yaml.safe_load((project / "notebooks/workflow" / cluster / "config.yaml").read_text())
    named = set(re.findall(r"^rule (\w+):", (project / "notebooks/Snakefile").read_text(), re.M))
    assert {*rules["set-resources"], *rules["set-threads"]} <= named and rules[
        "executor"
    ] == cluster


# --- the same DAG over a stand-in for papermill that only leaves the files of a notebook: what runs when, and what does not

STAND_IN = """
import os, sys, time
from pathlib import Path
from r2d import paths

name, out, *options = sys.argv[1:]
given = dict(option.split("=", 1) for option in options[1::2])
method = given.get("method", name)
Path(out).write_text("{}")
if os.environ.get("FAILS") == method:
    sys.exit("r2d.R2DError: it was told to fail")
if os.environ.get("HANGS") == method:
    Path(out).with_suffix(".hangs").touch()
    time.sleep(600)
tables = {"05": ["zero_shot"], "06": ["table_1"], "07": ["judge", "judge_qualification"]}.get(name[:2], [])
files = [paths.runs("smoke") / "results" / f"{table}.csv" for table in tables]
if name == "01_data":
    files.append(paths.runs("smoke") / given["dataset"] / "data.json")
if "seed" in given:
    files.append(paths.run("smoke", given["dataset"], method, given["seed"]) / "metrics.json")
if name == "08_figures":
    files.append(paths.figures("smoke") / "manifest.json")
for file in files:
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():  # a finished run is left alone
        file.write_text("{}")
"""
REPORT_STAND_IN = """
from r2d import paths

index = paths.runs("smoke") / "report" / "index.html"
index.parent.mkdir(exist_ok=True)
index.write_text("")
"""
AFTER = {"06_automatic_metrics", "08_figures", "00_overview", "report"}
ASKING = {"05_zero_shot_llms", "07_llm_judge"}


@pytest.fixture(scope="module")
def quick(project, tmp_path_factory):
    """(project, environment) whose notebooks take no time, and its first run, in which DSS was made to fail."""
    folder = tmp_path_factory.mktemp("quick")
    shutil.copytree(project, folder / "project", ignore=shutil.ignore_patterns(".snakemake"))
    (folder / "project" / "r2d" / "notebook.py").write_text(STAND_IN)
    (folder / "project" / "r2d" / "report.py").write_text(REPORT_STAND_IN)
    inside = {k: v for k, v in os.environ.items() if k not in ("CONDA_PREFIX", "R2D_DATA")}
    env = inside | {
        "R2D_HOME": str(folder / "home"),
        "VIRTUAL_ENV": sys.prefix,
        "PYTHONPATH": str(folder / "project"),
    }
    return folder / "project", env, run_all(folder / "project", env | {"FAILS": "dss-full"})


def run_all(project, env, *more):
    command = ["./run_all.sh", "smoke", "--no-install", "--cores", "2", *more]
    return subprocess.run(
        command, cwd=project, env=env, capture_output=True, text=True, timeout=300, check=False
    )


def started(done) -> set[str]:
    return set(re.findall(r"start  (.+)", done.stdout))


def test_one_failed_run_does_not_stop_the_others_and_is_named_with_its_notebook(quick):
    home = Path(quick[1]["R2D_HOME"]) / "runs" / "smoke"
    assert quick[2].returncode == 1
    assert {*recipes.load("smoke").methods} - {
        p.parent.parent.name for p in home.rglob("metrics.json")
    } == {"dss-full"}
    log = home / "logs" / "triage-dss-full-seed1.ipynb"
    assert (
        log.is_file()
        and f"  {log}\n    it was told to fail" in quick[2].stderr
        and quick[2].stderr.count(".ipynb") == 1
    )
    assert (home / "results" / "zero_shot.csv").exists() and not (
        home / "results" / "table_1.csv"
    ).exists()


def test_the_next_run_does_what_is_missing_and_one_more_does_nothing_within_15_seconds(quick):
    project, env, _ = quick
    done = run_all(project, env)
    assert (
        done.returncode == 0 and started(done) == {"triage dss-full seed 1", "07_llm_judge"} | AFTER
    )
    assert "(6 of 6)" in done.stdout
    began = time.monotonic()
    again = run_all(project, env)
    assert again.returncode == 0 and started(again) == set() and time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("file", "old", "new", "methods", "others"),
    [
        (
            "r2d/recipes/smoke.yaml",
            "{objective: dss,",
            "{objective: dss, train: {steps: 13},",
            {"dss-full"},
            {"07_llm_judge"},
        ),
        (
            "r2d/recipes/smoke.yaml",
            "stage1-lora: {",
            "stage1-lora: {train: {steps: 13}, ",
            {"stage1-lora", "r2d-lora"},
            set(),
        ),
        ("r2d/recipes/smoke.yaml", "title: SFT", "title: Direct", (), {"05_zero_shot_llms"}),
        ("r2d/recipes/smoke.yaml", "resamples: 200", "resamples: 201", "measured", ASKING),
        ("r2d/recipes/smoke.yaml", "qualification: 2", "qualification: 3", (), {"07_llm_judge"}),
        (
            "r2d/recipes/smoke.yaml",
            "zero_shot: {cases: 4",
            "zero_shot: {cases: 5",
            (),
            {"05_zero_shot_llms"},
        ),
        ("r2d/metrics.py", '"""', '"""Changed: ', "measured", ASKING),
        ("r2d/train.py", '"""', '"""Changed: ', "all", {"01_data triage"} | ASKING),
        ("r2d/prompts/zero_shot/v2.yaml", "\n", "\n# changed\n", (), {"05_zero_shot_llms"}),
        (
            "notebooks/04_baselines.ipynb",
            "\n",
            "\n\n",
            {"majority", "tfidf", "sft-full", "dss-full"},
            ASKING,
        ),
    ],
)
def test_a_change_reruns_exactly_what_depends_on_it(quick, file, old, new, methods, others):
    project, env, _ = quick
    recipe = recipes.load("smoke")
    if isinstance(methods, str):
        methods = {
            m for m in recipe.methods if methods == "all" or grid.notebook(recipe, m) != "02_stage1"
        }
    path = project / file
    text, times = path.read_text(encoding="utf-8"), path.stat()
    try:
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        found = set(listed(project, env))
    finally:
        path.write_text(text, encoding="utf-8")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = (
        AFTER - {"06_automatic_metrics"}
        if others == {"05_zero_shot_llms"} and file.endswith("v2.yaml")
        else AFTER
    )
    assert found == {f"triage {m} seed 1" for m in methods} | others | after


def test_a_killed_grid_goes_on_where_it_was_and_a_rerun_without_new_results_is_not_repeated(quick):
    project, env, _ = quick
    home = Path(env["R2D_HOME"]) / "runs" / "smoke"
    with (project / "notebooks" / "04_baselines.ipynb").open("a") as file:
        file.write("\n")
    command = ["./run_all.sh", "smoke", "--no-install", "--cores", "2"]
    running = subprocess.Popen(
        command, cwd=project, env=env | {"HANGS": "tfidf"}, stdout=subprocess.PIPE, text=True
    )
    while not list((home / "logs").glob("*.hangs")):
        assert running.poll() is None
        time.sleep(0.1)
    groups = {os.getpgid(child.pid) for child in psutil.Process(running.pid).children()}
    running.kill()
    for group in groups:
        os.killpg(group, signal.SIGKILL)
    running.communicate()
    locked = run_all(project, env)
    assert locked.returncode == 1 and "'./run_all.sh smoke --unlock'" in locked.stderr
    assert run_all(project, env, "--unlock").returncode == 0
    done = run_all(project, env)
    assert done.returncode == 0 and {"triage tfidf seed 1"} | AFTER <= started(done)
    assert "triage r2d-full seed 1" not in started(done)
    assert started(run_all(project, env)) == set()


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        ("0,1", ["0", "1"]),
        ("GPU-a, GPU-b,GPU-c", ["GPU-a", "GPU-b"]),
        ("3", ["3", "3"]),
        ("", ["", ""]),
    ],
)
def test_two_jobs_never_share_a_gpu_while_another_is_free(tmp_path, visible, seen):
    jobs = [gpu_job(tmp_path, visible) for _ in range(2)]
    assert sorted(job.stdout.readline().strip() for job in jobs) == seen
    for job in jobs:
        job.communicate("")


def test_a_third_job_on_two_gpus_waits_for_one_to_be_free(tmp_path):
    first, second = gpu_job(tmp_path, "0,1"), gpu_job(tmp_path, "0,1")
    freed = [job.stdout.readline().strip() for job in (first, second)][0]
    third = gpu_job(tmp_path, "0,1")
    time.sleep(0.5)
    assert third.poll() is None
    first.kill()  # a crash frees it, too
    first.communicate()
    assert third.stdout.readline().strip() == freed
    for job in (second, third):
        job.communicate("")


def gpu_job(folder, visible) -> subprocess.Popen:
    """A command under `gpu.py` that names its device and waits for its input to end."""
    command = [
        sys.executable,
        str(paths.NOTEBOOKS / "workflow" / "gpu.py"),
        "sh",
        "-c",
        "echo $CUDA_VISIBLE_DEVICES; read wait",
    ]
    env = os.environ | {"CUDA_VISIBLE_DEVICES": visible, "TMPDIR": str(folder)}
    return subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_notebook_runs_with_its_defaults_without_papermill_in_this_environments_kernel(tmp_path):
    """As `./run_all.sh lab` does it, although the user has a kernel of the same name that leads elsewhere."""
    decoy = tmp_path / "user" / "kernels" / "python3"
    decoy.mkdir(parents=True)
    (decoy / "kernel.json").write_text(
        '{"argv": ["false"], "display_name": "elsewhere", "language": "python"}'
    )
    env = os.environ | {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_DATA_DIR": str(tmp_path / "user")}
    env |= {"R2D_HOME": str(tmp_path), "PYTHONPATH": str(paths.ROOT)}
    command = [
        sys.executable,
        "-m",
        "nbconvert",
        "--execute",
        "--to",
        "notebook",
        "--output-dir",
        str(tmp_path),
        "01_data.ipynb",
    ]
    done = subprocess.run(
        command, cwd=paths.NOTEBOOKS, env=env, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (paths.NOTEBOOKS / "01_data.ipynb").is_file() and list(
        tmp_path.glob("runs/mini/triage/data.json")
    )


# --- the whole of it


@pytest.fixture(scope="module")
def executed(project, outside):
    """`./run_all.sh smoke` in the copy: (finished process, home)."""
    command = [
        "./run_all.sh",
        "smoke",
        "--no-install",
        "--cores",
        str(min(4, len(os.sched_getaffinity(0)))),
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=project, env=outside, **pipes) as running:
        try:
            said = running.communicate(timeout=3600)
        except subprocess.TimeoutExpired:
            running.terminate()  # the script stops its notebooks, too
            raise
    assert running.returncode == 0, "".join(said)[-4000:]
    return subprocess.CompletedProcess(command, 0, *said), Path(outside["R2D_HOME"])


def test_one_command_ends_by_saying_where_everything_is(executed, project):
    done, home = executed
    assert re.search(r"Done in \d+ min \d+ s", done.stdout)
    assert (
        str(home / "runs/smoke/report/index.html") in done.stdout
        and (home / "runs/smoke/report/index.html").is_file()
    )
    for folder in (
        project / "figures" / "smoke",
        home / "runs" / "smoke" / "results",
        home / "runs" / "smoke" / "notebooks",
    ):
        assert f"{folder}/" in done.stdout and any(folder.iterdir())


def test_every_notebook_was_executed_to_its_end(executed, asked):
    recipe, runs, datasets = asked
    folder = executed[1] / "runs" / "smoke" / "notebooks"
    found = {p.stem for p in folder.glob("*.ipynb")}
    wanted = (
        {name.replace("seed ", "seed") for name in names(recipe, runs)}
        | {f"01_data {d}" for d in datasets}
        | STORY
    )
    assert found == {name.replace(" ", "-") for name in wanted - {"report"}}
    for path in folder.glob("*.ipynb"):
        code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        assert all(c.execution_count for c in code) and not [
            o for c in code for o in c.outputs if o.output_type == "error"
        ]


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
    assert {"table_1.csv", "table_1.md", "table_2.csv", "runs.csv", "comparisons.csv"} <= {
        p.name for p in results.iterdir()
    }
    manifest = json.loads((folder / "manifest.json").read_text())
    pictures = sorted(folder.glob("*.png"))
    assert {p.stem.split("_")[0] for p in pictures} >= {"fig1a", "fig7"}
    for picture in pictures:
        assert picture.with_suffix(".pdf").is_file() and picture.with_suffix(".csv").is_file()
        entry = manifest[picture.stem]
        assert (
            entry["profile"] == "smoke"
            and entry["recipe"] == asked[0].fingerprint()
            and entry["inputs"]
        )
    assert asked[0].note in (folder / "table_1.md").read_text()
    for name in ("table_1.csv", "table_1.md", "table_2.csv", "comparisons.csv"):
        (behind,) = manifest[name]["inputs"].items()
        rows = pd.read_csv(executed[1] / behind[0])
        assert hashlib.sha256((executed[1] / behind[0]).read_bytes()).hexdigest()[:12] == behind[1]
        assert {"dataset", "method", "seed"} <= {*rows}  # which name a run's directory


def test_no_note_stands_in_any_log(executed, outside, asked):
    home = executed[1]
    tested = [
        json.loads(line)
        for p in home.rglob("predictions.jsonl")
        for line in p.open(encoding="utf-8")
    ]
    secret = {row["rationale_gold"] for row in tested}
    secret |= {record.question for record in data.load("triage", asked[0].datasets["triage"]).test}
    if (
        "R2D_DATA" in outside
        and (Path(outside["R2D_DATA"]) / "pubmedqa" / "ori_pqal.json").is_file()
    ):
        cases = json.loads(
            (Path(outside["R2D_DATA"]) / "pubmedqa" / "ori_pqal.json").read_text(encoding="utf-8")
        )
        secret |= {cases[row["id"]]["QUESTION"] for row in tested if row["id"] in cases}
        assert any(row["id"] in cases for row in tested)
    logs = [
        p
        for p in home.rglob("*")
        if p.suffix in (".log", ".jsonl") and p.name != "predictions.jsonl"
    ]
    said = "".join(p.read_text(encoding="utf-8") for p in logs)
    assert (
        len(secret) > 20 and len(logs) > 10 and not [text for text in secret if text[:60] in said]
    )


def test_the_same_command_again_does_nothing(executed, project, outside):
    home = executed[1]
    before = {p: p.stat().st_mtime_ns for p in (home / "runs" / "smoke").rglob("*.json*")}
    began = time.monotonic()
    done = run_all(project, outside)
    assert done.returncode == 0 and started(done) == set() and time.monotonic() - began < 15
    assert {p: p.stat().st_mtime_ns for p in (home / "runs" / "smoke").rglob("*.json*")} == before
