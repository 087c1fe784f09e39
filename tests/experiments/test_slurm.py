"""`--on slurm`, for real: a piece of `smoke` through a SLURM of one node, on loopback only.

It lives as long as the test and needs root and Debian's slurmctld, slurmd, slurm-client and munge,
which it installs only if told to (CI=true or R2D_TEST_SLURM=1); otherwise it is skipped with the
reason.
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
    """Why SLURM cannot be started here, after installing what may be; empty if it can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "needs root on Linux"
    if all(shutil.which(tool) for tool in (*DAEMONS, "sbatch")):
        return ""
    if not MAY_INSTALL or not shutil.which("apt-get"):
        return f"needs {' '.join(PACKAGES)} (R2D_TEST_SLURM=1 installs them by apt-get)"
    quiet = {"env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, "capture_output": True}
    subprocess.run(["apt-get", "update"], **quiet)
    install = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "install", "-y"]
    done = subprocess.run([*install, "--no-install-recommends", *PACKAGES], text=True, **quiet)
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
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]
        locked = ["--target", str(folder), "-c", str(paths.ROOT / "constraints.txt")]
        done = subprocess.run([*install, *locked, *PLUGINS], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"pip could not install the plugin: {done.stderr.strip()[-200:]}")
    return folder


@pytest.fixture(scope="module")
def cluster(plugins):
    """The environment of SLURM's commands for a running cluster of one node.

    Its daemons end with the test.
    """
    reason = installed()
    if reason:
        pytest.skip(reason)
    # Not under pytest's own folder, which is closed to munge's clients.
    folder = Path(tempfile.mkdtemp(prefix="r2d-slurm-"))
    folder.chmod(0o755)
    env = configure(folder) | {"SLURM_CONF": str(folder / "slurm.conf")}
    files = ("socket", "key-file", "pid-file", "log-file", "seed-file")
    munge = [f"--{name}={folder}/munge.{name.removesuffix('-file')}" for name in files]
    commands = (["munged", "-F", *munge], ["slurmctld", "-D"], ["slurmd", "-D", "-N", "localhost"])
    started = []
    try:
        for command in commands:
            output = (folder / f"{command[0]}.out").open("w")
            started.append(subprocess.Popen(command, env=env, stdout=output, stderr=output))
            time.sleep(1)
        if not ready(env):
            output = "".join((folder / f"{daemon}.out").read_text()[-300:] for daemon in DAEMONS)
            pytest.skip(f"SLURM could not be started here: {output}")
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
    """The cluster's files in `folder`; the environment whose `srun` knows them.

    The plugin keeps only the PATH of it.
    """
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = {"controller": one.getsockname()[1], "node": other.getsockname()[1]}
    (folder / "slurm.conf").write_text(CONFIG.format(folder=folder, **ports))
    srun = folder / "bin" / "srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    inside = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    return inside | {"PATH": f"{folder}/bin:{os.environ['PATH']}"}


def ready(env) -> bool:
    command = ["sinfo", "--noheader", "--format=%T"]
    end = time.monotonic() + 20
    while time.monotonic() < end:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=20)
        if done.stdout.strip() == "idle":
            return True
        time.sleep(0.5)
    return False


@pytest.fixture
def start(cluster, plugins, tmp_path):
    """Starts a piece of `smoke` in a copy of the project, jobs one after the other.

    `start(until)` gives (process, home); a setting makes a job's command hard to quote.
    """
    project, home = project_copy(tmp_path), new_home(tmp_path / "home")
    env = cluster | {
        "R2D_HOME": str(home),
        "VIRTUAL_ENV": sys.prefix,
        "PYTHONPATH": f"{project}:{plugins}",
    }
    for variable in ("R2D_DATA", "CONDA_PREFIX"):
        env.pop(variable, None)
    piece = ["--only", "E1", "--set", 'experiments.E1.methods=["majority"]']
    piece += ["--set", 'note="it\'s {one} $node"']
    command = ["./run_all.sh", "smoke", "--no-install", "--on", "slurm", "--gpus", "0", *piece]
    command += ["--", "--slurm-status-command", "squeue", "--until"]
    processes = []

    def run(until: str):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        processes.append(subprocess.Popen([*command, until], cwd=project, env=env, **pipes))
        return processes[-1], home

    yield run
    for process in processes:
        process.kill()


def log_of(home) -> str:
    return "".join(path.read_text() for path in home.glob("runs/*/logs/run-*.log"))


def jobs(cluster) -> list[dict[str, str]]:
    command = ["scontrol", "show", "jobs", "-o"]
    output = subprocess.run(command, env=cluster, capture_output=True, text=True).stdout
    lines = [line.split() for line in output.splitlines() if "=" in line]
    return [dict(word.split("=", 1) for word in line if "=" in word) for line in lines]


def test_a_piece_of_smoke_runs_as_slurm_jobs_with_the_resources_of_their_rules(cluster, start):
    process, home = start("results")
    shown = process.communicate(timeout=600)[0]
    assert process.returncode == 0, shown + log_of(home)
    assert log_of(home).count("has been submitted with SLURM jobid") == 2
    assert list(home.glob("runs/*/triage/majority/seed1/metrics.json"))
    assert list(home.glob("runs/*/results/table_1.csv"))
    assert [job["JobState"] for job in jobs(cluster)] == ["COMPLETED"] * 2
    wanted = {(job["NumCPUs"], job["MinMemoryNode"], job["TimeLimit"]) for job in jobs(cluster)}
    assert wanted == {("4", "32000M", "2-00:00:00"), ("1", "8000M", "01:00:00")}


def test_stopping_the_grid_cancels_its_slurm_jobs(cluster, start):
    process, home = start("baselines")
    while "has been submitted" not in log_of(home):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    shown = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and "Stopped after" in shown
    end = time.monotonic() + 20
    while any(job["JobState"] not in ("COMPLETED", "CANCELLED") for job in jobs(cluster)):
        assert time.monotonic() < end, jobs(cluster)
        time.sleep(0.5)
    assert jobs(cluster)[-1]["JobState"] == "CANCELLED"
