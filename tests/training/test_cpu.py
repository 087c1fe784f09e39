"""What lets a CPU train faster changes no loss but by rounding, and nothing outside training."""

import platform
import resource

import pytest
import torch

from r2d.method import prompts
from r2d.training import cpu
from r2d.training.batches import TokenCache
from r2d.training.learner import Learner

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU trains as before")

PLAIN = {"architecture": "x86_64", "avx512_f": True, "amx_tile": False, "amx_bf16": False}


def how(model):
    return torch.get_float32_matmul_precision(), model.config._attn_implementation


def test_precision_and_attention_are_as_before_once_training_ends(records, fresh, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: PLAIN)
    model = fresh(records).model
    before = how(model)
    with pytest.raises(KeyError), cpu.tuned(model):
        assert how(model) == ("medium", "eager")
        raise KeyError
    assert how(model) == before != ("medium", "eager")
    assert {part.config._attn_implementation for part in (model.encoder, model.decoder)} == {
        before[1]
    }


@pytest.mark.parametrize(
    "change", [{"amx_tile": True, "amx_bf16": True}, {"avx512_f": False}, {"architecture": "arm64"}]
)
def test_onednn_is_not_asked_where_it_might_use_bf16(change, records, fresh, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: PLAIN | change)
    model = fresh(records).model
    with cpu.tuned(model):
        assert how(model) == ("highest", "eager")


def test_products_stay_in_float32(records, fresh):
    torch.manual_seed(0)
    left, right = torch.randn(64, 256), torch.randn(256, 64)
    with cpu.tuned(fresh(records).model):
        product = left @ right
    error = (product - left.double() @ right.double()).abs().max()
    assert 0 < error < 1e-3  # bf16's is about 0.1


@pytest.mark.parametrize("task", ["label", "rationale"])
def test_padded_lengths_and_tuning_change_losses_by_rounding_only(task, records, fresh):
    decoder, cases = fresh(records), records.train[:5]
    learner = Learner(decoder, TokenCache(decoder))
    sources = [prompts.explain(case.question, case.label) for case in cases]
    targets = [case.label if task == "label" else case.rationale for case in cases]

    def loss_and_gradients():
        decoder.model.zero_grad()
        value = learner.nll(task, sources, targets)
        value.backward()
        return value.item(), {n: w.grad.clone() for n, w in decoder.model.named_parameters()}

    assert learner.multiple == cpu.MULTIPLE
    with cpu.tuned(decoder.model):
        padded, gradients = loss_and_gradients()
        labels = learner.decide(cases, train_mode=False)
    learner.multiple = 1
    plain, expected = loss_and_gradients()
    assert padded == pytest.approx(plain, rel=1e-5)
    for name, gradient in expected.items():
        assert torch.allclose(
            gradients[name], gradient, rtol=1e-3, atol=1e-4 * gradient.abs().max().item()
        )
    assert labels == learner.decide(cases, train_mode=False)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_memory_that_is_freed_serves_again(records, fresh):
    cpu.keep_freed_memory(fresh(records).model)
    size, blocks = 2**24, 8  # bytes
    torch.zeros(size, dtype=torch.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(blocks):
        torch.empty(size, dtype=torch.uint8).fill_(1)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    anew = blocks * size / resource.getpagesize()  # page faults of blocks that are all got anew
    assert faults < anew / 2
