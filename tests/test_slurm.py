"""`--on slurm`, for real: a piece of `smoke` through a SLURM of one node that lives as long as the test and on loopback only.

It needs root and Debian's slurmctld, slurmd, slurm-client and munge, which it installs only if told to (CI=true or
R2D_TEST_SLURM=1); otherwise it is skipped with the reason.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
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
        command = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "install", "-y", "--no-install-recommends", *PACKAGES]
        for step in (["apt-get", "update"], command):
            done = subprocess.run(step, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, capture_output=True, text=True)
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
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
        done = subprocess.run([*command, "-c", str(paths.ROOT / "constraints.txt"), *PLUGINS], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"pip could not install the plugin: {done.stderr.strip()[-200:]}")
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, plugins):
    """The environment in which SLURM's commands reach a running cluster of one node; its daemons end with the test."""
    if reason := installed():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    for parent in (folder, *folder.parents[:2]):  # munged wants to know who could replace its socket
        parent.chmod(0o755)
    env = configure(folder) | {"SLURM_CONF": str(folder / "slurm.conf")}
    munge = [
        f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "key-file", "pid-file", "log-file", "seed-file")
    ]
    started = []
    try:
        for command in (["munged", "-F", *munge], ["slurmctld", "-D"], ["slurmd", "-D", "-N", "localhost"]):
            output = (folder / f"{command[0]}.out").open("w")
            started.append(subprocess.Popen(command, env=env, stdout=output, stderr=output))
            time.sleep(1)
        if not ready(env):
            said = "".join((folder / f"{daemon}.out").read_text()[-300:] for daemon in DAEMONS)
            pytest.skip(f"SLURM could not be started here: {said}")
        yield env
    finally:
        subprocess.run(["scancel", "--user=root"], env=env, capture_output=True, timeout=20)
        for daemon in reversed(started):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


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
        done = subprocess.run(["sinfo", "--noheader", "--format=%T"], env=env, capture_output=True, text=True, timeout=20)
        if done.stdout.strip() == "idle":
            return True
        time.sleep(0.5)
    return False


def test_a_piece_of_smoke_runs_as_slurm_jobs(cluster, plugins, tmp_path):
    project = project_copy(tmp_path)
    home = new_home(tmp_path / "home")
    env = cluster | {"R2D_HOME": str(home), "VIRTUAL_ENV": sys.prefix, "PYTHONPATH": f"{project}:{plugins}"}
    env.pop("R2D_DATA", None), env.pop("CONDA_PREFIX", None)
    piece = ["--only", "E1", "--set", 'experiments.E1.methods=["majority"]']
    command = ["./run_all.sh", "smoke", "--no-install", "--on", "slurm", "--gpus", "0", *piece]
    command += ["--", "--slurm-status-command", "squeue", "--until", "results"]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    (runs,) = (home / "runs").iterdir()
    log = "".join(path.read_text() for path in (runs / "logs").glob("run-*.log"))
    assert log.count("has been submitted with SLURM jobid") == 2
    assert (runs / "triage" / "majority" / "seed1" / "metrics.json").is_file() and (runs / "results" / "table_1.csv").is_file()
    accounting = subprocess.run(["scontrol", "show", "jobs", "-o"], env=cluster, capture_output=True, text=True).stdout
    jobs = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in accounting.splitlines()]
    assert [job["JobState"] for job in jobs] == ["COMPLETED"] * 2
    assert {(job["NumCPUs"], job["MinMemoryNode"], job["TimeLimit"]) for job in jobs} == {
        ("4", "32000M", "2-00:00:00"), ("1", "8000M", "01:00:00")}  # fmt: skip
