"""`--on slurm`, for real: a piece of `smoke` through a SLURM of one node that lives as long as the test and on loopback only.

It needs root and Debian's slurmctld, slurmd, slurm-client and munge, which it installs only if told to (CI=true or
R2D_TEST_SLURM=1); otherwise it is skipped with the reason.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from conftest import new_home, project_copy

from r2d import paths

DAEMONS = ("munged", "slurmctld", "slurmd")
PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client")
PLUGINS = ("snakemake-executor-plugin-slurm", "snakemake-executor-plugin-slurm-jobstep")
MAY_INSTALL = "true" in os.environ.get("CI", "").lower() or os.environ.get("R2D_TEST_SLURM") == "1"
CONFIG = """ClusterName=r2d
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
NodeName=localhost NodeAddr=127.0.0.1 CPUs=16 RealMemory=128000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def installed() -> str:
    """Why SLURM cannot be started here, after installing what may be installed; empty if it can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "needs root on Linux"
    if any(shutil.which(tool) is None for tool in (*DAEMONS, "sbatch")):
        if not MAY_INSTALL or not shutil.which("apt-get"):
            return f"needs {' '.join(PACKAGES)} (R2D_TEST_SLURM=1 installs them by apt-get)"
        command = [
            "apt-get",
            "-o",
            "DPkg::Lock::Timeout=120",
            "install",
            "-y",
            "--no-install-recommends",
            *PACKAGES,
        ]
        for step in (["apt-get", "update"], command):
            done = subprocess.run(
                step,
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True,
                text=True,
            )
        if done.returncode:
            return f"apt-get could not install SLURM: {done.stderr.strip()[-200:]}"
    return ""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory) -> Path:
    """A folder with the executor plugin where the environment lacks it (the extra `cluster`)."""
    folder = tmp_path_factory.mktemp("plugins")
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        if not MAY_INSTALL:
            pytest.skip("needs the extra `cluster`: pip install '.[cluster]'")
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--target",
            str(folder),
        ]
        done = subprocess.run(
            [*command, "-c", str(paths.ROOT / "constraints.txt"), *PLUGINS],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"pip could not install the plugin: {done.stderr.strip()[-200:]}")
    return folder


@pytest.fixture(scope="module")
def cluster(plugins):
    """The environment in which SLURM's commands reach a running cluster of one node; its daemons end with the test."""
    if reason := installed():
        pytest.skip(reason)
    folder = Path(
        tempfile.mkdtemp(prefix="r2d-slurm-")
    )  # not under pytest's own, which is closed to munge's clients
    folder.chmod(0o755)
    env = configure(folder) | {"SLURM_CONF": str(folder / "slurm.conf")}
    munge = [
        f"--{name}={folder}/munge.{name.removesuffix('-file')}"
        for name in ("socket", "key-file", "pid-file", "log-file", "seed-file")
    ]
    started = []
    try:
        for command in (
            ["munged", "-F", *munge],
            ["slurmctld", "-D"],
            ["slurmd", "-D", "-N", "localhost"],
        ):
            output = (folder / f"{command[0]}.out").open("w")
            started.append(subprocess.Popen(command, env=env, stdout=output, stderr=output))
            time.sleep(1)
        if not ready(env):
            said = "".join((folder / f"{daemon}.out").read_text()[-300:] for daemon in DAEMONS)
            pytest.skip(f"SLURM could not be started here: {said}")
        yield env
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(["scancel", "--user=root"], env=env, capture_output=True, timeout=20)
        for daemon in reversed(started):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def configure(folder: Path) -> dict[str, str]:
    """The cluster's files in `folder`; the environment whose `srun` knows them, of which the plugin keeps only the PATH."""
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0)), other.bind(("127.0.0.1", 0))
        ports = {"controller": one.getsockname()[1], "node": other.getsockname()[1]}
    (folder / "slurm.conf").write_text(CONFIG.format(folder=folder, **ports))
    srun = folder / "bin" / "srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    inside = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    return inside | {"PATH": f"{folder}/bin:{os.environ['PATH']}"}


def ready(env) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"],
            env=env,
            capture_output=True,
            text=True,
            timeout=20,
        )
        if done.stdout.strip() == "idle":
            return True
        time.sleep(0.5)
    return False


@pytest.fixture
def start(cluster, plugins, tmp_path):
    """Starts a piece of `smoke`, two jobs one after the other, in a copy of the project; (process, home)."""
    project, home = project_copy(tmp_path), new_home(tmp_path / "home")
    env = cluster | {
        "R2D_HOME": str(home),
        "VIRTUAL_ENV": sys.prefix,
        "PYTHONPATH": f"{project}:{plugins}",
    }
    for variable in ("R2D_DATA", "CONDA_PREFIX"):
        env.pop(variable, None)
    piece = ["--only", "E1", "--set", 'experiments.E1.methods=["majority"]']
    command = ["./run_all.sh", "smoke", "--no-install", "--on", "slurm", "--gpus", "0", *piece]
    command += ["--", "--slurm-status-command", "squeue", "--until", "results"]
    process = subprocess.Popen(
        command, cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    yield process, home
    process.kill()


def log_of(home) -> str:
    return "".join(path.read_text() for path in home.glob("runs/*/logs/run-*.log"))


def jobs(cluster) -> list[dict[str, str]]:
    said = subprocess.run(
        ["scontrol", "show", "jobs", "-o"], env=cluster, capture_output=True, text=True
    ).stdout
    return [
        dict(word.split("=", 1) for word in line.split() if "=" in word)
        for line in said.splitlines()
        if "=" in line
    ]


def test_a_piece_of_smoke_runs_as_slurm_jobs_with_the_resources_of_their_rules(cluster, start):
    process, home = start
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 0, said + log_of(home)
    assert log_of(home).count("has been submitted with SLURM jobid") == 2
    assert list(home.glob("runs/*/triage/majority/seed1/metrics.json")) and list(
        home.glob("runs/*/results/table_1.csv")
    )
    assert [job["JobState"] for job in jobs(cluster)] == ["COMPLETED"] * 2
    asked = {(job["NumCPUs"], job["MinMemoryNode"], job["TimeLimit"]) for job in jobs(cluster)}
    assert asked == {("4", "32000M", "2-00:00:00"), ("1", "8000M", "01:00:00")}


def test_stopping_the_grid_cancels_its_slurm_jobs(cluster, start):
    process, home = start
    while "has been submitted" not in log_of(home):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and "Stopped after" in said
    end = time.monotonic() + 20
    while any(job["JobState"] not in ("COMPLETED", "CANCELLED") for job in jobs(cluster)):
        assert time.monotonic() < end, jobs(cluster)
        time.sleep(0.5)
    assert jobs(cluster)[-1]["JobState"] == "CANCELLED"
