"""Several processes share a run: they make what one process makes, but for rounding."""

import json
import os
import subprocess
import sys

import pytest
import torch
from conftest import TINY, new_home
from trainers import ALWAYS, without_clock

from r2d import paths, recipes
from r2d.experiments.directory import read
from r2d.experiments.run import Run

CHANGES = TINY | {
    "train.common.steps": 10,
    "train.common.eval_every": 5,
    "train.common.batch": 7,  # shared unevenly
    "methods.r2d-full.init": None,
    "methods.r2d-full.objective_overrides": ALWAYS | {"cap": 0.5},
}
NAMES = ("triage", "r2d-full", 1)


@pytest.mark.skipif(torch.cuda.device_count() == 1, reason="two processes take two GPUs, or none")
def test_two_processes_make_the_run_that_one_makes(tmp_path, monkeypatch):
    run = Run(recipes.load("smoke", CHANGES), *NAMES)
    monkeypatch.setenv("R2D_HOME", str(new_home(tmp_path / "one")))
    alone = read(run.execute())

    monkeypatch.setenv("R2D_HOME", str(new_home(tmp_path / "two")))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, *launcher, "-m", "r2d", "train", "smoke", *map(str, NAMES)]
    for key, value in CHANGES.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    done = subprocess.run(
        command, cwd=paths.ROOT, env=os.environ, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    both = read(run.folder)

    assert [entry["step"] for entry in both["log"]] == [1, 5, 10, 10]
    assert alone["log"][0]["sampled"] > 0
    pairs = zip(without_clock(alone["log"]), without_clock(both["log"]), strict=True)
    for one, two in pairs:
        assert two == pytest.approx(one, rel=1e-4)
    labels = [[prediction["label"] for prediction in r["predictions"]] for r in (alone, both)]
    assert labels[0] == labels[1]
    assert not run.folder.with_name(".seed1.part").exists()
