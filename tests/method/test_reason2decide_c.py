"""Reason2Decide-C: the confidence gate, and the loss of reading a label back from its rationale."""

import math

import pytest
import torch
from stand_ins import NOTES, STEPS, TOKENS, StandIn, cost
from trainers import token_log_probs

from r2d.method import prompts, schedules
from r2d.method.gate import Gate
from r2d.method.loss import Batch, loss
from r2d.method.objective import OBJECTIVES, named
from r2d.training.batches import TokenCache
from r2d.training.learner import Learner

R2DC = OBJECTIVES["r2dc"]
SURE = {note.own: 0.2 * k for k, note in enumerate(NOTES, 1)}


class Confident(StandIn):
    """A stand-in that is as sure of its labels as `SURE` says, and reads labels back."""

    def confidences(self, cases, labels):
        self.asked.append(("confidences", [case.text for case in cases], labels))
        return [SURE[label] for label in labels]

    def read_back(self, sources, rationales, labels, temperature):
        self.asked.append(("read back", list(labels), temperature))
        back = sum(cost("cycle", r, label) for r, label in zip(rationales, labels, strict=True))
        return self.nll("rationale", sources, rationales), torch.tensor(back, dtype=torch.double)


def step_loss(step, threshold=1.0, coins=(0.0,) * 5, gate_coins=(0.0,) * 5, objective=R2DC):
    gate, model = Gate(threshold), Confident()
    batch = Batch(NOTES, torch.tensor(coins), TOKENS, torch.tensor(gate_coins), gate)
    result = loss(model, batch, objective, step, STEPS)
    return result, list(result.parts), model


# --- the gate


@pytest.mark.parametrize("threshold", [0.3, 0.9])
@pytest.mark.parametrize("coin", [0.01, 0.4, 0.99])
def test_a_label_needs_both_coins(threshold, coin):
    asks = [0.0, 0.0, 0.0, 0.95, 0.0]
    result, _, model = step_loss(65, threshold, asks, (coin,) * 5)
    passes = [coin < 1 / (1 + math.exp(-10 * (SURE[n.own] - threshold))) for n in NOTES]
    p = schedules.sampling_probability(65, STEPS)
    wanted = [c < p and bool(n.rationale) for c, n in zip(asks, NOTES, strict=True)]
    assert wanted == [True, True, False, False, True]
    assert result.sampled == [a and b for a, b in zip(wanted, passes, strict=True)]
    for note, own, label in zip(NOTES, result.sampled, result.prompted, strict=True):
        assert label == (note.own if own else note.label)
    assert result.confidences == [SURE[n.own] for n, w in zip(NOTES, wanted, strict=True) if w]
    assert [call[0] for call in model.asked[:2]] == ["decide", "confidences"]


def test_before_any_label_is_sampled_every_confidence_counts():
    result, _, _ = step_loss(2)
    assert result.sampled == [False] * 5 and result.sampling_probability == 0
    assert result.confidences == [SURE[n.own] for n in NOTES if n.rationale]


def test_the_threshold_is_the_mean_of_warm_up_and_then_of_each_window():
    gate, steps = Gate(), 60  # warm-up of 3 steps, windows of 2
    thresholds = []
    for step in range(8):
        gate.observe(step, steps, total=0.1 * step * 4, count=4)
        thresholds.append(gate.threshold)
    expected = [1, 1, 0.1, 0.1, 0.35, 0.35, 0.55, 0.55]
    assert thresholds == pytest.approx(expected)
    gate.observe(8, steps, 0.0, 0)
    gate.observe(9, steps, 0.0, 0)
    gate.observe(10, steps, 0.0, 0)  # a window without a label changes nothing
    assert gate.threshold == pytest.approx(0.7)
    assert gate.probability(gate.threshold) == 0.5 and Gate(0.5).probability(0.9) > 0.98


def test_windows_are_the_released_codes_thousand_steps():
    gate = Gate()
    moves = []
    for step in range(6_000):
        before = gate.threshold
        gate.observe(step, 30_000, step / 30_000, 1)
        moves += [step + 1] * (gate.threshold != before)
    assert moves == [1_500, 2_500, 3_500, 4_500, 5_500]


# --- the cycle


def test_the_cycle_asks_for_the_label_that_stood_in_the_prompt():
    result, parts, model = step_loss(65, threshold=0.5, gate_coins=(0.5,) * 5)
    assert any(result.sampled) and not all(result.sampled)
    read = [call for call in model.asked if call[0] == "read back"]
    explained = [(n, label) for n, label in zip(NOTES, result.prompted, strict=True) if n.rationale]
    assert [sorted(labels) for _, labels, _ in read] == [sorted(label for _, label in explained)]
    assert read[0][2] == max(0.5, math.exp(-0.6931 * 0.65))
    ((term,),) = [[t for t in part if t.task == "cycle"] for part in parts if len(part) == 2]
    by_hand = 0.1 * sum(cost("cycle", n.rationale, label) for n, label in explained) / 7
    assert term.value.item() == pytest.approx(by_hand, rel=1e-12)


def test_there_is_no_cycle_before_warm_up_is_over():
    for step, there in ((4, False), (5, False), (6, True)):
        _, parts, _ = step_loss(step)
        assert any(term.task == "cycle" for part in parts for term in part) is there


def test_an_empty_label_of_its_own_is_explained_and_not_read_back():
    batch = Batch(NOTES[:1], torch.zeros(1), TOKENS, torch.zeros(1), Gate(0.0))
    mute = Confident()
    mute.decide = lambda cases, train_mode: [""]
    mute.confidences = lambda cases, labels: [0.5]
    result = loss(mute, batch, R2DC, 65, STEPS)
    assert [term.task for term in result.terms] == ["label", "rationale"]
    assert result.prompted == [""] and "read back" not in [call[0] for call in mute.asked]


def test_without_gate_and_cycle_it_is_the_papers_method():
    plain = named("r2dc", {"gated": False, "cycle": 0.0})
    assert plain == OBJECTIVES["r2d"]


@pytest.mark.parametrize("step", [0, 100, 500, 1000, 1500])
def test_soft_rationales_become_harder(step):
    formula = max(0.5, 2 ** (-step / 1000))
    assert schedules.gumbel_temperature(step, 1000) == pytest.approx(formula, rel=1e-4)


# --- what a network answers


def test_confidence_is_the_geometric_mean_probability_of_a_labels_tokens(records, fresh):
    decoder, cases = fresh(records), records.train[:3]
    learner = Learner(decoder, TokenCache(decoder))
    labels = [case.label for case in cases]
    decoder.model.train()
    sure = learner.confidences(cases, labels)
    assert decoder.model.training
    decoder.model.eval()
    for case, label, confidence in zip(cases, labels, sure, strict=True):
        source = decoder.tokenizer(prompts.predict(case.text))["input_ids"]
        scores = token_log_probs(decoder.model, source, decoder.tokenizer(label)["input_ids"])
        assert confidence == pytest.approx(scores.mean().exp().item(), rel=1e-4)


def test_a_hard_rationale_is_read_as_its_own_text(records, fresh, monkeypatch):
    decoder, case = fresh(records), records.train[0]
    learner = Learner(decoder, TokenCache(decoder))
    learner.multiple = 1  # no padding, so that the sample has the text's length
    decoder.model.eval()
    source = prompts.explain(case.text, case.label)
    (ids,) = learner.tokens.targets("rationale", [case.rationale])
    hard = torch.nn.functional.one_hot(torch.tensor([list(ids)]), decoder.model.config.vocab_size)
    monkeypatch.setattr("r2d.training.learner.gumbel_softmax", lambda logits, tau: hard.float())
    nll, back = learner.read_back([source], [case.rationale], [case.label], 0.5)
    assert nll.item() == pytest.approx(
        learner.nll("rationale", [source], [case.rationale]).item(), rel=1e-5
    )
    (begin,) = decoder.encode([prompts.predict("")])
    target = decoder.tokenizer(case.label)["input_ids"]
    by_hand = -token_log_probs(decoder.model, [*begin[:-1], *ids], target).sum()
    assert back.item() == pytest.approx(by_hand.item(), rel=1e-4)


def test_the_cycles_gradient_reaches_the_network_through_the_rationale(records, fresh):
    decoder, case = fresh(records), records.train[0]
    learner = Learner(decoder, TokenCache(decoder))
    source = prompts.explain(case.text, case.label)
    torch.manual_seed(0)
    _, back = learner.read_back([source], [case.rationale], [case.label], 1.0)
    logits = []
    decoder.model.lm_head.register_forward_hook(lambda module, given, out: logits.append(out))
    torch.manual_seed(0)
    _, again = learner.read_back([source], [case.rationale], [case.label], 1.0)
    assert again.item() == back.item()
    (gradient,) = torch.autograd.grad(again, logits[0])
    assert gradient.abs().max() > 0
