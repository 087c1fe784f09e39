"""`run_all.sh`, with a stand-in for Python that writes down how it is called: nothing is installed or trained."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from r2d import paths, recipes
from r2d.errors import R2DError

BASH = shutil.which("bash")
TOOLS = "bash env cat cksum sed tr mkdir cp date tail grep sort nproc sleep".split()
INSTALL = "-m pip install --no-input --disable-pip-version-check -c constraints.txt -e .[test]"
FAKE = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$CALLS"
case "$*" in
  '-c import sys'*) exit "${TOO_OLD:-0}" ;;
  '-m venv '*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  '-m pip install'*) echo 'ERROR: no such wheel'; exit "${PIP_EXIT:-0}" ;;
  *overrides.py*) echo mini+abc123; echo '{"train.common.batch": 16}' ;;
  '-m r2d.estimate'*) printf 'plan: %s\\n' "$(cat)" ;;
  '-m jupyterlab'*) printf 'prefers %s\\n' "${JUPYTER_PREFER_ENV_PATH-}" >>"$CALLS" ;;
  '-m r2d '*) printf 'in %s\\n' "$PWD" >>"$CALLS" ;;
  '-m snakemake'*)
    printf 'data in %s\\ndevices %s\\n' "${R2D_DATA-}" "${CUDA_VISIBLE_DEVICES-none}" >>"$CALLS"; eval "${WORKFLOW:-}" ;;
esac
"""


class Project:
    """A copy of what `run_all.sh` looks at, and a PATH on which the only Python is the stand-in."""

    def __init__(self, folder: Path):
        self.root, self.bin, self.calls_file = (
            folder / "a project",
            folder / "bin",
            folder / "calls",
        )
        for part in ("r2d/recipes", "notebooks/workflow"):
            shutil.copytree(paths.ROOT / part, self.root / part)
        for part in ("run_all.sh", "pyproject.toml", "constraints.txt"):
            shutil.copy(paths.ROOT / part, self.root / part)
        self.bin.mkdir()
        for tool in TOOLS:
            if where := shutil.which(tool):
                (self.bin / tool).symlink_to(where)
        self.python(self.bin / "python3")
        self.env = {"PATH": str(self.bin), "HOME": str(folder), "CALLS": str(self.calls_file)}

    def python(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FAKE)
        path.chmod(0o755)
        return path

    def environment(self, name: str) -> str:
        """A folder that looks like an installed environment."""
        return str(self.python(self.root.parent / name / "bin" / "python").parent.parent)

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess:
        command = [BASH, str(self.root / "run_all.sh"), *arguments]
        return subprocess.run(
            command,
            env=self.env | env,
            cwd=self.root.parent,
            capture_output=True,
            text=True,
            timeout=30,
        )

    def calls(self, start: str) -> list[str]:
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        return [line for line in lines if line.startswith(start)]


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_help_answers_at_once_without_python(tmp_path):
    started = time.monotonic()
    command = [BASH, str(paths.ROOT / "run_all.sh"), "--help"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert time.monotonic() - started < 1
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Profiles: {' '.join(recipes.profiles())}" in done.stdout


@pytest.mark.parametrize("script", ["run_all.sh", ".ci/run"])
def test_scripts_parse_and_may_be_executed(script):
    assert os.access(paths.ROOT / script, os.X_OK)
    assert subprocess.run([BASH, "-n", str(paths.ROOT / script)]).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["papr"], "choose one of"),
        (["mini", "paper"], "One profile"),
        (["--epochs", "3"], "--epochs"),
        (["mini", "--only", "E1,E99"], "'E99'"),
        (["--only"], "--only needs a value"),
        (["--cores", "two"], "'two'"),
        (["--cores", "0"], "'0'"),
        (["--set", "batch"], "KEY=VALUE"),
        (["--gpus", "all"], "'all'"),
        (["--on", "pbs"], "slurm or kubernetes"),
        (["--on", "../workflow"], "'../workflow'"),
    ],
)
def test_a_wrong_word_stops_with_one_sentence_before_python_starts(project, arguments, names):
    done = project.run(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert names in done.stderr and len(done.stderr.splitlines()) == 1
    assert project.calls("") == []


def test_every_experiment_of_every_recipe_may_be_chosen(project):
    for profile in recipes.profiles():
        recipe = yaml.safe_load((paths.RECIPES / f"{profile}.yaml").read_text(encoding="utf-8"))
        done = project.run(profile, "--dry-run", "--only", ",".join(recipe["experiments"]))
        assert done.returncode == 0, done.stderr


def test_without_an_environment_one_is_made_and_installed_into(project):
    done = project.run()
    assert done.returncode == 0, done.stderr
    assert project.calls("-m venv") == ["-m venv .venv"]
    assert project.calls("-m pip install") == [INSTALL]
    assert (project.root / ".venv" / ".r2d-installed").exists()


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_is_used(project, variable):
    active = project.environment("active")
    assert project.run(**{variable: active}).returncode == 0
    assert project.calls("-m venv") == [] and project.calls("-m snakemake")
    assert (Path(active) / ".r2d-installed").exists()


def test_a_virtual_environment_goes_before_conda_and_base_is_left_alone(project):
    conda, inner = project.environment("conda"), project.environment("inner")
    project.run(CONDA_PREFIX=conda, VIRTUAL_ENV=inner)
    assert (Path(inner) / ".r2d-installed").exists()
    project.run(CONDA_PREFIX=conda, CONDA_DEFAULT_ENV="base")
    assert (project.root / ".venv" / ".r2d-installed").exists()
    assert not (Path(conda) / ".r2d-installed").exists()


def test_an_old_python_is_passed_over(project):
    project.python(project.bin / "python3.12")
    old = FAKE.replace("${TOO_OLD:-0}", "1")
    (project.bin / "python3").write_text(old)
    assert project.run().returncode == 0
    assert project.calls("-m venv") == ["-m venv .venv"]
    assert (project.root / ".venv/bin/python").read_text() == FAKE


def test_no_usable_python_is_said_in_a_sentence(project):
    nothing = project.run(TOO_OLD="1")
    assert (nothing.returncode, nothing.stderr.count("\n")) == (
        1,
        1,
    ) and "No Python 3.11" in nothing.stderr
    active = project.run(TOO_OLD="1", VIRTUAL_ENV=project.environment("old"))
    assert (active.returncode, active.stderr.count("\n")) == (
        1,
        1,
    ) and "no working Python" in active.stderr
    absent = project.run("--no-install")
    assert (absent.returncode, absent.stderr.count("\n")) == (
        1,
        1,
    ) and "--no-install" in absent.stderr


def test_installation_happens_again_only_when_the_requirements_change(project):
    project.run(), project.run()
    assert len(project.calls("-m pip install")) == 1
    with (project.root / "constraints.txt").open("a") as file:
        file.write("# changed\n")
    project.run("--no-install")
    assert len(project.calls("-m pip install")) == 1
    project.run()
    assert len(project.calls("-m pip install")) == 2


def test_a_failed_installation_names_its_log_and_is_tried_again(project):
    done = project.run(PIP_EXIT="1")
    assert done.returncode == 1 and "no such wheel" in done.stderr
    assert str(project.root / ".venv" / "r2d-install.log") in done.stderr
    assert project.calls("-m snakemake") == []
    assert project.run().returncode == 0 and len(project.calls("-m pip install")) == 2


def test_the_workflow_gets_profile_experiments_and_cores(project):
    project.run("smoke", "--only", "E1", "--cores", "3")
    root = project.root
    assert project.calls("-m snakemake") == [
        f"-m snakemake --snakefile notebooks/Snakefile --directory {root} --workflow-profile notebooks/workflow"
        " --cores 3 --config profile=smoke only=E1"
    ]
    assert (
        yaml.safe_load((root / "notebooks/workflow/config.yaml").read_text())["rerun-incomplete"]
        is True
    )


@pytest.mark.parametrize(
    ("arguments", "env", "limit", "devices"),
    [
        ([], {}, "", "none"),
        ([], {"NVIDIA": "0 1 2"}, "--resources gpu=3", "0,1,2"),
        ([], {"NVIDIA": "0 1", "CUDA_VISIBLE_DEVICES": "1"}, "--resources gpu=1", "1"),
        ([], {"NVIDIA": "0 1", "CUDA_VISIBLE_DEVICES": ""}, "", ""),
        (["--gpus", "1"], {"NVIDIA": "0 1"}, "--resources gpu=1", "0,1"),
        (["--gpus", "0"], {"NVIDIA": "0 1"}, "", ""),
    ],
)
def test_as_many_gpu_jobs_run_as_there_are_gpus_and_a_cpu_limits_none(
    project, arguments, env, limit, devices
):
    smi = project.bin / "nvidia-smi"
    smi.write_text('#!/usr/bin/env bash\n[ -n "${NVIDIA-}" ] || exit 9\nprintf "%s\\n" $NVIDIA\n')
    smi.chmod(0o755)
    assert project.run(*arguments, **env).returncode == 0
    (call,) = project.calls("-m snakemake")
    assert ("--resources" in call) == bool(limit) and limit in call
    assert call.endswith(" gpus=0") == (arguments == ["--gpus", "0"])
    assert project.calls("devices") == [f"devices {devices}"]


def test_a_cluster_gets_its_profile_and_its_plugins(project):
    done = project.run("smoke", "--on", "slurm", "--gpus", "0", "--", "--slurm-qos", "long")
    assert done.returncode == 0, done.stderr
    assert project.calls("-m pip install") == [INSTALL.replace("test", "test,cluster")]
    assert project.calls("-m snakemake")[0].endswith(
        " --workflow-profile notebooks/workflow --profile notebooks/workflow/slurm --config profile=smoke gpus=0 --slurm-qos long"
    )


def test_changed_settings_run_under_a_name_of_their_own(project):
    done = project.run("--set", "train.common.batch=16", "--set", "note=a b")
    assert project.calls("notebooks/workflow/overrides.py")[0].endswith(
        "mini train.common.batch=16 note=a b"
    )
    own = f"{project.root}/runs/mini+abc123"
    assert project.calls("-m snakemake")[0].endswith(
        f"--config profile=mini --configfile {own}/logs/overrides.json"
    )
    assert (
        f"{own}/notebooks/" in done.stdout and f"{project.root}/figures/mini+abc123/" in done.stdout
    )


def test_relative_folders_are_those_of_the_caller(project):
    done = project.run(R2D_HOME="disk", R2D_DATA="sets")
    assert f"{project.root.parent}/disk/runs/mini/results/" in done.stdout
    assert project.calls("data in") == [f"data in {project.root.parent}/sets"]


def test_the_terminal_shows_what_is_at_work_how_far_it_is_and_how_long_it_takes(project):
    lines = [
        "total      4",
        "Job 7: triage r2d seed 1",
        "sleep",
        "Finished jobid: 7 (Rule: run)",
        "Job 8: 06_metrics",
    ]
    lines += [
        "Job 8 has been submitted with SLURM jobid 3 (log: x).",
        "Finished jobid: 8 (Rule: results)",
        "Finished jobid: 0",
    ]
    workflow = "; ".join("sleep 1.1" if line == "sleep" else f"echo '{line}'" for line in lines)
    done = project.run("--no-install", VIRTUAL_ENV=project.environment("active"), WORKFLOW=workflow)
    said = re.sub(r"\d\d:\d\d", "time", done.stdout).splitlines()
    assert said[1:5] == ["  time  start  triage r2d seed 1", "  time  done   triage r2d seed 1  (1 of 3, about 1 min left)",
                         "  time  start  06_metrics", "  time  done   06_metrics  (2 of 3, about 1 min left)"]  # fmt: skip
    assert said[5].startswith("Done in")


def test_a_dry_run_is_an_estimate_of_the_plan_and_writes_nothing(project):
    active = {"VIRTUAL_ENV": project.environment("active")}
    options = ("--no-install", "--set", "train.common.batch=16", "--dry-run")
    done = project.run(*options, WORKFLOW="echo 'Job 1: 01_data triage'", **active)
    assert (done.returncode, done.stdout) == (0, "plan: Job 1: 01_data triage\n")
    assert project.calls("-m r2d.estimate") == [
        '-m r2d.estimate mini --overrides {"train.common.batch": 16}'
    ]
    refused = "echo 'R2DError in file \"Snakefile\", line 3:'; echo 'Recipe: no.'; exit 1"
    failed = project.run("--no-install", "--dry-run", WORKFLOW=refused, **active)
    assert (failed.returncode, failed.stdout, failed.stderr) == (1, "", "Recipe: no.\n")
    assert not (project.root / "runs").exists()


def test_a_finished_run_says_where_everything_is_and_keeps_the_log(project):
    done = project.run(WORKFLOW="echo all of it")
    assert done.returncode == 0
    for place in ("figures/mini/", "runs/mini/results/", "runs/mini/notebooks/"):
        assert f"{project.root}/{place}" in done.stdout
    assert "Done in 0 min" in done.stdout and "all of it" not in done.stdout
    (log,) = (project.root / "runs/mini/logs").glob("run-*.log")
    assert "all of it" in log.read_text()


def test_a_failed_notebook_is_named_with_its_sentence(project):
    logs = project.root / "runs/mini/logs"
    logs.mkdir(parents=True)
    (logs / "01_data.ipynb").touch()
    (logs / "01_data.log").write_text("Traceback\nr2d.R2DError: File x.csv, row 3: no label.\n")
    reported = (
        f"    log: {logs}/01_data.ipynb, {logs}/01_data.log (check log file(s) for error details)"
    )
    done = project.run(WORKFLOW=f"echo '{reported}'; exit 1")
    assert done.returncode == 1 and "Done" not in done.stdout
    assert f"  {logs}/01_data.ipynb\n    File x.csv, row 3: no label." in done.stderr


def test_a_failed_step_without_a_notebook_is_named_by_its_log(project):
    log = project.root / "runs/mini/logs/report.log"
    reported = f"    log: {log} (check log file(s) for error details)"
    assert f"  {log}\n" in project.run(WORKFLOW=f"echo '{reported}'; exit 1").stderr


def test_a_recipe_that_does_not_load_is_reported_by_its_sentence(project):
    done = project.run(
        WORKFLOW="echo 'R2DError in file \"Snakefile\", line 3:'; echo 'Recipe mini.yaml: no.'; echo more; exit 1"
    )
    assert done.returncode == 1
    assert "Recipe mini.yaml: no." in done.stderr and "more" not in done.stderr


def test_a_lock_is_released_only_on_request(project):
    done = project.run("smoke", WORKFLOW="echo LockException:; exit 1")
    assert done.returncode == 1 and "'./run_all.sh smoke --unlock'" in done.stderr
    assert not [call for call in project.calls("-m snakemake") if "--unlock" in call]
    project.run("smoke", "--unlock")
    assert project.calls("-m snakemake")[-1].endswith("--config profile=smoke --unlock")


@pytest.mark.parametrize("wanted", [signal.SIGTERM, signal.SIGINT])
def test_stopping_the_script_stops_what_it_started(project, wanted):
    waiting = {"WORKFLOW": 'sleep 60 & echo $! >"$HOME/child"; wait'}
    command = [BASH, str(project.root / "run_all.sh")]
    running = subprocess.Popen(
        command,
        env=project.env | waiting,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    child = project.root.parent / "child"
    until(lambda: child.exists() and child.read_text().strip())
    running.send_signal(wanted)
    said = running.communicate(timeout=10)[1]
    assert running.returncode == 130 and said.startswith("Stopped after")
    until(lambda: not alive(int(child.read_text())))


def test_tests_and_lab_hand_their_arguments_on(project):
    assert project.run("test", "-k", "two words").returncode == 0
    assert project.calls("-m pytest") == [
        "-m pytest --numprocesses logical --maxprocesses 4 --dist loadfile -k two words"
    ]
    assert project.run("lab", "--no-browser").returncode == 0
    assert project.calls("-m jupyter") == ["-m jupyterlab --notebook-dir=notebooks --no-browser"]
    assert project.calls("prefers") == [
        "prefers 1"
    ]  # this environment's kernel, not one of the user's of the same name


def test_own_data_is_looked_for_where_the_caller_is(project):
    assert (
        project.run("your-data", "--train", "my tickets.csv", "--label-column", "queue").returncode
        == 0
    )
    assert project.calls("-m r2d ") == [
        "-m r2d your-data --train my tickets.csv --label-column queue"
    ]
    assert project.calls("in /") == [f"in {project.root.parent}"]


def test_the_report_is_that_of_the_profile_and_its_settings(project):
    assert (
        project.run("report", "smoke").returncode == 0
        and project.run("report", "--set", "note=a").returncode == 0
    )
    assert project.calls("-m r2d.report") == [
        "-m r2d.report smoke --overrides {} --open",
        '-m r2d.report mini --overrides {"train.common.batch": 16} --open',
    ]


@pytest.mark.parametrize(
    ("given", "seen"), [({}, "../shared/data"), ({"R2D_DATA": "/own"}, "/own")]
)
def test_ci_calls_the_tests_with_the_data_beside_the_project(tmp_path, given, seen):
    (tmp_path / "shared/data").mkdir(parents=True)
    (tmp_path / "p/.ci").mkdir(parents=True)
    shutil.copy(paths.ROOT / ".ci/run", tmp_path / "p/.ci/run")
    script = tmp_path / "p/run_all.sh"
    script.write_text('#!/usr/bin/env bash\necho "$* $R2D_DATA"\n')
    script.chmod(0o755)
    (tmp_path / "chromium").symlink_to(shutil.which("true"))  # else it would be installed
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | given
    done = subprocess.run(
        [BASH, ".ci/run"], cwd=tmp_path / "p", env=env, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"test {seen}\n")


@pytest.fixture
def overrides(monkeypatch, tmp_path):
    monkeypatch.setenv("R2D_HOME", str(tmp_path))
    spec = importlib.util.spec_from_file_location(
        "overrides", paths.NOTEBOOKS / "workflow/overrides.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_settings_reach_the_workflow_with_their_types(overrides, tmp_path):
    pairs = (
        "train.common.lr=1e-3",
        "train.common.batch=16",
        "note=it's a=b",
        "datasets.triage.train=null",
    )
    name, text = overrides.main("mini", *pairs)
    seen = tmp_path / "seen.json"
    snakefile = tmp_path / "Snakefile"
    snakefile.write_text(
        f"open({str(seen)!r}, 'w').write(config['overrides'])\nrule all:\n    input: []\n"
    )
    settings = paths.runs(name) / "logs/overrides.json"
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(snakefile),
        "--directory",
        str(tmp_path),
        "--cores",
        "1",
    ]
    done = subprocess.run(
        [*command, "--config", "profile=mini", "--configfile", str(settings)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    given = {
        "train.common.lr": 0.001,
        "train.common.batch": 16,
        "note": "it's a=b",
        "datasets.triage.train": None,
    }
    assert json.loads(seen.read_text()) == json.loads(text) == given
    assert name == recipes.load("mini", given).profile


def test_a_setting_that_no_recipe_has_leaves_nothing_behind(overrides, tmp_path):
    with pytest.raises(R2DError, match="trian"):
        overrides.main("mini", "trian.common.batch=16")
    assert list(tmp_path.iterdir()) == []


def until(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """True for a process that still works; one that only waits to be collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and ") Z " in state.read_text())
