"""Interrupted trainings: resumed from the newest whole checkpoint, they end as if never stopped."""

import shutil

import pytest
import torch
from trainers import log, settings, trainer, without_clock

from r2d import env
from r2d.errors import R2DError
from r2d.method import objective
from r2d.training import checkpoint
from r2d.training.checkpoint import trainable
from r2d.training.loop import Trainer

STEPS = 9
CHOSEN = settings(steps=STEPS, batch=4, eval_every=3, patience=50, dropout=0.1)
METHOD = objective.named("r2d", {"warmup": 0.0, "ramp": 0.2})  # samples labels from the start


@pytest.fixture(scope="module")
def train(records, fresh):
    """Train into a folder, going on from what is there: the outcome, weights and log."""

    def run(folder, seed=1):
        env.seed_everything(seed)  # as every run; on CUDA it asks for deterministic kernels
        decoder = fresh(records, dropout=0.1)  # a resumed run must draw the same masks
        training = trainer(decoder, METHOD, CHOSEN, folder, seed)
        outcome = training.fit(records.train, records.validation)
        return outcome, trainable(decoder.model), without_clock(log(folder))

    return run


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """An uninterrupted training."""
    return train(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def cuts(train, tmp_path_factory):
    """Folders of trainings that died at their second checkpoint, before and after it was saved."""
    folders = {}
    for dies in ("before", "after"):
        folders[dies] = tmp_path_factory.mktemp(dies)
        interrupted_at(train, folders[dies], 6, before_saving=dies == "before")
    return folders


@pytest.fixture
def cut(cuts, tmp_path):
    """A copy of what a training left that died after its second checkpoint."""
    return shutil.copytree(cuts["after"], tmp_path / "cut")


def interrupted_at(train, folder, step, before_saving):
    """Leave in `folder` what a training leaves that dies at the checkpoint of `step`."""
    save = checkpoint.save

    def save_or_die(checkpoints, at, *parts):
        if at < step or not before_saving:
            save(checkpoints, at, *parts)
        if at == step:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save_or_die)
        with pytest.raises(KeyboardInterrupt):
            train(folder)


@pytest.fixture
def steps_done(monkeypatch):
    """The steps that are trained from now on."""
    done, step = [], Trainer._step

    def step_and_keep(self, k):
        done.append(k)
        return step(self, k)

    monkeypatch.setattr(Trainer, "_step", step_and_keep)
    return done


def assert_equal_runs(run, other):
    (_, weights, entries), (_, other_weights, other_entries) = run, other
    assert entries == other_entries
    assert set(weights) == set(other_weights)
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)


def test_another_seed_gives_another_run(train, whole, tmp_path):
    (_, weights, entries), (_, others, other_entries) = whole, train(tmp_path / "run", seed=2)
    assert entries != other_entries
    assert not all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.parametrize(("dies", "first"), [("before", 3), ("after", 6)])
def test_a_run_that_dies_around_a_checkpoint_loses_no_line_of_its_log(
    dies, first, train, whole, cuts, steps_done, tmp_path
):
    folder = shutil.copytree(cuts[dies], tmp_path / "cut")
    assert_equal_runs(train(folder), whole)
    assert steps_done == list(range(first, STEPS))


@pytest.mark.parametrize("damage", ["flipped byte", "no optimiser", "half written", "no state"])
def test_a_damaged_newest_checkpoint_is_passed_over_for_the_one_before(
    damage, train, whole, cut, steps_done
):
    newest = cut / "checkpoints" / "step-6"
    if damage == "flipped byte":
        content = bytearray((newest / "weights.safetensors").read_bytes())
        content[len(content) // 2] ^= 1
        (newest / "weights.safetensors").write_bytes(content)
    elif damage == "no optimiser":
        (newest / "optimiser.safetensors").unlink()
    elif damage == "no state":
        (newest / "state.json").unlink()
    else:
        newest.rename(newest.with_name("step-6.part"))
    assert_equal_runs(train(cut), whole)
    assert steps_done == list(range(3, STEPS))


def test_a_run_starts_again_where_no_checkpoint_is_whole(train, whole, cut, steps_done):
    for folder in (cut / "checkpoints").glob("step-*"):
        (folder / "weights.safetensors").write_bytes(b"half a tensor")
    assert_equal_runs(train(cut), whole)
    assert steps_done == list(range(STEPS))


def test_two_checkpoints_are_kept_and_none_is_a_pickle(train, tmp_path):
    train(tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    assert {p.name for p in checkpoints.iterdir()} == {"best-3.safetensors", "step-6", "step-9"}
    suffixes = {path.suffix for path in checkpoints.rglob("*") if path.is_file()}
    assert suffixes == {".safetensors", ".json"}


def test_resuming_under_another_fingerprint_is_refused_and_touches_nothing(cut, records, fresh):
    before = {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()}
    training = trainer(fresh(records), METHOD, CHOSEN, cut)
    training.fingerprint = "another"
    sentence = "started with another recipe, dataset, tokenizer or code; .* delete that folder"
    with pytest.raises(R2DError, match=sentence):
        training.fit(records.train, records.validation)
    assert {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()} == before


def test_a_run_resumed_at_its_end_keeps_the_costs_of_all_its_steps(train, steps_done, tmp_path):
    first, _, _ = train(tmp_path / "run")
    steps_done.clear()
    # Finds the last checkpoint, as after a kill while the test set was decoded.
    again, _, _ = train(tmp_path / "run")
    assert again == first
    assert steps_done == []
    assert first["seconds"] > first["seconds_per_step"] > 0
