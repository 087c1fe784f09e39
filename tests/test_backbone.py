"""Decoder-only backbones: completions alone are learned, padding changes nothing, and a run goes the whole way."""

import json
import math

import pytest
import torch

import r2d
from r2d.deploy import share
from r2d.errors import R2DError
from r2d.evaluation import calibration
from r2d.experiments import run
from r2d.method import objective, prompts
from r2d.models import backbone, load
from r2d.models.decode import Decoder, generate, greedy, score
from r2d.recipes.settings import LoraSettings, TrainSettings
from r2d.training import checkpoint, loop

SMALL = LoraSettings(r=4, alpha=8)
STEPS = TrainSettings(steps=1, lr=1e-3, batch=8, dropout=0.0, eval_every=1, patience=5)


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> str:
    """A tiny untrained Llama with the base's byte-level tokenizer; its weights are large enough to have opinions."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder, tokenizer = tmp_path_factory.mktemp("llama"), load.load_tokenizer("mini-base")
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.3, eos_token_id=[7, 9], pad_token_id=None, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def decoder(llama, records) -> Decoder:
    net = load.load(llama, "full", SMALL, 0.0)
    return Decoder(net.eval(), load.load_tokenizer(llama), records.labels, (64, 24))


@pytest.fixture
def asked(decoder, records) -> list:
    """Prompts of very different lengths."""
    return decoder.encode(
        [*(prompts.predict(r.question) for r in records.test), "predict: ", "explain: cp"]
    )


def log_probs(net, prompt, target) -> torch.Tensor:
    """Log-probability of each target token after the prompt, without padding or cache."""
    logits = net(input_ids=torch.tensor([[*prompt, *target]])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(target)[:, None])[:, 0]


def test_the_kind_follows_from_the_configuration(llama, decoder):
    from transformers import BertConfig, T5Config

    assert (
        isinstance(decoder.network, backbone.Causal)
        and backbone.kind(T5Config()) is backbone.Seq2Seq
    )
    with pytest.raises(R2DError, match="A bert model is an encoder and can't write"):
        backbone.kind(BertConfig())
    config = decoder.model.config  # several end tokens of a chat model give way to the tokenizer's
    assert (config.eos_token_id, config.pad_token_id) == (
        decoder.tokenizer.eos_token_id,
        decoder.tokenizer.pad_token_id,
    )


def test_a_long_case_loses_its_end_and_the_completion_still_begins_on_a_new_line(decoder):
    (cut,), (whole,) = (
        decoder.encode(["given label: Home care, explain: " + "pain " * 500]),
        decoder.encode(["explain: pain"]),
    )
    line = decoder.tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert len(cut) == 64 and cut.tolist()[-len(line) :] == whole.tolist()[-len(line) :] == line
    assert decoder.tokenizer.decode(cut).startswith("given label: Home care, explain: pain pain")
    (target,) = decoder.targets(["word " * 100], 24)
    assert len(target) == 24 and target[-1] == decoder.tokenizer.eos_token_id


def test_greedy_equals_generate_and_a_batch_equals_one_by_one(decoder, asked):
    ids, mask = decoder.network.batch(asked)
    ends = {
        "eos_token_id": decoder.tokenizer.eos_token_id,
        "pad_token_id": decoder.tokenizer.pad_token_id,
    }
    wanted = decoder.model.generate(
        ids, attention_mask=mask, do_sample=False, max_new_tokens=12, **ends
    )[:, ids.shape[1] :]
    found = greedy(decoder.network, ids, mask, 12)
    assert torch.equal(found, wanted) and len({tuple(row) for row in found.tolist()}) > 3
    together = generate(decoder.network, asked, 12, size=4)
    assert together == [generate(decoder.network, [row], 12, size=1)[0] for row in asked]


@pytest.mark.parametrize("size", [1, 3, 64])
def test_scores_are_the_exact_log_probabilities_however_they_are_batched(decoder, asked, size):
    choices = [decoder.labels[: 2 + i % 3] for i in range(len(asked))]
    found = score(decoder.network, asked, choices, size)
    for row, prompt, labels in zip(found, asked, choices, strict=True):
        for k, target in enumerate(decoder.targets(labels)):
            by_hand = log_probs(decoder.model, prompt, target.tolist()).sum().item()
            assert row[k].item() == pytest.approx(by_hand, rel=1e-4)
        assert row[len(labels) :].eq(-math.inf).all()


@pytest.mark.parametrize(
    ("name", "weight"), [("stage1", 0.0), ("sft", 1.0), ("dss", 0.5), ("r2d-always", 0.7)]
)
def test_a_step_s_loss_is_that_of_the_completions_alone(
    name, weight, decoder, records, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    goal = objective.named(
        name, {"cap": 1.0, "warmup": 0.0, "ramp": 0.0} if name == "r2d-always" else {}
    )
    batch, predict = (
        records.train[:8],
        decoder.encode(prompts.predict(r.question) for r in records.train[:8]),
    )
    own = decoder.label_texts(predict) if name == "r2d-always" else [None] * 8
    explain = decoder.encode(
        prompts.explain(r.question, label) for r, label in zip(batch, own, strict=True)
    )
    with torch.no_grad():
        targets = (
            decoder.targets(r.label for r in batch),
            decoder.targets((r.rationale for r in batch), 24),
        )
        label, why = (
            torch.cat(
                [log_probs(decoder.model, p, t.tolist()) for p, t in zip(rows, wanted, strict=True)]
            )
            .mean()
            .item()
            for rows, wanted in zip((predict, explain), targets, strict=True)
        )
    loop.Trainer(decoder.model, decoder, goal, STEPS, 1, tmp_path, "f").fit(
        batch, records.validation
    )
    first = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(-weight * label - (1 - weight) * why, rel=1e-4)


@pytest.mark.parametrize("tuning", ["full", "lora", "qlora"])
def test_each_tuning_trains_what_it_should_and_loads_to_the_same_scores(
    tuning, llama, records, tmp_path
):
    net = load.load(llama, tuning, SMALL, 0.0)
    decoder = Decoder(net, load.load_tokenizer(llama), records.labels, (64, 24))
    names = set(checkpoint.trainable(net))
    assert names and all("lora_" in name for name in names) == (tuning != "full")
    before = {name: value.clone() for name, value in checkpoint.trainable(net).items()}
    settings = STEPS.model_copy(update={"steps": 4, "eval_every": 4, "lr": 1e-2})
    loop.Trainer(net, decoder, objective.named("r2d-always"), settings, 1, tmp_path, "f").fit(
        records.train, records.validation
    )
    assert any(
        not torch.equal(value, before[name]) for name, value in checkpoint.trainable(net).items()
    )
    load.save(net, decoder.tokenizer, llama, tmp_path / "model")
    again = Decoder(
        load.load(llama, tuning, SMALL, 0.0, tmp_path / "model"),
        decoder.tokenizer,
        records.labels,
        (64, 24),
    )
    rows = decoder.encode([prompts.predict("fever x2d")])
    scores = [
        score(each.net, rows, [records.labels], 8) for each in (decoder, again) if each.model.eval()
    ]
    assert torch.allclose(*scores, atol=1e-4)


def test_a_run_with_a_decoder_only_backbone_is_used_calibrated_and_exported(
    llama, tiny, home, records, tmp_path
):
    from transformers import AutoModelForCausalLM

    recipe = tiny({"backbone": llama, "decode.labels": "score"})
    for method in ("stage1-qlora", "r2d-qlora"):
        folder = run.execute(recipe, "triage", method, 1)
    predictor, notes = r2d.load(folder), [r.question for r in records.test]
    found = predictor.predict(notes, explain=False)
    assert [p.label for p in found] == [row["label"] for row in run.read(folder)["predictions"]]
    assert set(predictor.explain_under(notes[0])) == set(records.labels)
    assert calibration.calibrate(folder)["temperature"] == r2d.load(folder).temperature
    card = (share.export(folder, tmp_path / "adapter") / "README.md").read_text()
    assert (
        "PeftModel.from_pretrained(AutoModelForCausalLM" in card
        and "A line break ends each prompt" in card
    )
    merged = share.export(folder, tmp_path / "merged", merged=True)
    alone = Decoder(
        AutoModelForCausalLM.from_pretrained(merged).eval(),
        predictor.decoder.tokenizer,
        records.labels,
        (64, 24),
    )
    rows = alone.encode([prompts.predict(note) for note in notes])
    adapted = load.load(llama, "lora", recipe.lora, 0.0, folder / "model").eval()
    whole = Decoder(adapted, alone.tokenizer, records.labels, (64, 24))
    both = [score(each.net, rows, [records.labels] * len(rows), 8) for each in (alone, whole)]
    assert torch.allclose(*both, atol=1e-3)


def test_a_few_qlora_steps_lower_the_loss_of_smollm2(records, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    net = load.load("smollm2", "qlora", LoraSettings(r=8, alpha=16), 0.0)
    decoder = Decoder(net, load.load_tokenizer("smollm2"), records.labels, (48, 24))
    settings = STEPS.model_copy(update={"steps": 5, "lr": 1e-3, "batch": 2, "eval_every": 5})
    goal = objective.named("r2d-no-sampling", {"warmup": 0.0})
    loop.Trainer(net, decoder, goal, settings, 1, tmp_path, "f").fit(
        records.train[:2], records.validation[:2]
    )
    losses = [
        e["loss"]
        for e in map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
        if "loss" in e
    ]
    assert len(losses) == 5 and losses[-1] < losses[0] - 0.5
    assert decoder.tokenizer.pad_token_id == net.config.pad_token_id and isinstance(
        decoder.network, backbone.Causal
    )
