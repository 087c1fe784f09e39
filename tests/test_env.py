"""Threads: as many as serve a model, as many as the environment says, and none that spins."""

import os
import subprocess
import sys

import pytest
import torch

from r2d import env, paths


@pytest.fixture
def two_threads(monkeypatch):
    """What torch takes by itself on a machine of two cores."""
    before = torch.get_num_threads()
    monkeypatch.setattr(env, "_usual_threads", lambda: 2)
    yield monkeypatch
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("told", "parameters", "threads"),
    [
        ("", env.SMALL - 1, 1),
        ("", env.SMALL, 2),
        ("3", env.SMALL - 1, 3),
        ("1", env.SMALL, 1),
        ("2,1", 1, 2),
        ("nonsense", 1, 1),
    ],
)
def test_a_small_model_gets_one_thread_and_the_environment_goes_first(
    two_threads, told, parameters, threads
):
    two_threads.setenv("OMP_NUM_THREADS", told)
    env.choose_threads(parameters)
    assert torch.get_num_threads() == env.describe()["threads"] == threads


def test_the_environment_line_says_how_threads_are_chosen(two_threads):
    two_threads.delenv("OMP_NUM_THREADS")
    assert "(threads: 2, below 10 million parameters 1), commit" in env.line()
    two_threads.setenv("OMP_NUM_THREADS", "4")
    assert "(threads: 4, by OMP_NUM_THREADS), commit" in env.line()


@pytest.mark.parametrize(
    ("told", "policy"), [({}, "PASSIVE 1000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None")]
)
def test_threads_that_wait_do_not_spin_unless_they_are_told_to(told, policy):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    code = f"import os, sys, r2d; print(*map(os.environ.get, {names}), 'torch' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=paths.ROOT, env=environment | told, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{policy} False\n"
