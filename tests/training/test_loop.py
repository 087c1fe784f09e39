"""The trainer: its losses and steps against ones by hand, what it logs, chooses and refuses."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from trainers import (
    ALWAYS,
    adamw_steps,
    fit,
    log,
    mean_label_loss,
    mean_rationale_loss,
    own_label,
    settings,
    trainer,
    without_clock,
)

from r2d.errors import R2DError
from r2d.method import objective, prompts, schedules
from r2d.method.loss import loss
from r2d.models.decode import Decoder
from r2d.training import loop
from r2d.training.batches import TokenCache, batch_order
from r2d.training.checkpoint import trainable
from r2d.training.learner import Learner
from r2d.training.loop import Trainer


@pytest.fixture(autouse=True)
def log_every_step(monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)


@pytest.fixture
def partly(records):
    """The tiny dataset, every other record without its rationale."""
    return with_rationales(records, lambda k: k % 2 == 0)


def with_rationales(records, keeps):
    """The dataset with the rationales of those records whose position `keeps` says."""
    splits = {
        name: [r if keeps(k) else replace(r, rationale="") for k, r in enumerate(part)]
        for name, part in records.splits.items()
    }
    return replace(records, splits=splits)


# --- the loss that is shown is the loss that trains


@pytest.mark.parametrize(
    ("name", "overrides", "weight"),
    [
        ("stage1", {}, 0.0),
        ("sft", {}, 1.0),
        ("dss", {}, 0.5),
        ("r2d", ALWAYS, 0.7),
        ("r2d-no-sampling", {"warmup": 0.0}, 0.7),
    ],
)
def test_two_steps_equal_losses_and_adamw_by_hand(
    name, overrides, weight, records, fresh, tmp_path
):
    decoder, batch = fresh(records), records.train[:8]
    twin, tokenizer = copy.deepcopy(decoder.model), decoder.tokenizer

    def prompted(model, record):
        if name in ("stage1", "sft", "dss"):
            return f"explain: {record.question}"
        label = record.label
        if name == "r2d":
            label = own_label(model.eval(), tokenizer, record.question, records.labels)
        return f"given label: {label}, explain: {record.question}"

    def loss_by_hand(model):
        explain = [prompted(model, record) for record in batch]
        model.train()
        label_loss = mean_label_loss(model, tokenizer, batch)
        return weight * label_loss + (1 - weight) * mean_rationale_loss(
            model, tokenizer, batch, explain
        )

    losses = adamw_steps(twin, loss_by_hand, lr=1e-3, steps=2)
    before = trainable(decoder.model)
    chosen = settings(steps=2, eval_every=2, weight_decay=0.01, clip=1.0)
    method = objective.named(name, overrides)
    _, steps, _ = fit(decoder, method, chosen, records, tmp_path / "run")
    assert [step["loss"] for step in steps] == pytest.approx(losses, rel=2e-5)
    assert [step["lr"] for step in steps] == pytest.approx([1e-3, 5e-4])
    moved, apart, by_hand = [], [], trainable(twin)
    for key, value in trainable(decoder.model).items():
        moved.append((value - before[key]).abs().flatten())
        apart.append((value - by_hand[key]).abs().flatten())
    assert torch.cat(moved).max() > 1e-3
    # AdamW's first step is lr * sign(gradient): where a gradient is rounding noise, signs differ.
    apart = torch.cat(apart)
    assert (apart < 2e-5).double().mean() > 0.999
    assert apart.max() < 3.1e-3


@pytest.mark.parametrize("micro_batch", [None, 3])
@pytest.mark.parametrize("name", objective.OBJECTIVES)
def test_a_step_back_propagates_the_terms_of_the_loss(
    name, micro_batch, partly, fresh, tmp_path, monkeypatch
):
    method, steps = objective.named(name), 20
    decoder = fresh(partly)
    twin = Decoder(
        copy.deepcopy(decoder.model), decoder.tokenizer, decoder.labels, (64, 24), decoder.batch
    )
    gradients = {}

    def keep_gradients(self, step):
        for key, weight in self.model.named_parameters():
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
            gradients[key] = gradient

    monkeypatch.setattr(Trainer, "_update", keep_gradients)
    training = trainer(decoder, method, settings(steps=steps, micro_batch=micro_batch), tmp_path)
    training._prepare(partly.train, partly.validation)
    batch = copy.deepcopy(training._batch(10))  # its gate moves
    entry = training._step(10)

    learner = Learner(twin, TokenCache(twin), micro_batch)
    torch.manual_seed((training.seed * 1_000_003 + 10) * 64)
    shown = loss(learner, batch, method, 10, steps)
    total = sum(term.value for term in shown.terms)
    total.backward()
    assert entry["loss"] == pytest.approx(total.item(), rel=1e-6)
    for key, weight in twin.model.named_parameters():
        shown_gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
        assert torch.allclose(gradients[key], shown_gradient, rtol=1e-4, atol=1e-6)
    assert max(gradient.abs().max() for gradient in gradients.values()) > 1e-3


def test_micro_batches_change_the_result_by_rounding_only(records, fresh, tmp_path):
    method, logs = objective.named("r2d", ALWAYS | {"cap": 0.5}), []
    for size in (None, 3):
        chosen = settings(steps=3, eval_every=3, micro_batch=size)
        _, steps, _ = fit(fresh(records), method, chosen, records, tmp_path / str(size))
        logs.append(steps)
    whole, parts = logs
    assert [s["loss"] for s in whole] == pytest.approx([s["loss"] for s in parts], rel=1e-5)
    assert [s["sampled"] for s in whole] == [s["sampled"] for s in parts]


def test_logged_schedules_are_those_of_the_objective(records, fresh, tmp_path):
    chosen = settings(steps=20, eval_every=20, batch=4)
    method = objective.named("r2d")
    _, steps, _ = fit(fresh(records), method, chosen, records, tmp_path / "run")
    assert [entry["step"] for entry in steps] == list(range(1, 21))
    for t, entry in enumerate(steps):
        a, p = schedules.label_weight(t, 20), schedules.sampling_probability(t, 20)
        assert (entry["label_weight"], entry["sampling_probability"]) == (a, p)
        both = a * entry["label_loss"] + (1 - a) * entry["rationale_loss"]
        assert entry["loss"] == pytest.approx(both)
        assert entry["sampled"] == int((schedules.coins(1, t, 4) < p).sum())
        assert entry["sampled_wrong"] <= entry["sampled"]


def test_bfloat16_steps_stay_close_to_float32(records, fresh, tmp_path):
    from accelerate.state import AcceleratorState

    losses = {}
    try:
        for precision in ("fp32", "bf16"):
            AcceleratorState._reset_state(True)
            chosen, method = settings(precision=precision), objective.named("dss")
            _, steps, _ = fit(fresh(records), method, chosen, records, tmp_path / precision)
            losses[precision] = steps[0]["loss"]
    finally:
        AcceleratorState._reset_state(True)
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)


def test_a_loss_that_is_not_finite_stops_with_a_sentence_and_saves_nothing(
    records, fresh, tmp_path
):
    decoder = fresh(records)
    with torch.no_grad():
        decoder.model.shared.weight[5:50] = math.nan
    with pytest.raises(R2DError, match="The loss at step 0 is nan; lower `lr`"):
        fit(decoder, objective.named("dss"), settings(), records, tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.safetensors"))


# --- records without a rationale


@pytest.mark.parametrize("name", ["dss", "r2d"])
def test_records_without_a_rationale_teach_the_label_only(name, partly, fresh, tmp_path):
    decoder, batch = fresh(partly), partly.train[:8]
    model, tokenizer = copy.deepcopy(decoder.model).eval(), decoder.tokenizer
    method = objective.named(name, ALWAYS if name == "r2d" else {})
    explained = [record for record in batch if record.rationale]
    labels = [None] * len(explained)
    if name == "r2d":
        labels = [own_label(model, tokenizer, r.question, partly.labels) for r in explained]
    pairs = zip(explained, labels, strict=True)
    explain = [prompts.explain(record.question, label) for record, label in pairs]
    with torch.no_grad():
        label_loss = mean_label_loss(model, tokenizer, batch).item()
        rationale_loss = mean_rationale_loss(model, tokenizer, explained, explain).item()
    a = method.label_weight
    for size in (None, 1):  # with 1, some micro-batches have no rationale at all
        chosen = settings(micro_batch=size)
        _, (step,), _ = fit(fresh(partly), method, chosen, partly, tmp_path / f"{size}")
        assert step["loss"] == pytest.approx(a * label_loss + (1 - a) * rationale_loss, rel=1e-5)
        assert step["sampled"] == (len(explained) if name == "r2d" else 0)


def test_stage_1_leaves_out_records_without_a_rationale(partly, fresh, tmp_path):
    method, chosen = objective.named("stage1"), settings(steps=2, eval_every=2)
    kept = {name: [r for r in part[:8] if r.rationale] for name, part in partly.splits.items()}
    fit(fresh(partly), method, chosen, partly, tmp_path / "all")
    fit(fresh(partly), method, chosen, replace(partly, splits=kept), tmp_path / "kept")
    everything, explained = (without_clock(log(tmp_path / name)) for name in ("all", "kept"))
    assert everything == explained
    assert len(everything) == 3


@pytest.mark.parametrize("name", ["stage1", "dss", "r2d"])
def test_a_method_that_explains_refuses_data_without_any_rationale(name, records, fresh, tmp_path):
    bare = with_rationales(records, lambda k: False)
    sentence = "None of the training records has a rationale to learn from: .* train SFT instead"
    with pytest.raises(R2DError, match=sentence):
        fit(fresh(records), objective.named(name), settings(), bare, tmp_path / "run")


def test_sft_needs_no_rationale(records, fresh, tmp_path):
    bare = with_rationales(records, lambda k: False)
    outcome, _, _ = fit(fresh(records), objective.named("sft"), settings(), bare, tmp_path / "run")
    assert outcome["steps"] == 1


def test_validation_rationales_are_needed_by_stage_1_alone(partly, fresh, tmp_path):
    bare = [replace(record, rationale="") for record in partly.validation]
    silent = replace(partly, splits=partly.splits | {"validation": bare})
    with pytest.raises(R2DError, match="None of the validation records has a rationale"):
        fit(fresh(partly), objective.named("stage1"), settings(), silent, tmp_path / "stage1")
    fit(fresh(partly), objective.named("r2d"), settings(), silent, tmp_path / "r2d")


@pytest.mark.parametrize(
    ("name", "tasks"),
    [("sft", ["label"]), ("stage1", ["rationale"]), ("r2d", ["label", "rationale"])],
)
def test_the_target_tokens_of_all_steps_are_counted(name, tasks, records, fresh, tmp_path):
    decoder, chosen = fresh(records), settings(steps=3, batch=4)
    outcome, _, _ = fit(decoder, objective.named(name), chosen, records, tmp_path / "run")
    expected = 0
    for step in range(3):
        order = batch_order(1, 8, step, 4)
        counts = TokenCache(decoder).counts([records.train[i] for i in order])
        expected += sum(counts[task] for task in tasks)
    assert outcome["target_tokens"] == expected > 0


# --- choosing and stopping


@pytest.mark.parametrize(("select_after_ramp", "best", "last"), [(True, 13, 15), (False, 1, 14)])
def test_early_stopping_waits_for_the_end_of_the_ramp(
    select_after_ramp, best, last, records, fresh, tmp_path
):
    method = objective.named("r2d", {"select_after_ramp": select_after_ramp})
    # Nothing is learnt, so no score is better than the first.
    still = settings(steps=20, lr=1e-15, batch=2, patience=2)
    outcome, _, _ = fit(fresh(records), method, still, records, tmp_path / "run")
    assert (outcome["best_step"], outcome["steps"]) == (best, last)


def test_the_best_weights_are_kept_not_the_last(records, fresh, tmp_path, monkeypatch):
    scores = iter([0.1, 0.9, 0.2])
    monkeypatch.setattr(Trainer, "_label_score", lambda self: next(scores))
    decoder, method = fresh(records), objective.named("sft")
    outcome, _, evaluations = fit(decoder, method, settings(steps=3), records, tmp_path / "run")
    assert (outcome["best_step"], outcome["best_score"], outcome["score"]) == (2, 0.9, "macro_f1")
    checkpoints = tmp_path / "run" / "checkpoints"
    second, third = (load_file(checkpoints / f"step-{k}" / "weights.safetensors") for k in (2, 3))
    now = trainable(decoder.model)
    assert all(torch.equal(now[key], second[key]) for key in now)
    assert not all(torch.equal(now[key], third[key]) for key in now)
    assert [entry["validation"] for entry in evaluations] == [0.1, 0.9, 0.2]


def test_a_run_too_short_for_selection_ends_with_its_last_weights(records, fresh, tmp_path):
    method = objective.named("r2d", {"warmup": 0.5, "ramp": 1.0})
    outcome, _, _ = fit(fresh(records), method, settings(steps=2), records, tmp_path / "run")
    assert outcome["best_step"] == 2
    assert math.isfinite(outcome["best_score"])


def test_stage_1_is_chosen_by_validation_loss(records, fresh, tmp_path):
    decoder = fresh(records)
    method = objective.named("stage1")
    outcome, _, _ = fit(decoder, method, settings(), records, tmp_path / "run")
    explain = [f"explain: {record.question}" for record in records.validation]
    with torch.no_grad():
        by_hand = mean_rationale_loss(
            decoder.model.eval(), decoder.tokenizer, records.validation, explain
        )
    assert outcome["score"] == "negative validation loss"
    assert outcome["best_score"] == pytest.approx(-by_hand.item(), rel=1e-5)


def test_label_methods_are_chosen_by_macro_f1(records, fresh, tmp_path, monkeypatch):
    training = trainer(fresh(records), objective.named("sft"), settings(), tmp_path / "run")
    labels = records.labels
    cases = [replace(records.train[0], label=label) for label in (*[labels[0]] * 7, labels[1])]
    training.validation_set = cases
    monkeypatch.setattr(training.learner, "decide", lambda part, train_mode: [labels[0]] * 8)
    # 7 of 8 are right, and one of six labels has an F1: 14 / 15.
    assert training._label_score() == pytest.approx(14 / 15 / len(labels))
