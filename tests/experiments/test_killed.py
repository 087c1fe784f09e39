"""A run killed by SIGKILL: it leaves nothing that looks finished, and ends as if never stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import TINY, new_home
from trainers import outcome

from r2d import paths, recipes
from r2d.errors import R2DError
from r2d.experiments.run import Run
from r2d.training.loop import Trainer

STEPS = 20
LONG = TINY | {
    "train.common.steps": STEPS,
    "train.common.eval_every": 4,
    "train.common.dropout": 0.1,  # so that a resumed run must draw the same masks
    "train.common.patience": 50,
    "methods.r2d-full.init": None,
}
NAMES = ("triage", "r2d-full", 1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, one_thread):
    """The outcome of an uninterrupted run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("R2D_HOME", str(new_home(tmp_path_factory.mktemp("whole") / "home")))
        run = Run(recipes.load("smoke", LONG), *NAMES)
        run.execute()
        return outcome(run)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The home of a run that was killed after its second checkpoint."""
    home = new_home(tmp_path_factory.mktemp("killed") / "home")
    command = [sys.executable, "-m", "r2d", "train", "smoke", *map(str, NAMES)]
    for key, value in LONG.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    child = subprocess.Popen(
        command,
        cwd=paths.ROOT,
        env=os.environ | {"R2D_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    profile = recipes.load("smoke", LONG).profile
    part = home / "runs" / profile / "triage" / "r2d-full" / ".seed1.part"
    deadline = time.monotonic() + 240
    while not (part / "checkpoints" / "step-8").is_dir() and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "the run ended before it was killed"
    return home


@pytest.fixture
def run(killed, tmp_path, monkeypatch):
    """The killed run, in a copy of its home."""
    shutil.copytree(killed, tmp_path / "home", symlinks=True)
    monkeypatch.setenv("R2D_HOME", str(tmp_path / "home"))
    return Run(recipes.load("smoke", LONG), *NAMES)


def unfinished(run):
    return run.folder.with_name(".seed1.part")


def test_a_killed_run_leaves_no_finished_directory_and_no_pickle(run):
    assert not run.folder.exists()
    suffixes = {p.suffix for p in unfinished(run).rglob("*") if p.is_file()}
    # safetensors' own temporary file has none.
    assert suffixes <= {".safetensors", ".json", ".jsonl", ".part", ""}


def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(run, whole, monkeypatch):
    checkpoints = (unfinished(run) / "checkpoints").glob("step-*[0-9]")
    newest = max(int(path.name.removeprefix("step-")) for path in checkpoints)
    done, step = [], Trainer._step

    def step_and_keep(self, k):
        done.append(k)
        return step(self, k)

    monkeypatch.setattr(Trainer, "_step", step_and_keep)
    run.execute()
    assert outcome(run) == whole
    assert done == list(range(newest, STEPS))
    assert not unfinished(run).exists()


def test_resuming_under_another_recipe_is_refused_and_touches_nothing(run):
    part = unfinished(run)
    before = {path: path.read_bytes() for path in part.rglob("*") if path.is_file()}
    other = run.recipe.model_copy(update={"max_rationale_tokens": 20})
    sentence = "started with another recipe, dataset, tokenizer or code; .* or delete that folder"
    with pytest.raises(R2DError, match=sentence):
        Run(other, *NAMES).execute()
    assert {path: path.read_bytes() for path in part.rglob("*") if path.is_file()} == before
