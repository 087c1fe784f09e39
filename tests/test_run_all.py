"""`run_all.sh`, with a stand-in for Python that writes down how it is called: nothing is run."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from r2d import paths, recipes

BASH = shutil.which("bash")
TOOLS = ("bash", "env", "cat", "cksum", "mkdir", "cp", "tail", "grep")
INSTALL = "-m pip install --no-input -c constraints.txt -e .[test]"
FAKE = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$CALLS"
case "$*" in
  '-c import sys'*) exit "${TOO_OLD:-0}" ;;
  '-m venv '*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  '-m pip install'*) echo 'ERROR: no such wheel'; exit "${PIP_EXIT:-0}" ;;
  '-P -m r2d '*) printf '%s\\n' "process $$" "in $PWD" "with $PYTHONPATH" "${@:4}" >>"$CALLS" ;;
esac
"""


class Project:
    """A copy of what `run_all.sh` reads, and a PATH whose only Python is the stand-in."""

    def __init__(self, folder: Path):
        self.root = folder / "a project"
        self.bin = folder / "bin"
        self.calls_file = folder / "calls"
        shutil.copytree(paths.RECIPES, self.root / "r2d" / "recipes")
        for part in ("run_all.sh", "r2d/usage.txt", "pyproject.toml", "constraints.txt"):
            shutil.copy(paths.ROOT / part, self.root / part)
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
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

    def words(self) -> list[str]:
        """The words of the last command of `python -m r2d`."""
        lines = self.calls_file.read_text().splitlines()
        last = max(i for i, line in enumerate(lines) if line.startswith("with "))
        return lines[last + 1 :]


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["mini", "--help"], ["--cores", "2", "-h"]])
def test_help_answers_at_once_without_python(tmp_path, words):
    started = time.monotonic()
    command = [BASH, str(paths.ROOT / "run_all.sh"), *words]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert time.monotonic() - started < 1
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Profiles: {' '.join(recipes.profiles())}" in done.stdout


@pytest.mark.parametrize("script", ["run_all.sh", ".ci/run"])
def test_scripts_parse_and_may_be_executed(script):
    assert os.access(paths.ROOT / script, os.X_OK)
    assert subprocess.run([BASH, "-n", str(paths.ROOT / script)]).returncode == 0


def test_the_script_is_short():
    lines = (paths.ROOT / "run_all.sh").read_text(encoding="utf-8").splitlines()
    usage = (paths.PACKAGE / "usage.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40 and max(map(len, lines + usage)) <= 100


def test_a_wrong_word_stops_with_one_sentence_before_python_starts(project):
    done = project.run("papr")
    assert done.returncode == 2 and done.stdout == ""
    assert "'papr'" in done.stderr and "choose one of mini paper smoke" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and project.calls("") == []


def test_without_an_environment_one_is_made_and_installed_into(project):
    done = project.run()
    assert done.returncode == 0, done.stderr
    assert project.calls("-m venv") == [f"-m venv {project.root}/.venv"]
    assert project.calls("-m pip install") == [INSTALL]
    assert list((project.root / ".venv").glob(".r2d-installed*"))


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_is_used(project, variable):
    active = project.environment("active")
    assert project.run(**{variable: active}).returncode == 0
    assert project.calls("-m venv") == [] and project.calls("-P -m r2d")
    assert list(Path(active).glob(".r2d-installed*"))


def test_a_virtual_environment_goes_before_conda_and_base_is_left_alone(project):
    conda, inner = project.environment("conda"), project.environment("inner")
    project.run(CONDA_PREFIX=conda, VIRTUAL_ENV=inner)
    assert list(Path(inner).glob(".r2d-installed*"))
    project.run(CONDA_PREFIX=conda, CONDA_DEFAULT_ENV="base")
    assert list((project.root / ".venv").glob(".r2d-installed*"))
    assert not list(Path(conda).glob(".r2d-installed*"))


def test_an_old_python_is_passed_over(project):
    project.python(project.bin / "python3.12")
    (project.bin / "python3").write_text(FAKE.replace("${TOO_OLD:-0}", "1"))
    assert project.run().returncode == 0
    assert len(project.calls("-m venv")) == 1
    assert (project.root / ".venv/bin/python").read_text() == FAKE


def test_no_usable_python_is_said_in_a_sentence(project):
    old = project.environment("old")
    for done, sentence in (
        (project.run(TOO_OLD="1"), "No Python 3.11"),
        (project.run(TOO_OLD="1", VIRTUAL_ENV=old), "no working Python"),
        (project.run("--no-install"), "--no-install"),
    ):
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert sentence in done.stderr


def test_installation_happens_again_only_when_the_requirements_change(project):
    project.run()
    project.run()
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
    assert project.calls("-P -m r2d") == []
    assert project.run().returncode == 0 and len(project.calls("-m pip install")) == 2


def test_a_cluster_gets_its_plugins_installed(project):
    project.run("smoke", "--on", "slurm")
    assert project.calls("-m pip install") == [INSTALL.replace("test", "test,cluster")]
    assert project.words() == ["run", "smoke", "--on", "slurm"]


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ([], ["run"]),
        (["smoke"], ["run", "smoke"]),
        (["--only", "E1"], ["run", "--only", "E1"]),
        (["--no-install", "mini"], ["run", "mini"]),
        (["mini", "--set", "note=a  b", "--no-install"], ["run", "mini", "--set", "note=a  b"]),
        (["run", "mini", "--", "--until", "x"], ["run", "mini", "--", "--until", "x"]),
        (["test", "-k", "two words"], ["test", "-k", "two words"]),
        (["your-data", "--no-install", "--train", "a b"], ["your-data", "--train", "a b"]),
        (["predict", "runs/x", "--text", ""], ["predict", "runs/x", "--text", ""]),
        (["pretrain", "--help"], ["pretrain", "--help"]),
    ],
)
def test_every_command_is_handed_on_as_it_is_from_where_the_caller_is(project, words, command):
    active = {"VIRTUAL_ENV": project.environment("active"), "PYTHONPATH": "/mine"}
    script = [BASH, str(project.root / "run_all.sh"), *words]
    running = subprocess.Popen(script, env=project.env | active, cwd=project.root.parent)
    assert running.wait(30) == 0
    assert project.words() == command
    assert project.calls("in ") == [f"in {project.root.parent}"]
    assert project.calls("with ") == [f"with {project.root}:/mine"]
    assert project.calls("process ") == [f"process {running.pid}"]  # which gets its signals, too
    assert len(project.calls("-m pip install")) == ("--no-install" not in words)


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
