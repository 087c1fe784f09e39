"""The DAG: what a dry run lists, what a change makes it run again, and how a killed run goes on.

No notebook is run: a stand-in for papermill leaves the files that one would.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from r2d import recipes
from r2d.experiments import grid
from r2d.experiments.workflow import Plan

CURVES = {"10_when_rationales_help"}
TABLES = {"06_automatic_metrics"} | CURVES
AFTER = TABLES | {"08_figures", "00_overview", "report"}
WITH_LLMS = {"05_zero_shot_llms", "07_llm_judge"}
TOLD = WITH_LLMS | AFTER  # what is told from the runs

# Snakemake takes two seconds to import: this does so once, and a copy of it serves each request.
SERVER = """
import json, os, sys
import snakemake.cli

for line in sys.stdin:
    folder, environment, arguments, out = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(1, 2)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.exit(snakemake.cli.main(arguments))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def snakemake(tmp_path_factory):
    """Snakemake in a folder: `snakemake(folder, environment, arguments)`; (status, output)."""
    out = tmp_path_factory.mktemp("snakemake") / "output"
    command = [sys.executable, "-c", SERVER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as server:

        def ask(folder: Path, environment: dict[str, str], arguments: list[str]):
            request = [str(folder), dict(environment), arguments, str(out)]
            print(json.dumps(request), file=server.stdin, flush=True)
            return int(server.stdout.readline()), out.read_text(encoding="utf-8")

        yield ask
        server.stdin.close()


@pytest.fixture(scope="module")
def listed(snakemake):
    """The jobs that a dry run of `smoke` lists: `listed(folder, environment, *config)`."""
    dry_run = ["--snakefile", "notebooks/Snakefile", "--cores", "1", "--dry-run"]
    dry_run += ["--workflow-profile", "notebooks/workflow", "--quiet", "host", "reason"]

    def jobs(folder, environment, *config):
        arguments = [*dry_run, "--config", "profile=smoke", *config]
        status, output = snakemake(folder, environment, arguments)
        assert status == 0, output
        return re.findall(r"^Job \d+: (.+)$", output, re.MULTILINE)

    return jobs


def names(runs) -> set[str]:
    """What the workflow calls these runs and those that they start from."""
    return {str(run) for run in grid.with_starts(runs)}


def test_a_dry_run_lists_every_run_and_every_notebook_once(project, outside, needed, listed):
    runs, datasets = needed()
    jobs = listed(project, outside)
    assert set(jobs) == names(runs) | {f"01_data {d}" for d in datasets} | AFTER | WITH_LLMS
    assert len(jobs) == len(set(jobs))


@pytest.mark.parametrize(
    ("only", "with_llms"),
    [
        ("E8", set()),
        ("E6", set()),
        ("E2,E4", {"05_zero_shot_llms"}),
        ("E5", {"07_llm_judge"}),
    ],
)
def test_chosen_experiments_list_their_runs_and_no_others(
    project, outside, needed, listed, only, with_llms
):
    jobs = set(listed(project, outside, f"only={only}"))
    runs, datasets = needed(only)
    assert jobs == names(runs) | {f"01_data {d}" for d in datasets} | AFTER - CURVES | with_llms


def test_learning_curves_alone_have_no_other_table(project, outside, smoke, listed):
    jobs = set(listed(project, outside, "only=E9"))
    datasets = {f"01_data {name}" for name in ("triage", "triage-small")}
    assert jobs == names(grid.runs(smoke[0], ["E9"])) | datasets | AFTER - {"06_automatic_metrics"}


@pytest.mark.parametrize(
    ("profile", "only", "sentence"),
    [("smoke", "E99", "has no experiment 'E99'"), ("smok", "E1", "'smok' is not known")],
)
def test_an_unknown_experiment_or_profile_stops_before_anything_runs(
    project, outside, snakemake, profile, only, sentence
):
    config = ["--config", f"profile={profile}", f"only={only}"]
    arguments = ["--snakefile", "notebooks/Snakefile", "--cores", "1", *config]
    status, output = snakemake(project, outside, arguments)
    assert status != 0 and re.search(rf"^R2DError in file .*\n.*{sentence}", output, re.MULTILINE)


@pytest.mark.parametrize("cluster", ["slurm", "kubernetes"])
def test_each_cluster_profile_plans_the_same_jobs(project, outside, smoke, snakemake, cluster):
    pytest.importorskip(
        f"snakemake_executor_plugin_{cluster}",
        reason="needs the extra `cluster`: pip install '.[cluster]'",
    )
    command = Plan("smoke", "E8", on=cluster, passed=["--dry-run"]).command
    command[command.index("--directory") + 1] = str(project)
    status, output = snakemake(project, outside, command[3:])
    assert status == 0, output
    for name in names(grid.runs(smoke[0], ["E8"])):
        assert name in output
    profile = yaml.safe_load((project / "notebooks/workflow" / cluster / "config.yaml").read_text())
    rules = re.findall(r"^rule (\w+):", (project / "notebooks/Snakefile").read_text(), re.MULTILINE)
    rules += [name[3:] for name in grid.carried(smoke[0])]
    assert {*profile["set-resources"], *profile["set-threads"]} <= set(rules)
    assert profile["executor"] == cluster


def test_settings_reach_the_workflow_with_their_types(snakemake, tmp_path):
    changes = {
        "train.common.lr": "1e-3",
        "train.common.batch": "16",
        "note": "it's a=b, 100 % {x}",
        "datasets.triage.train": "null",
    }
    plan = Plan("mini", settings=[f"{key}={value}" for key, value in changes.items()])
    (tmp_path / "Snakefile").write_text(
        "import json\n"
        "from urllib.parse import unquote\n"
        "seen = json.loads(unquote(config['overrides']))\n"
        "open('seen', 'w').write(json.dumps(seen))\n"
        "rule all:\n    input: []\n"
    )
    at = plan.command.index("--config")
    arguments = ["--snakefile", "Snakefile", "--cores", "1", *plan.command[at:]]
    status, output = snakemake(tmp_path, os.environ, arguments)
    assert status == 0, output
    seen = json.loads((tmp_path / "seen").read_text())
    assert (
        seen
        == plan.overrides
        == {
            "train.common.lr": 0.001,
            "train.common.batch": 16,
            "note": "it's a=b, 100 % {x}",
            "datasets.triage.train": None,
        }
    )


STAND_IN = """
import json, os, time
from pathlib import Path
from r2d import paths, recipes


def run(name, out, parameters):
    method = parameters.get("method", name)
    out.write_text(json.dumps(parameters))
    if os.environ.get("FAILS") == method:
        print(f"{name} failed in cell 3: R2DError: it was told to fail")
        return 1
    if os.environ.get("HANGS") == method:
        out.with_suffix(".hangs").touch()
        time.sleep(600)
    profile = recipes.load(parameters["profile"], parameters["overrides"]).profile
    runs = paths.runs(profile)
    tables = {"05": ["zero_shot"], "06": ["table_1"], "07": ["judge", "judge_qualification"]}
    tables["10"] = ["e9_tests"]
    files = [runs / "results" / f"{table}.csv" for table in tables.get(name[:2], [])]
    if name == "01_data":
        files.append(runs / parameters["dataset"] / "data.json")
    if "seed" in parameters:
        run = paths.run(profile, parameters["dataset"], method, parameters["seed"])
        files.append(run / "metrics.json")
    if name == "08_figures":
        files.append(paths.figures(profile) / "manifest.json")
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():  # a finished run is left alone
            file.write_text("{}")
    return 0
"""
REPORT_STAND_IN = """
from r2d import paths


def build(recipe):
    index = paths.runs(recipe.profile) / "report" / "index.html"
    index.parent.mkdir(exist_ok=True)
    index.write_text(recipe.note)
    return index
"""


@pytest.fixture(scope="module")
def quick(project, tmp_path_factory):
    """(project, environment) whose notebooks take no time, and a first run, in which DSS fails."""
    folder = tmp_path_factory.mktemp("quick")
    copy = folder / "project"
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns(".snakemake"))
    (copy / "r2d" / "experiments" / "notebook.py").write_text(STAND_IN)
    (copy / "r2d" / "reporting" / "site.py").write_text(REPORT_STAND_IN)
    environment = {k: v for k, v in os.environ.items() if k not in ("CONDA_PREFIX", "R2D_DATA")}
    environment |= {"R2D_HOME": str(folder / "home"), "VIRTUAL_ENV": sys.prefix}
    return copy, environment, run_all(copy, environment | {"FAILS": "dss-full"})


def run_all(project, env, *more):
    command = ["./run_all.sh", "smoke", "--no-install", "--cores", "2", *more]
    return subprocess.run(
        command, cwd=project, env=env, capture_output=True, text=True, timeout=300, check=False
    )


def started(done) -> set[str]:
    return set(re.findall(r"start  (.+)", done.stdout))


def test_one_failed_run_does_not_stop_the_others_and_is_named_with_its_notebook(quick):
    _, environment, done = quick
    home = Path(environment["R2D_HOME"]) / "runs" / "smoke"
    assert done.returncode == 1
    finished = {file.parent.parent.name for file in home.rglob("metrics.json")}
    assert {*recipes.load("smoke").methods} - finished == {"dss-full"}
    notebook = home / "logs" / "04_baselines-triage-dss-full-seed1.ipynb"
    assert notebook.is_file() and f"  {notebook}\n    it was told to fail" in done.stderr
    assert done.stderr.count(".ipynb") == 1
    assert (home / "results" / "zero_shot.csv").exists()
    assert not (home / "results" / "table_1.csv").exists()


def test_the_next_run_does_what_is_missing(quick, listed):
    project, environment, _ = quick
    missing = {"triage dss-full seed 1", "07_llm_judge"} | AFTER - CURVES
    assert set(listed(project, environment)) == missing


def test_a_killed_run_goes_on_where_it_was_and_a_rerun_without_new_results_is_not_repeated(quick):
    project, environment, _ = quick
    home = Path(environment["R2D_HOME"]) / "runs" / "smoke"
    with (project / "notebooks" / "04_baselines.ipynb").open("a") as file:
        file.write("\n")
    command = ["./run_all.sh", "smoke", "--no-install", "--cores", "2"]
    hanging = environment | {"HANGS": "tfidf"}
    running = subprocess.Popen(command, cwd=project, env=hanging, stdout=subprocess.PIPE, text=True)
    while not list((home / "logs").glob("*.hangs")):
        assert running.poll() is None
        time.sleep(0.1)
    below = psutil.Process(running.pid).children(recursive=True)
    running.kill()
    running.communicate()
    assert psutil.wait_procs(below, timeout=60)[1] == []  # Snakemake, notebooks and kernels
    done = run_all(project, environment)  # and no lock is in the way
    assert done.returncode == 0 and re.search(r"\((\d+) of \1\)", done.stdout)
    assert {"triage tfidf seed 1"} | AFTER - CURVES <= started(done)
    assert "triage r2d-full seed 1" not in started(done)
    began = time.monotonic()
    again = run_all(project, environment)
    assert again.returncode == 0 and started(again) == set()
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("notebook", "job"),
    [
        ("04_baselines-triage-tfidf-seed1", "triage tfidf seed 1"),
        ("01_data-triage", "01_data triage"),
        ("06_automatic_metrics", "06_automatic_metrics"),
    ],
)
def test_a_page_of_the_report_that_got_lost_is_made_again(quick, listed, notebook, job):
    project, environment, _ = quick
    file = Path(environment["R2D_HOME"]) / "runs" / "smoke" / "notebooks" / f"{notebook}.ipynb"
    kept = file.rename(file.with_suffix(".kept"))
    try:
        assert job in listed(project, environment)
    finally:
        kept.rename(file)


@pytest.mark.parametrize(
    ("file", "old", "new", "methods", "others"),
    [
        (
            "r2d/recipes/smoke.yaml",
            "{objective: dss,",
            "{objective: dss, train: {steps: 13},",
            {"dss-full"},
            {"07_llm_judge"} | AFTER,
        ),
        (
            "r2d/recipes/smoke.yaml",
            "stage1-lora: {",
            "stage1-lora: {train: {steps: 13}, ",
            {"stage1-lora", "r2d-lora"},
            AFTER,
        ),
        (
            "r2d/recipes/smoke.yaml",
            "title: SFT",
            "title: Direct",
            (),
            {"05_zero_shot_llms"} | AFTER,
        ),
        (
            "r2d/recipes/smoke.yaml",
            "resamples: 200",
            "resamples: 201",
            "measured",
            WITH_LLMS | AFTER,
        ),
        (
            "r2d/recipes/smoke.yaml",
            "qualification: 2",
            "qualification: 3",
            (),
            {"07_llm_judge"} | AFTER,
        ),
        (
            "r2d/recipes/smoke.yaml",
            "zero_shot: {cases: 4",
            "zero_shot: {cases: 5",
            (),
            {"05_zero_shot_llms"} | AFTER,
        ),
        ("r2d/evaluation/metrics.py", None, "\nCHANGED = 1\n", "measured", WITH_LLMS | AFTER),
        (
            "r2d/training/loop.py",
            None,
            "\nCHANGED = 1\n",
            "all",
            {"01_data triage", "01_data triage-small"} | WITH_LLMS | AFTER,
        ),
        ("r2d/training/loop.py", None, "\n# A remark.\n", (), ()),
        (
            "r2d/llms/prompts/zero_shot/v2.yaml",
            "\n",
            "\n# changed\n",
            (),
            {"05_zero_shot_llms"} | AFTER - TABLES,
        ),
        (
            "r2d/reporting/gallery.py",
            None,
            "\nCHANGED = 1\n",
            (),
            AFTER - TABLES,
        ),
        ("r2d/reporting/readers.py", None, "\nCHANGED = 1\n", (), AFTER - CURVES),
        (
            "notebooks/04_baselines.ipynb",
            "\n",
            "\n\n",
            "baselines",
            TOLD,
        ),
    ],
)
def test_a_change_reruns_exactly_what_depends_on_it(quick, listed, file, old, new, methods, others):
    project, environment, _ = quick
    path = project / file
    text, times = path.read_text(encoding="utf-8"), path.stat()
    changed = text + new if old is None else text.replace(old, new, 1)
    assert changed != text
    try:
        path.write_text(changed, encoding="utf-8")
        jobs = set(listed(project, environment))
    finally:
        path.write_text(text, encoding="utf-8")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    recipe = recipes.load("smoke")
    if methods == "all":
        methods = set(recipe.methods)
    elif methods == "measured":
        methods = {m for m in recipe.methods if grid.notebook(recipe, m) != "02_stage1"}
    elif methods == "baselines":
        methods = {m for m in recipe.methods if grid.notebook(recipe, m) == "04_baselines"}
    runs = grid.to_train(recipe, list(recipe.experiments))
    rerun = [run for run in runs if run.method in methods and run.dataset != "pubmedqa"]
    assert jobs == {str(run) for run in rerun} | set(others)


def test_what_reaches_a_shell_is_quoted(quick, snakemake):
    project, environment, _ = quick
    note = """it's {x} "$(touch shell-was-here)" `touch shell-was-here`; touch shell-was-here"""
    plan = Plan("smoke", "E8", cores=1, settings=[f"note={json.dumps(note)}", "decode.batch=8"])
    command = [*plan.command, "--until", "data"]
    command[command.index("--directory") + 1] = str(project)
    status, output = snakemake(project, environment, command[3:])
    assert status == 0, output
    home = Path(environment["R2D_HOME"]) / "runs" / plan.recipe.profile
    executed = json.loads((home / "notebooks" / "01_data-triage.ipynb").read_text())
    assert executed["overrides"] == {"note": note, "decode.batch": 8}
    assert (executed["profile"], executed["dataset"]) == ("smoke", "triage")
    assert not list(project.rglob("shell-was-here"))
