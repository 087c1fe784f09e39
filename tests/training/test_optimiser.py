"""The optimiser: paged or not the same steps, and moments that a checkpoint brings back."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from trainers import fit, settings

from r2d import env
from r2d.errors import R2DError
from r2d.method import objective
from r2d.training.optimiser import moments, optimiser_of, restore_moments

# Without a GPU bitsandbytes' paged optimiser does the same sums, and warns that it pages nothing.
pytestmark = pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")


@pytest.fixture
def made(monkeypatch):
    """An optimiser of either kind over weights of its own, as on a GPU."""
    monkeypatch.setattr(env, "device", lambda: "cuda:0")

    def make(kind, start=None):
        torch.manual_seed(1)
        weights = [torch.nn.Parameter(torch.randn(64, 80)), torch.nn.Parameter(torch.randn(7))]
        for weight, value in zip(weights, start or weights, strict=True):
            weight.data.copy_(value.data)
        return weights, optimiser_of(weights, settings(optimizer=kind, weight_decay=0.1))

    return make


def step(weights, optimiser, seed):
    torch.manual_seed(seed)
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    optimiser.step()


def test_a_paged_step_is_a_step(made):
    (weights, plain), (others, paged) = made("adamw"), made("paged_adamw")
    assert type(plain) is torch.optim.AdamW and paged.is_paged
    for seed in range(3):
        step(weights, plain, seed)
        step(others, paged, seed)
    for weight, other in zip(weights, others, strict=True):
        torch.testing.assert_close(other, weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["adamw", "paged_adamw"])
def test_moments_go_through_a_file(kind, made, tmp_path):
    weights, optimiser = made(kind)
    for seed in range(3):
        step(weights, optimiser, seed)
    save_file(moments(optimiser), tmp_path / "moments.safetensors")
    others, again = made(kind, start=weights)
    restore_moments(again, load_file(tmp_path / "moments.safetensors"))
    step(weights, optimiser, 3)
    step(others, again, 3)
    assert all(torch.equal(a, b) for a, b in zip(weights, others, strict=True))
    assert {key: value.tolist() for key, value in moments(again).items() if "step" in key} == {
        "0.step": 4,
        "1.step": 4,
    }


def test_a_paged_optimiser_without_a_gpu_is_one_sentence(records, fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(env, "device", lambda: "cpu")
    chosen = settings(optimizer="paged_adamw")
    with pytest.raises(R2DError, match="there is no GPU here: set it to adamw"):
        fit(fresh(records), objective.named("dss"), chosen, records, tmp_path)
