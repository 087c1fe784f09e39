"""What the loss asks of a network: its own labels, in which mode, and likelihoods by token."""

import copy

import pytest
import torch
from trainers import ALWAYS, fit, own_label, settings, token_ids, token_log_probs

from r2d.method import objective, prompts, schedules
from r2d.training import loop
from r2d.training.batches import TokenCache, batch_order
from r2d.training.learner import Learner


@pytest.fixture(autouse=True)
def log_every_step(monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)


def test_only_the_examples_whose_coin_asks_carry_the_models_own_label(
    records, fresh, tmp_path, monkeypatch
):
    decoder, method = fresh(records), objective.named("r2d", ALWAYS | {"cap": 0.5})
    initial, batch = copy.deepcopy(decoder.model).eval(), records.train[:8]
    explained, nll = [], Learner.nll

    def nll_and_keep(self, task, sources, targets):
        if task == "rationale":
            explained.extend(zip(sources, targets, strict=True))
        return nll(self, task, sources, targets)

    monkeypatch.setattr(Learner, "nll", nll_and_keep)
    _, (step,), _ = fit(decoder, method, settings(), records, tmp_path / "run")
    asked = (schedules.coins(1, 0, 8) < 0.5).tolist()
    assert 0 < sum(asked) < 8
    expected, wrong = [], 0
    for i, own in zip(batch_order(1, 8, 0, 8), asked, strict=True):
        record = batch[i]
        label = record.label
        if own:
            label = own_label(initial, decoder.tokenizer, record.question, records.labels)
            wrong += label != record.label
        prompt = f"given label: {label}, explain: {record.question}"
        expected.append((prompt, record.rationale))
    assert sorted(explained) == sorted(expected)
    assert step["sampled"] == sum(asked)
    assert step["sampled_wrong"] == wrong


@pytest.mark.parametrize("in_train_mode", [False, True])
def test_sampled_labels_come_from_evaluation_mode_unless_switched(
    in_train_mode, records, fresh, tmp_path
):
    decoder = fresh(records, dropout=0.1)
    method = objective.named("r2d", ALWAYS | {"sample_in_train_mode": in_train_mode})
    forwards = []  # (whether there is a gradient, whether dropout is on)

    def keep(module, args):
        forwards.append((torch.is_grad_enabled(), module.training))

    decoder.model.register_forward_pre_hook(keep)
    fit(decoder, method, settings(), records, tmp_path / "run")
    learning = [k for k, (learns, _) in enumerate(forwards) if learns]
    sampling = forwards[: learning[0]]
    validation = forwards[learning[-1] + 1 :]
    assert sampling and validation
    assert {training for _, training in sampling} == {in_train_mode}
    assert {training for learns, training in forwards if learns} == {True}
    assert {training for _, training in validation} == {False}


def test_a_label_is_given_as_its_set_spells_it(records, fresh, monkeypatch):
    decoder = fresh(records)
    written = [" home CARE", "Banana ", records.train[2].label.upper()]
    monkeypatch.setattr(Learner, "_verified", lambda self, rows, cases, choices: written)
    labels = Learner(decoder, TokenCache(decoder)).decide(records.train[:3], train_mode=False)
    assert labels == ["Home care", "Banana ", records.train[2].label]


def test_token_losses_are_those_that_the_likelihood_sums(records, fresh):
    decoder, record = fresh(records), records.train[0]
    learner = Learner(decoder, TokenCache(decoder))
    decoder.model.eval()
    source = prompts.explain(record.question, record.label)
    tokens, losses = zip(*learner.each_token("rationale", source, record.rationale), strict=True)
    ids = token_ids(decoder.tokenizer, record.rationale, 24)
    assert list(tokens) == [decoder.tokenizer.decode([token]) for token in ids]
    with torch.no_grad():
        prompt_ids = token_ids(decoder.tokenizer, source)
        by_hand = -token_log_probs(decoder.model, prompt_ids, ids)
        summed = learner.nll("rationale", [source], [record.rationale])
    assert losses == pytest.approx(by_hand.tolist(), rel=1e-4)
    assert sum(losses) == pytest.approx(summed.item(), rel=1e-5)


@pytest.mark.parametrize(("size", "parts"), [(None, 1), (3, 3), (8, 1)])
def test_micro_batches_have_like_lengths_and_every_example_once(size, parts, records, fresh):
    decoder, cases = fresh(records), records.train[:8]
    learner = Learner(decoder, TokenCache(decoder), size)
    sources = [prompts.explain(case.question, case.label) for case in cases]
    groups = learner.micro_batches(sources, [case.rationale for case in cases])
    assert len(groups) == parts
    assert sorted(k for group in groups for k in group) == list(range(8))
    lengths = [
        len(token_ids(decoder.tokenizer, sources[k]))
        + len(token_ids(decoder.tokenizer, cases[k].rationale, 24))
        for group in groups
        for k in group
    ]
    assert lengths == sorted(lengths)
