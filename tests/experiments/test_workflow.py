"""The workflow's start: what Snakemake is asked, what the terminal shows, what is said at the end.

A stand-in for Snakemake writes down its arguments and does what the test tells it; nothing is run.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from urllib.parse import unquote

import pytest
import yaml

from r2d import paths, recipes
from r2d.errors import R2DError
from r2d.experiments import workflow
from r2d.experiments.workflow import Plan

SNAKEMAKE = """
import json, os, sys

with open(os.environ["CALLS"], "a") as file:
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    print(json.dumps([sys.argv[1:], devices, os.getcwd()]), file=file)
os.execvp("sh", ["sh", "-c", os.environ.get("WORKFLOW", "")])
"""
NVIDIA_SMI = '#!/bin/sh\n[ -n "$NVIDIA" ] || exit 9\nprintf "%s\\n" $NVIDIA\n'


class Stage:
    """The stand-ins, and what was asked of them."""

    def __init__(self, folder, patch):
        self.home = folder / "home"
        self.calls_file = folder / "calls"
        self.patch = patch
        (folder / "snakemake.py").write_text(SNAKEMAKE)
        tool = folder / "nvidia-smi"
        tool.write_text(NVIDIA_SMI)
        tool.chmod(0o755)
        patch.setenv("PYTHONPATH", f"{folder}:{paths.ROOT}")
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        patch.setenv("CALLS", str(self.calls_file))
        patch.setenv("R2D_HOME", str(self.home))
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def does(self, script: str) -> None:
        self.patch.setenv("WORKFLOW", script)

    @property
    def arguments(self) -> list[str]:
        """Those of the last call."""
        return json.loads(self.calls_file.read_text().splitlines()[-1])[0]

    @property
    def logs(self):
        return self.home / "runs" / "mini" / "logs"


@pytest.fixture
def stage(tmp_path, monkeypatch):
    return Stage(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"profile": "papr"},
            "Profile 'papr' is not known: choose one of mini, paper, smoke, study.",
        ),
        ({"only": "E1,E99"}, "Profile mini has no experiment 'E99'; choose from E1, "),
        ({"only": ""}, "--only needs a value"),
        ({"on": ""}, "--on needs a value"),
        ({"on": "pbs"}, "Cluster 'pbs' is not known: choose kubernetes or slurm."),
        ({"on": "../workflow"}, "Cluster '../workflow' is not known"),
        ({"settings": ["batch"]}, "A setting is written KEY=VALUE, not 'batch'."),
        ({"settings": ["trian.common.batch=16"]}, "trian"),
    ],
)
def test_what_no_recipe_or_cluster_has_is_refused_and_leaves_nothing(stage, options, sentence):
    with pytest.raises(R2DError, match=re.escape(sentence)):
        Plan(**options)
    assert not stage.home.exists()


@pytest.mark.parametrize("name", ["HOME", "TMPDIR"])
def test_an_unwritable_home_or_temporary_folder_is_one_sentence(stage, monkeypatch, name):
    monkeypatch.setenv(name, "/proc/nowhere")
    with pytest.raises(R2DError, match=f"{name} is /proc/nowhere, which cannot be written: set"):
        workflow.start(Plan("smoke"))
    assert not stage.calls_file.exists()


@pytest.mark.parametrize(
    ("text", "least", "sentence"),
    [
        ("two", 1, "--cores takes a whole number above 0, not 'two'."),
        ("0", 1, "--cores takes a whole number above 0, not '0'."),
        ("-1", 0, "--cores takes a whole number, not '-1'."),
        ("", 0, "--cores takes a whole number, not ''."),
    ],
)
def test_a_number_is_a_whole_one(text, least, sentence):
    with pytest.raises(R2DError, match=re.escape(sentence)):
        workflow.whole_number("--cores", text, least)
    assert workflow.whole_number("--cores", "3", least) == 3
    assert workflow.whole_number("--cores", None, least) is None


@pytest.mark.parametrize("profile", recipes.profiles())
def test_every_experiment_of_every_recipe_may_be_chosen(profile):
    experiments = recipes.load(profile).experiments
    assert Plan(profile, ",".join(experiments)).command


def test_snakemake_gets_profile_experiments_and_cores(stage):
    command = Plan("smoke", "E1", cores=3).command
    assert command[:3] == [sys.executable, "-m", "snakemake"]
    assert " ".join(command[3:]) == (
        f"--snakefile notebooks/Snakefile --directory {paths.ROOT} "
        "--workflow-profile notebooks/workflow --cores 3 --config profile=smoke only=E1"
    )
    shared = yaml.safe_load((paths.NOTEBOOKS / "workflow/config.yaml").read_text())
    assert shared["rerun-incomplete"] is True


def test_all_cores_are_used_whatever_a_library_is_told(stage, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = Plan().command
    assert command[command.index("--cores") + 1] == str(len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("gpus", "env", "limit", "devices"),
    [
        (None, {}, None, None),
        (None, {"NVIDIA": "0 1 2"}, "gpu=3", "0,1,2"),
        (None, {"NVIDIA": "0 1", "CUDA_VISIBLE_DEVICES": "1"}, "gpu=1", "1"),
        (None, {"NVIDIA": "0 1", "CUDA_VISIBLE_DEVICES": ""}, None, ""),
        (None, {"NVIDIA": "0 1", "CUDA_VISIBLE_DEVICES": "-1"}, None, "-1"),
        (1, {"NVIDIA": "0 1"}, "gpu=1", "0,1"),
        (0, {"NVIDIA": "0 1"}, None, ""),
    ],
)
def test_as_many_gpu_jobs_run_as_there_are_gpus_and_a_cpu_limits_none(
    stage, monkeypatch, gpus, env, limit, devices
):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    plan = Plan(gpus=gpus)
    assert ("--resources" in plan.command) == (limit is not None)
    assert limit is None or limit in plan.command
    assert ("gpus=0" in plan.command) == (gpus == 0)
    assert plan.environment.get("CUDA_VISIBLE_DEVICES") == devices


def test_a_cluster_gets_its_profile_and_what_is_meant_for_snakemake(stage, monkeypatch):
    monkeypatch.setenv("NVIDIA", "0 1")
    plan = Plan("smoke", on="slurm", gpus=0, passed=["--slurm-qos", "long"])
    assert " ".join(plan.command).endswith(
        " --workflow-profile notebooks/workflow --profile notebooks/workflow/slurm "
        "--config profile=smoke gpus=0 --slurm-qos long"
    )
    assert "CUDA_VISIBLE_DEVICES" not in plan.environment  # the nodes' own are meant
    assert "--cores" not in plan.command and "--cores" in Plan(on="slurm", cores=2).command


def test_changed_settings_run_under_a_name_of_their_own(stage, capsys):
    assert workflow.start(Plan(settings=["train.common.batch=16", "note=a b"])) == 0
    changes = {"train.common.batch": 16, "note": "a b"}
    name = recipes.load("mini", changes).profile
    (quoted,) = [word for word in stage.arguments if word.startswith("overrides=")]
    assert json.loads(unquote(quoted.removeprefix("overrides="))) == changes
    assert "profile=mini" in stage.arguments and name.startswith("mini+")
    shown = capsys.readouterr().out
    assert f"{stage.home}/runs/{name}/notebooks/" in shown
    assert str(paths.figures(name)) in shown


def test_the_terminal_shows_what_is_at_work_how_far_it_is_and_how_long_it_takes(stage, capsys):
    lines = [
        "total      4",
        "Job 7: triage r2d seed 1",
        "Finished jobid: 7 (Rule: run)",
        "Job 8: 06_metrics",
        "Job 8 has been submitted with SLURM jobid 3 (log: x).",
        "Finished jobid: 8 (Rule: results)",
        "Finished jobid: 0",
    ]
    stage.does("; ".join(f"echo '{line}'" for line in lines))
    assert workflow.start(Plan()) == 0
    shown = re.sub(r"\d\d:\d\d", "time", capsys.readouterr().out)
    shown = re.sub(r"about [1-9] min", "about n min", shown).splitlines()
    assert shown[1:5] == [
        "  time  start  triage r2d seed 1",
        "  time  done   triage r2d seed 1  (1 of 3, about n min left)",
        "  time  start  06_metrics",
        "  time  done   06_metrics  (2 of 3, about n min left)",
    ]
    assert shown[5].startswith("Done in")


class Clock:
    """A workflow's lines at the times that it is told."""

    def __init__(self, monkeypatch, expected, total):
        self.now = 0.0
        self.numbers = {name: number for number, name in enumerate(expected, 1)}
        monkeypatch.setattr("r2d.experiments.progress.time.monotonic", lambda: self.now)
        self.progress = workflow.progress.Progress(expected)
        self.progress.shown(f"total {total + 1}")

    def starts(self, *names):
        for name in names:
            self.progress.shown(f"Job {self.numbers[name]}: {name}")

    def ends(self, now, name):
        self.now = now
        line = self.progress.shown(f"Finished jobid: {self.numbers[name]} (Rule: x)")
        return int(re.search(r"about (\d+) min left", line)[1])


def test_the_time_left_is_that_of_the_jobs_to_come_and_not_of_the_short_ones_that_came_first(
    monkeypatch,
):
    # Minutes: a, b, and at the end the report, alone, on a machine that is as fast as the record's.
    clock = Clock(monkeypatch, {"a": 60, "b": 600, "c": 600, "report": 60}, 4)
    clock.starts("a", "b")
    assert clock.ends(60, "a") == 9 + 1 + 1 + 1  # c goes on after b, at the same time for 9 minutes
    clock.starts("c")
    assert clock.ends(600, "b") == 1 + 1 + 1


def test_the_time_left_goes_by_the_pace_of_what_has_ended(monkeypatch):
    clock = Clock(monkeypatch, {"a": 60, "b": 60, "report": 60}, 3)
    clock.starts("a")
    assert clock.ends(300, "a") == 10 + 1


def test_without_a_record_the_others_take_as_long_as_the_slower_half(monkeypatch):
    clock = Clock(monkeypatch, dict.fromkeys("abcd"), 4)
    clock.starts("a")
    assert clock.ends(60, "a") == 3 + 1
    clock.starts("b")
    assert clock.ends(60 + 600, "b") == 20 + 1


def test_of_a_run_that_goes_on_as_many_jobs_count_as_are_left(monkeypatch):
    clock = Clock(monkeypatch, {"a": 60, "b": 60, "c": 180, "d": 180, "report": 60}, 3)
    clock.starts("a")
    assert clock.ends(60, "a") == 140 // 60 + 1 + 1  # one of b, c and d, and the report


def test_a_dry_run_is_an_estimate_of_the_plan_and_writes_nothing(stage, capsys):
    stage.does("echo 'Job 1: 01_data triage'")
    assert workflow.dry_run(Plan(settings=["train.common.batch=16"])) == 0
    assert "01_data triage" in capsys.readouterr().out
    assert stage.arguments[-4:] == ["--dry-run", "--quiet", "host", "reason"]
    stage.does("echo 'R2DError in file \"Snakefile\", line 3:'; echo 'Recipe: no.'; exit 1")
    assert workflow.dry_run(Plan()) == 1
    assert capsys.readouterr() == ("", "Recipe: no.\n")
    stage.does("for i in 1 2 3 4 5 6; do echo $i; done; exit 1")
    assert workflow.dry_run(Plan()) == 1
    assert capsys.readouterr() == ("", "2\n3\n4\n5\n6\n")
    assert not stage.home.exists()


def test_a_finished_run_says_where_everything_is_and_keeps_the_log(stage, capsys):
    stage.does("echo all of it; echo errors, too >&2")
    assert workflow.start(Plan()) == 0
    shown = capsys.readouterr().out
    runs = stage.home / "runs" / "mini"
    for place in (f"{runs}/results/", f"{runs}/notebooks/", f"{runs}/report/index.html"):
        assert place in shown
    assert str(paths.figures("mini")) in shown
    assert "Done in 0 min" in shown and "all of it" not in shown
    (log,) = stage.logs.glob("run-*.log")
    assert log.read_text() == "all of it\nerrors, too\n"


def test_a_failed_notebook_is_named_with_its_sentence(stage, capsys):
    stage.logs.mkdir(parents=True)
    (stage.logs / "01_data.ipynb").touch()
    (stage.logs / "01_data.log").write_text(
        "Traceback\nr2d.errors.R2DError: An earlier one.\nr2d.R2DError: File x, row 3: no label.\n"
    )
    files = f"{stage.logs}/01_data.ipynb, {stage.logs}/01_data.log"
    stage.does(f"echo '    log: {files} (check log file(s) for error details)'; exit 1")
    assert workflow.start(Plan()) == 1
    shown = capsys.readouterr()
    assert "Done" not in shown.out and "Failed after 0 min" in shown.err
    assert shown.err.endswith(f"  {stage.logs}/01_data.ipynb\n    File x, row 3: no label.\n")


def test_a_failed_step_without_a_notebook_is_named_by_its_log(stage, capsys):
    log = stage.logs / "report.log"
    stage.does(f"echo '    log: {log} (check log file(s) for error details)'; exit 1")
    assert workflow.start(Plan()) == 1
    assert capsys.readouterr().err.endswith(f"  {log}\n")


def test_a_recipe_that_does_not_load_is_reported_by_its_sentence(stage, capsys):
    stage.does("echo 'R2DError in file \"x\", line 3:'; echo 'Recipe x: no.'; echo more; exit 1")
    assert workflow.start(Plan()) == 1
    shown = capsys.readouterr().err
    assert "Recipe x: no." in shown and "more" not in shown


def test_a_lock_is_released_only_on_request(stage, capsys):
    stage.does("echo LockException:; exit 1")
    assert workflow.start(Plan("smoke")) == 1
    assert "'./run_all.sh smoke --unlock'" in capsys.readouterr().err
    assert "--unlock" not in stage.arguments
    stage.does("exit 0")
    assert workflow.unlock(Plan("smoke")) == 0
    assert stage.arguments[-3:] == ["--config", "profile=smoke", "--unlock"]


def test_a_home_that_cannot_be_written_is_one_sentence(stage):
    stage.home.write_text("a file")
    with pytest.raises(R2DError, match="runs/mini cannot be written: free some disk space, or set"):
        workflow.start(Plan())
    assert not stage.calls_file.exists()


@pytest.mark.parametrize(
    ("on", "ended"), [([], "ended by TERM"), (["--on", "slurm"], "ended by INT")]
)
def test_stopping_stops_the_notebooks_and_lets_a_cluster_cancel_its_jobs(stage, on, ended):
    stage.does(
        "trap 'echo ended by TERM; exit' TERM; trap 'echo ended by INT; exit' INT; "
        "echo begun; sleep 12"  # a signal in between waits for its end
    )
    command = [sys.executable, "-m", "r2d", "run", *on]
    running = subprocess.Popen(command, cwd=paths.ROOT, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 20
    while "begun" not in "".join(log.read_text() for log in stage.logs.glob("run-*")):
        assert time.monotonic() < end and running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    shown = running.communicate(timeout=20)[1]
    assert running.returncode == 130 and shown.startswith("Stopped after 0 min")
    (log,) = stage.logs.glob("run-*")
    assert ended in log.read_text()
