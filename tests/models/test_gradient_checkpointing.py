"""Gradient checkpointing: equal but for rounding, from less memory; decoding keeps its cache."""

import pytest
import torch
from trainers import ALWAYS, fit, settings, without_clock

from r2d.errors import R2DError
from r2d.method import objective
from r2d.models import gradient_checkpointing
from r2d.models.backbone import backbone_class
from r2d.models.load import load_model, load_tokenizer
from r2d.recipes.settings import LoraSettings
from r2d.training.batches import TokenCache
from r2d.training.checkpoint import trainable
from r2d.training.learner import Learner

PROMPTS = ["predict: 40 yo F cp, sob", "predict: fever x2d"]
LABELS = ["Call 911", "Home care"]


def pair(name, tuning, dropout=0.1):
    """Two networks of the same weights, the second with gradient checkpointing."""
    networks = []
    for checkpointed in (False, True):
        torch.manual_seed(1)  # of a fresh adapter
        model = load_model(name, tuning, LoraSettings(r=4, alpha=8, dropout=dropout), dropout)
        for key, weight in model.named_parameters():
            if "lora_B" in key:  # else no gradient reaches lora_A
                torch.nn.init.normal_(weight, std=0.1)
        if checkpointed:
            gradient_checkpointing.enable(model)
        networks.append(backbone_class(model.config)(model.train(), load_tokenizer(name)))
    return networks


def loss(network):
    """The loss of two targets, and how many numbers its graph holds beside the weights."""
    weights = {weight.data_ptr() for weight in network.model.parameters()}
    held = {}

    def keep(tensor):
        if tensor.data_ptr() not in weights:
            held[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(2)
    batch = network.batch(network.prompts(PROMPTS, 64))
    targets, _ = network.batch(network.targets(LABELS))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network.forced(*batch, targets)
    value = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    return value, sum(held.values())


@pytest.mark.parametrize("tuning", ["full", "lora", "qlora"])
@pytest.mark.parametrize("name", ["mini-base", "llama"])
def test_loss_and_gradients_are_the_same_from_less_memory(name, tuning, request):
    plain, checkpointed = pair(
        request.getfixturevalue("llama") if name == "llama" else name, tuning
    )
    (expected, all_held), (value, held) = loss(plain), loss(checkpointed)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)
    assert held < 0.6 * all_held
    expected.backward()
    value.backward()
    weights = dict(checkpointed.model.named_parameters())
    for key, weight in plain.model.named_parameters():
        if weight.requires_grad:
            torch.testing.assert_close(weights[key].grad, weight.grad, rtol=1e-4, atol=1e-5)
            assert weight.grad.abs().max() > 0


@pytest.mark.parametrize("train_mode", [False, True])
def test_labels_are_sampled_with_the_cache(train_mode, records, fresh):
    decoder = fresh(records)
    learner = Learner(decoder, TokenCache(decoder))
    decoder.model.train()
    expected = learner.decide(records.train, train_mode)
    gradient_checkpointing.enable(decoder.model)
    assert learner.decide(records.train, train_mode) == expected
    assert len(set(expected)) > 1
    assert decoder.model.is_activation_checkpointing and decoder.model.training


def test_a_training_is_the_same_but_for_rounding(records, fresh, tmp_path):
    ended = []
    for switch in (False, True):
        decoder = fresh(records, dropout=0.1)
        chosen = settings(steps=2, eval_every=2, dropout=0.1, gradient_checkpointing=switch)
        _, steps, _ = fit(
            decoder, objective.named("r2d", ALWAYS), chosen, records, tmp_path / str(switch)
        )
        ended.append((trainable(decoder.model), without_clock(steps)))
    (weights, log), (again, log_again) = ended
    for entry, other in zip(log, log_again, strict=True):
        assert other == pytest.approx(entry, rel=1e-5)
    # AdamW's first steps are lr * sign(gradient): where a gradient is rounding noise, signs differ.
    apart = torch.cat([(again[key] - weight).abs().flatten() for key, weight in weights.items()])
    assert (apart < 2e-5).double().mean() > 0.999


def test_an_architecture_that_cannot_is_one_sentence(records, fresh, monkeypatch):
    model = fresh(records).model
    monkeypatch.setattr(type(model), "supports_gradient_checkpointing", False)
    with pytest.raises(R2DError, match="A t5 model has no gradient checkpointing: set the recipe"):
        gradient_checkpointing.enable(model)
