"""`gpu.py`: jobs that run at a time get a GPU each."""

import os
import subprocess
import sys
import time

import pytest

from r2d import paths


@pytest.fixture
def start(tmp_path):
    """Starts a command under `gpu.py` that names its device and waits for its input to end."""
    started = []

    def job(visible: str) -> subprocess.Popen:
        launcher = str(paths.NOTEBOOKS / "workflow" / "gpu.py")
        command = [sys.executable, launcher, "sh", "-c", "echo $CUDA_VISIBLE_DEVICES; read wait"]
        env = os.environ | {"CUDA_VISIBLE_DEVICES": visible, "TMPDIR": str(tmp_path)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=env, **pipes))
        return started[-1]

    yield job
    for process in started:
        process.kill()
        process.communicate()


def device(job: subprocess.Popen) -> str:
    return job.stdout.readline().strip()


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        ("0,1", ["0", "1"]),
        ("GPU-a, GPU-b,GPU-c", ["GPU-a", "GPU-b"]),
        ("3", ["3", "3"]),
        ("", ["", ""]),
    ],
)
def test_two_jobs_never_share_a_gpu_while_another_is_free(start, visible, seen):
    jobs = [start(visible), start(visible)]
    assert sorted(device(job) for job in jobs) == seen


def test_a_third_job_on_two_gpus_waits_for_one_to_be_free(start):
    first, second = start("0,1"), start("0,1")
    freed = device(first)
    device(second)
    third = start("0,1")
    time.sleep(0.5)
    assert third.poll() is None
    first.kill()  # a crash frees it, too
    assert device(third) == freed
