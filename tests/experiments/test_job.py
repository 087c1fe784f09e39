"""What a run trains and selects on, and what its seed decides."""

import pytest
import torch

from r2d import data
from r2d.experiments import job
from r2d.experiments.run import Run
from r2d.training.checkpoint import trainable
from r2d.training.loop import Trainer


class Stopped(Exception):
    """Instead of training."""


@pytest.fixture
def begun(tiny, home, monkeypatch):
    """`begun(method, seed)` is what `fit` gets: train, validation, and the weights at the start."""

    def fit(self, train, validation, title="training"):
        raise Stopped(train, validation, trainable(self.model))

    def begin(method, seed):
        monkeypatch.setattr(Trainer, "fit", fit)
        run = Run(tiny(), "triage", method, seed)
        with pytest.raises(Stopped) as stopped:
            run.execute()
        return stopped.value.args

    return begin


def test_the_checkpoint_is_chosen_on_validation_cases_and_no_test_case_is_seen(tiny, begun):
    loaded = data.load("triage", tiny().datasets["triage"])
    train, validation, _ = begun("sft-full", 1)
    assert train == loaded.train and validation == loaded.validation
    assert not {record.question for record in loaded.test} & {
        r.question for r in train + validation
    }


@pytest.mark.parametrize("method", ["stage1-lora", "stage1-qlora"])
def test_the_seed_decides_how_an_adapter_begins(begun, method):
    first, again, other = (begun(method, seed)[2] for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [name for name in first if first[name].any()]  # lora_B begins at zero
    assert drawn and not any(torch.equal(first[name], other[name]) for name in drawn)


def test_every_seed_goes_on_from_the_stage_1_of_its_own_seed(tiny, home, monkeypatch):
    recipe = tiny()
    starts = {}
    for seed in (1, 2):
        Run(recipe, "triage", "stage1-full", seed).execute()
    monkeypatch.setattr(job, "perform", lambda given, *more: starts.update({given.seed: given}))
    for seed in (1, 2):
        with pytest.raises(TypeError):  # as nothing was performed
            Run(recipe, "triage", "r2d-full", seed).execute()
        folder = Run(recipe, "triage", "stage1-full", seed).folder
        assert starts[seed].start == folder / "model"
    weights = [(starts[seed].start / "model.safetensors").read_bytes() for seed in (1, 2)]
    assert weights[0] != weights[1]
