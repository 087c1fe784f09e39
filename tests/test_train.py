"""The trainer: its losses and steps against ones written out by hand, and what survives a kill."""

import copy
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from conftest import TINY, new_home
from safetensors.torch import load_file

from r2d import paths, recipes
from r2d.errors import R2DError
from r2d.experiments import run
from r2d.method import objective, prompts
from r2d.recipes.settings import TrainSettings
from r2d.training import batches, checkpoint, loop
from r2d.training.loop import Trainer

ALWAYS = {
    "sampling": "always",
    "cap": 1.0,
    "warmup": 0.0,
    "ramp": 0.0,
}  # past warm-up and sampling everything at once


@pytest.fixture(autouse=True)
def log_every_step(monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)


def settings(**given) -> TrainSettings:
    return TrainSettings(
        **{"steps": 1, "lr": 1e-3, "batch": 8, "dropout": 0.0, "eval_every": 1, "patience": 5}
        | given
    )


def fit(decoder, goal, chosen, records, folder, seed=1):
    """Train and return (outcome, log of steps, log of evaluations)."""
    outcome = Trainer(decoder.model, decoder, goal, chosen, seed, folder, "f").fit(
        records.train[:8], records.validation
    )
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return outcome, [e for e in entries if "loss" in e], [e for e in entries if "validation" in e]


# --- by hand: one example at a time, no padding, log-softmax and gather


def token_log_probs(model, source, target):
    """Log-probability of each target token, the decoder's input shifted by hand."""
    shifted = [model.config.decoder_start_token_id, *target[:-1]]
    logits = model(
        input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([shifted])
    ).logits[0]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(target)[:, None])[:, 0]


def own_label(model, tokenizer, question, labels):
    ids = tokenizer(prompts.predict(question), truncation=True, max_length=64, return_tensors="pt")[
        "input_ids"
    ]
    longest = max(len(tokenizer(label)["input_ids"]) for label in labels)
    with torch.no_grad():
        found = model.generate(ids, do_sample=False, num_beams=1, max_new_tokens=longest)
    text = tokenizer.decode(found[0], skip_special_tokens=True).strip()
    return next((label for label in labels if label.lower() == text.lower()), text)


def hand_loss(model, tokenizer, batch, labels, weight, prompted):
    """a * mean label loss + (1 - a) * mean rationale loss over all target tokens; `prompted(record)` is the explain prompt."""
    ids = lambda text, limit: tokenizer(text, truncation=True, max_length=limit)["input_ids"]  # noqa: E731
    own = {r.id: prompted(model.eval(), r) for r in batch}
    model.train()
    label = torch.cat(
        [token_log_probs(model, ids(f"predict: {r.question}", 64), ids(r.label, 99)) for r in batch]
    )
    why = torch.cat(
        [token_log_probs(model, ids(own[r.id], 64), ids(r.rationale, 24)) for r in batch]
    )
    return weight * -label.mean() + (1 - weight) * -why.mean()


def hand_steps(model, loss_of, lr, steps):
    """AdamW with clipping at norm 1 and a learning rate that falls to zero, as the paper trains; the losses."""
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=lr, weight_decay=0.01)
    losses = []
    for step in range(steps):
        loss = loss_of(model)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.sqrt(sum((p.grad**2).sum() for p in weights if p.grad is not None))
        for p in weights:
            if p.grad is not None:
                p.grad *= min(1.0, 1.0 / (norm + 1e-6).item())
        optimiser.param_groups[0]["lr"] = lr * (1 - step / steps)
        optimiser.step()
        losses.append(loss.item())
    return losses


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
    goal, decoder = objective.named(name, overrides), fresh(records)
    net, labels, batch = copy.deepcopy(decoder.model), records.labels, records.train[:8]

    def prompted(model, record):
        if name in ("stage1", "sft", "dss"):
            return f"explain: {record.question}"
        label = (
            own_label(model, decoder.tokenizer, record.question, labels)
            if name == "r2d"
            else record.label
        )
        return f"given label: {label}, explain: {record.question}"

    by_hand = hand_steps(
        net,
        lambda m: hand_loss(m, decoder.tokenizer, batch, labels, weight, prompted),
        1e-3,
        steps=2,
    )
    before = checkpoint.trainable(decoder.model)
    chosen = settings(steps=2, eval_every=2, weight_decay=0.01, clip=1.0)
    _, steps, _ = fit(decoder, goal, chosen, records, tmp_path / "run")
    assert [s["loss"] for s in steps] == pytest.approx(by_hand, rel=2e-5)
    assert [s["lr"] for s in steps] == pytest.approx([1e-3, 5e-4])
    moved, away = [], []
    for key, value in checkpoint.trainable(decoder.model).items():
        moved.append((value - before[key]).abs().flatten())
        away.append((value - dict(net.named_parameters())[key]).abs().flatten())
    assert torch.cat(moved).max() > 1e-3
    away = torch.cat(
        away
    )  # AdamW's first step is lr * sign(gradient): where a gradient is rounding noise, signs may differ
    assert (away < 2e-5).double().mean() > 0.999 and away.max() < 3.1e-3


def test_micro_batches_change_the_result_by_rounding_only(records, fresh, tmp_path):
    goal, found = objective.named("r2d", ALWAYS | {"cap": 0.5}), []
    for size in (None, 3):
        decoder = fresh(records)
        _, steps, _ = fit(
            decoder,
            goal,
            settings(steps=3, eval_every=3, micro_batch=size),
            records,
            tmp_path / str(size),
        )
        found.append(([s["loss"] for s in steps], [s["sampled"] for s in steps]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5) and found[0][1] == found[1][1]


def test_logged_schedules_are_those_of_the_objective(records, fresh, tmp_path):
    chosen = settings(steps=20, eval_every=20, batch=4)
    _, steps, _ = fit(fresh(records), objective.named("r2d"), chosen, records, tmp_path / "run")
    assert [s["step"] for s in steps] == list(range(1, 21))
    for entry in steps:
        t = entry["step"] - 1
        a, p = objective.label_weight(t, 20), objective.sampling_probability(t, 20)
        assert (entry["label_weight"], entry["sampling_probability"]) == (a, p)
        assert entry["loss"] == pytest.approx(
            a * entry["label_loss"] + (1 - a) * entry["rationale_loss"]
        )
        assert (
            entry["sampled"] == int(objective.coins(1, t, 4, p).sum())
            and entry["sampled_wrong"] <= entry["sampled"]
        )


def test_every_example_is_seen_once_an_epoch_in_an_order_of_the_seed():
    order = [i for step in range(6) for i in batches.batch_order(1, 12, step, 4)]
    assert sorted(order[:12]) == sorted(order[12:]) == list(range(12)) and order[:12] != order[12:]
    assert (
        batches.batch_order(1, 12, 4, 4) == order[16:20]
        and batches.batch_order(2, 12, 4, 4) != order[16:20]
    )
    assert (
        len(batches.batch_order(1, 3, 0, 8)) == 8
    )  # a batch larger than the data goes on into the next epoch


# --- scheduled sampling


def watch(monkeypatch, decoder):
    """Prompts that the decoder was asked to encode after the splits, and (has labels, training mode) of every forward."""
    asked, modes, encode = [], [], decoder.encode

    def spy(texts):
        asked.append(list(texts))
        return encode(asked[-1])

    def hook(module, args, kwargs):
        modes.append((kwargs.get("labels") is not None, module.training))

    monkeypatch.setattr(decoder, "encode", spy)
    decoder.model.register_forward_pre_hook(hook, with_kwargs=True)
    return asked, modes


def test_only_the_examples_whose_coin_asks_carry_the_models_own_label(
    records, fresh, tmp_path, monkeypatch
):
    decoder, goal = fresh(records), objective.named("r2d", ALWAYS | {"cap": 0.5})
    initial, batch = copy.deepcopy(decoder.model).eval(), records.train[:8]
    asked, _ = watch(monkeypatch, decoder)
    _, (step,), _ = fit(decoder, goal, settings(), records, tmp_path / "run")
    order, flips = batches.batch_order(1, 8, 0, 8), objective.coins(1, 0, 8, 0.5).tolist()
    assert 0 < sum(flips) < 8
    chosen = [batch[i] for i, flip in zip(order, flips, strict=True) if flip]
    own = [own_label(initial, decoder.tokenizer, r.question, records.labels) for r in chosen]
    wanted = [
        f"given label: {label}, explain: {r.question}" for r, label in zip(chosen, own, strict=True)
    ]
    splits, sampled = asked[:4], asked[4:]
    assert sampled == [wanted]
    assert [p for part in splits[1::2] for p in part] == [
        f"given label: {r.label}, explain: {r.question}" for r in [*batch, *records.validation]
    ]
    assert step["sampled"] == len(chosen)
    assert step["sampled_wrong"] == sum(
        label != r.label for r, label in zip(chosen, own, strict=True)
    )


@pytest.mark.parametrize("in_train_mode", [False, True])
def test_sampled_labels_come_from_evaluation_mode_unless_switched(
    in_train_mode, records, fresh, tmp_path, monkeypatch
):
    decoder = fresh(records, dropout=0.1)
    goal = objective.named("r2d", ALWAYS | {"sample_in_train_mode": in_train_mode})
    _, modes = watch(monkeypatch, decoder)
    fit(decoder, goal, settings(), records, tmp_path / "run")
    first_loss = next(k for k, (has_labels, _) in enumerate(modes) if has_labels)
    assert first_loss > 0 and {training for _, training in modes[:first_loss]} == {in_train_mode}
    assert {training for has_labels, training in modes if has_labels} == {True}
    after = max(k for k, (has_labels, _) in enumerate(modes) if has_labels)
    assert {training for _, training in modes[after + 1 :]} == {False}  # validation


def test_dropout_of_the_recipe_reaches_every_layer(records, fresh):
    net = fresh(records, dropout=0.3).model
    shares = [m.p for m in net.modules() if isinstance(m, torch.nn.Dropout)]
    shares += [
        m.dropout for m in net.modules() if isinstance(getattr(m, "dropout", None), float)
    ]  # T5's attention
    assert len(shares) > 10 and set(shares) == {0.3}


# --- records without a rationale


@pytest.fixture
def partly(records):
    """The tiny dataset, every other record without its rationale."""
    cut = lambda part: [replace(r, rationale="") if i % 2 else r for i, r in enumerate(part)]  # noqa: E731
    return replace(records, splits={name: cut(part) for name, part in records.splits.items()})


@pytest.mark.parametrize("name", ["dss", "r2d"])
def test_records_without_a_rationale_teach_the_label_only(name, partly, fresh, tmp_path):
    decoder, batch = fresh(partly), partly.train[:8]
    net, tokenizer, goal = (
        copy.deepcopy(decoder.model),
        decoder.tokenizer,
        objective.named(name, ALWAYS if name == "r2d" else {}),
    )
    explained = [r for r in batch if r.rationale]
    with torch.no_grad():
        ids = lambda text, limit: tokenizer(text, truncation=True, max_length=limit)["input_ids"]  # noqa: E731
        own = [
            own_label(net.eval(), tokenizer, r.question, partly.labels) if name == "r2d" else None
            for r in explained
        ]
        asked = [
            prompts.explain(r.question, label) for r, label in zip(explained, own, strict=True)
        ]
        label = torch.cat(
            [
                token_log_probs(net, ids(f"predict: {r.question}", 64), ids(r.label, 99))
                for r in batch
            ]
        )
        why = torch.cat(
            [
                token_log_probs(net, ids(p, 64), ids(r.rationale, 24))
                for p, r in zip(asked, explained, strict=True)
            ]
        )
    for size in (None, 1):  # with 1, some micro-batches have no rationale at all
        again = fresh(partly)
        _, (step,), _ = fit(again, goal, settings(micro_batch=size), partly, tmp_path / f"{size}")
        a = goal.label_weight
        assert step["loss"] == pytest.approx(
            -a * label.mean().item() - (1 - a) * why.mean().item(), rel=1e-5
        )
        assert step["sampled"] == (len(explained) if name == "r2d" else 0)


def test_stage_1_leaves_out_records_without_a_rationale(partly, fresh, tmp_path):
    decoder, goal = fresh(partly), objective.named("stage1")
    fit(decoder, goal, settings(steps=2, eval_every=2), partly, tmp_path / "all")
    alone = fresh(partly)
    kept = replace(
        partly,
        splits={name: [r for r in part[:8] if r.rationale] for name, part in partly.splits.items()},
    )
    fit(alone, goal, settings(steps=2, eval_every=2), kept, tmp_path / "kept")
    logs = [[{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in (tmp_path / name / "log.jsonl").open()]
            for name in ("all", "kept")]  # fmt: skip
    assert logs[0] == logs[1] and len(logs[0]) == 3


@pytest.mark.parametrize("name", ["stage1", "dss", "r2d"])
def test_a_method_that_explains_refuses_data_without_any_rationale(name, records, fresh, tmp_path):
    bare = replace(
        records,
        splits={k: [replace(r, rationale="") for r in part] for k, part in records.splits.items()},
    )
    with pytest.raises(
        R2DError,
        match="None of the training records has a rationale to learn from: .* train SFT instead",
    ):
        fit(fresh(records), objective.named(name), settings(), bare, tmp_path / "run")
    fit(fresh(records), objective.named("sft"), settings(), bare, tmp_path / "sft")


def test_validation_rationales_are_needed_by_stage_1_alone(partly, fresh, tmp_path):
    bare = replace(
        partly,
        splits=partly.splits
        | {"validation": [replace(r, rationale="") for r in partly.validation]},
    )
    with pytest.raises(R2DError, match="None of the validation records has a rationale"):
        fit(fresh(partly), objective.named("stage1"), settings(), bare, tmp_path / "stage1")
    fit(fresh(partly), objective.named("r2d"), settings(), bare, tmp_path / "r2d")


# --- choosing and stopping


def test_patience_counts_from_the_start_of_selection_only():
    stopper = checkpoint.Stopper(patience=2, start=10)
    assert (
        not any(stopper.update(step, 0.9) for step in range(10))
        and not stopper.stop
        and stopper.best is None
    )
    assert stopper.update(10, 0.5) and not stopper.update(11, 0.5) and not stopper.stop
    assert stopper.update(12, 0.6) and not stopper.update(13, 0.1) and not stopper.stop
    assert not stopper.update(14, 0.6) and stopper.stop
    assert (stopper.best, stopper.best_step) == (0.6, 12)


@pytest.mark.parametrize(("select_after_ramp", "best", "last"), [(True, 13, 15), (False, 1, 3)])
def test_early_stopping_waits_for_the_end_of_the_ramp(
    select_after_ramp, best, last, records, fresh, tmp_path
):
    goal = objective.named("r2d", {"select_after_ramp": select_after_ramp})
    still = settings(
        steps=20, lr=1e-15, batch=2, patience=2
    )  # nothing is learnt, so no score is better than the first
    outcome, _, _ = fit(fresh(records), goal, still, records, tmp_path / "run")
    assert (outcome["best_step"], outcome["steps"]) == (best, last)


def test_the_best_weights_are_kept_not_the_last(records, fresh, tmp_path, monkeypatch):
    scores = iter([0.1, 0.9, 0.2])
    monkeypatch.setattr(Trainer, "_macro_f1", lambda self: next(scores))
    decoder = fresh(records)
    outcome, _, evaluations = fit(
        decoder, objective.named("sft"), settings(steps=3), records, tmp_path / "run"
    )
    assert (outcome["best_step"], outcome["best_score"], outcome["score"]) == (2, 0.9, "macro_f1")
    second, third = (
        load_file(tmp_path / "run" / "checkpoints" / f"step-{k}" / "weights.safetensors")
        for k in (2, 3)
    )
    now = checkpoint.trainable(decoder.model)
    assert all(torch.equal(now[k], second[k]) for k in now) and not all(
        torch.equal(now[k], third[k]) for k in now
    )
    assert [e["validation"] for e in evaluations] == [0.1, 0.9, 0.2]


def test_a_run_too_short_for_selection_ends_with_its_last_weights(records, fresh, tmp_path):
    goal = objective.named("r2d", {"warmup": 0.5, "ramp": 1.0})
    outcome, _, _ = fit(fresh(records), goal, settings(steps=2), records, tmp_path / "run")
    assert outcome["best_step"] == 2 and math.isfinite(outcome["best_score"])


def test_stage_1_is_chosen_by_validation_loss(records, fresh, tmp_path):
    decoder, goal = fresh(records), objective.named("stage1")
    outcome, _, _ = fit(decoder, goal, settings(), records, tmp_path / "run")
    net, tokenizer = decoder.model.eval(), decoder.tokenizer
    with torch.no_grad():
        parts = [
            token_log_probs(
                net,
                tokenizer(f"explain: {r.question}", truncation=True, max_length=64)["input_ids"],
                tokenizer(r.rationale, truncation=True, max_length=24)["input_ids"],
            )
            for r in records.validation
        ]
    assert outcome["score"] == "negative validation loss"
    assert outcome["best_score"] == pytest.approx(torch.cat(parts).mean().item(), rel=1e-5)


def test_a_loss_that_is_not_finite_stops_with_a_sentence_and_saves_nothing(
    records, fresh, tmp_path
):
    decoder = fresh(records)
    with torch.no_grad():
        decoder.model.shared.weight[5:50] = math.nan
    with pytest.raises(R2DError, match="The loss at step 0 is nan; lower `lr`"):
        fit(decoder, objective.named("dss"), settings(), records, tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_bfloat16_steps_stay_close_to_float32(records, fresh, tmp_path):
    from accelerate.state import AcceleratorState

    found = []
    try:
        for precision in ("fp32", "bf16"):
            AcceleratorState._reset_state(True)
            chosen = settings(precision=precision)
            _, steps, _ = fit(
                fresh(records), objective.named("dss"), chosen, records, tmp_path / precision
            )
            found.append(steps[0]["loss"])
    finally:
        AcceleratorState._reset_state(True)
    assert found[0] != found[1] == pytest.approx(found[0], rel=0.02)


# --- killed and resumed

LONG = TINY | {
    "train.common.steps": 28,
    "train.common.eval_every": 4,
    "train.common.dropout": 0.1,  # so that a resumed run must draw the same masks
    "train.common.patience": 50,
    "methods.r2d-full.init": None,
}
WHICH = ("triage", "r2d-full", 1)


def result(folder):
    """Everything that must be equal: weights, predictions and the log without its clock."""
    log = [
        {k: v for k, v in json.loads(line).items() if k != "seconds"}
        for line in (folder / "log.jsonl").open()
    ]
    return (
        (folder / "model" / "model.safetensors").read_bytes(),
        (folder / "predictions.jsonl").read_bytes(),
        log,
    )


def cli(changes, launcher=(), home=None):
    """The command line of a run, started in a process group of its own."""
    command = [sys.executable, *launcher, "-m", "r2d.run", "smoke", *map(str, WHICH)]
    command += [
        part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")
    ]
    environment = (
        os.environ | {"PYTHONPATH": str(paths.ROOT)} | ({"R2D_HOME": str(home)} if home else {})
    )
    pipes = {
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.PIPE,
        "text": True,
        "start_new_session": True,
    }
    return subprocess.Popen(command, cwd=paths.ROOT, env=environment, **pipes)


@pytest.fixture(scope="module")
def killed(tmp_path_factory, one_thread):
    """Result of an uninterrupted run, and the home of one killed by SIGKILL after its second checkpoint."""
    folder = tmp_path_factory.mktemp("kill")
    recipe = recipes.load("smoke", LONG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("R2D_HOME", str(new_home(folder / "whole")))
        whole = result(run.execute(recipe, *WHICH))
    home = new_home(folder / "killed")
    child = cli(LONG, home=home)
    part = home / "runs" / recipe.profile / "triage" / "r2d-full" / ".seed1.part"
    deadline = time.monotonic() + 120
    while (
        not (part / "checkpoints" / "step-8").is_dir()
        and child.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.005)
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "the run ended before it was killed"
    return recipe, whole, home, part.relative_to(home)


@pytest.fixture
def again(killed, tmp_path, monkeypatch):
    """(recipe, result of the uninterrupted run, unfinished folder) in a copy of the killed run's home."""
    recipe, whole, home, part = killed
    shutil.copytree(home, tmp_path / "home", symlinks=True)
    monkeypatch.setenv("R2D_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(loop, "LOG_EVERY", 10)
    return recipe, whole, tmp_path / "home" / part


def newest(part):
    return max((part / "checkpoints").glob("step-*[0-9]"), key=lambda p: int(p.name.split("-")[1]))


def steps_done(monkeypatch):
    done, step = [], Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda self, k: done.append(k) or step(self, k))
    return done


def test_a_killed_run_leaves_no_finished_directory_and_no_pickle(again):
    _, _, part = again
    assert not part.with_name("seed1").exists()
    kinds = {p.suffix for p in part.rglob("*") if p.is_file()}
    assert kinds <= {
        ".safetensors",
        ".json",
        ".jsonl",
        ".part",
        "",
    }  # safetensors' own temporary file has none


def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(again, monkeypatch):
    recipe, whole, part = again
    last, done = int(newest(part).name.split("-")[1]), steps_done(monkeypatch)
    assert result(run.execute(recipe, *WHICH)) == whole
    assert done == list(range(last, 28)) and not part.exists()


@pytest.mark.parametrize("dies", ["before", "after"])
def test_a_run_that_dies_around_a_checkpoint_loses_no_line_of_its_log(
    dies, killed, tmp_path, monkeypatch
):
    recipe, whole, *_ = killed
    monkeypatch.setenv("R2D_HOME", str(new_home(tmp_path / "home")))
    monkeypatch.setattr(loop, "LOG_EVERY", 10)
    save = checkpoint.save

    def last_words(folder, step, *rest):
        if step < 8 or dies == "after":
            save(folder, step, *rest)
        if step == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", last_words)
    with pytest.raises(KeyboardInterrupt):
        run.execute(recipe, *WHICH)
    monkeypatch.setattr(checkpoint, "save", save)
    done = steps_done(monkeypatch)
    assert result(run.execute(recipe, *WHICH)) == whole
    assert done[0] == (4 if dies == "before" else 8)


@pytest.mark.parametrize("damage", ["flipped byte", "no optimiser", "half written"])
def test_a_damaged_newest_checkpoint_is_passed_over_for_the_one_before(damage, again, monkeypatch):
    recipe, whole, part = again
    latest = newest(part)
    if damage == "flipped byte":
        content = bytearray((latest / "weights.safetensors").read_bytes())
        content[len(content) // 2] ^= 1
        (latest / "weights.safetensors").write_bytes(content)
    elif damage == "no optimiser":
        (latest / "optimiser.safetensors").unlink()
    else:
        latest.rename(latest.with_name(f"{latest.name}.part"))
    done = steps_done(monkeypatch)
    assert result(run.execute(recipe, *WHICH)) == whole
    assert done[0] == int(latest.name.split("-")[1]) - 4


def test_resuming_under_another_recipe_is_refused_and_touches_nothing(again):
    recipe, _, part = again
    before = {p: p.read_bytes() for p in part.rglob("*") if p.is_file()}
    with pytest.raises(
        R2DError,
        match="started with another recipe, dataset, tokenizer or code; .* or delete that folder",
    ):
        run.execute(recipe.model_copy(update={"max_rationale_tokens": 20}), *WHICH)
    assert {p: p.read_bytes() for p in part.rglob("*") if p.is_file()} == before


# --- several processes


def test_two_processes_make_the_run_that_one_makes(tmp_path, monkeypatch):
    changes = TINY | {
        "train.common.steps": 10,
        "train.common.eval_every": 5,
        "train.common.batch": 7,  # shared unevenly
        "methods.r2d-full.init": None,
        "methods.r2d-full.objective_overrides": ALWAYS | {"cap": 0.5},
    }
    monkeypatch.setattr(loop, "LOG_EVERY", 10)
    folders = []
    for name, launcher in (
        ("one", []),
        ("two", ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]),
    ):
        monkeypatch.setenv("R2D_HOME", str(new_home(tmp_path / name)))
        if launcher:
            done = cli(changes, launcher)
            assert (
                said := done.communicate(timeout=600)[1]
            ) is not None and done.returncode == 0, said[-2000:]
        else:
            run.execute(recipes.load("smoke", changes), *WHICH)
        folders.append(paths.run(recipes.load("smoke", changes).profile, *WHICH))
    (alone, tested), (both, tested_too) = (_log_and_predictions(folder) for folder in folders)
    assert [e["step"] for e in both] == [e["step"] for e in alone] == [1, 5, 10, 10]
    for one, two in zip(alone, both, strict=True):
        assert {k: v for k, v in two.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in one.items() if k != "seconds"}, rel=1e-4
        )
    assert alone[0]["sampled"] > 0 and [p["label"] for p in tested_too] == [
        p["label"] for p in tested
    ]
    assert not folders[1].with_name(".seed1.part").exists()


def _log_and_predictions(folder):
    found = run.read(folder)
    return found["log"], found["predictions"]


def test_a_run_resumed_at_its_end_keeps_the_costs_of_all_its_steps(records, fresh, tmp_path):
    found, chosen = [], settings(steps=4, eval_every=2)
    for _ in range(
        2
    ):  # the second finds the last checkpoint, as after a kill while the test set was decoded
        decoder = fresh(records)
        trainer = Trainer(
            decoder.model, decoder, objective.named("sft"), chosen, 1, tmp_path / "run", "f"
        )
        found.append(trainer.fit(records.train, records.validation))
    assert found[1] == found[0] and found[0]["seconds"] > found[0]["seconds_per_step"] > 0
