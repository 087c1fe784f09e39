"""Decoder-only backbones: completions alone are learned and scored, and padding changes nothing."""

import json
import math

import pytest
import torch

from r2d.errors import R2DError
from r2d.method import objective, prompts
from r2d.models.backbone import DecoderOnly, EncoderDecoder, backbone_class, pad
from r2d.models.decode import Decoder, generate, greedy, score
from r2d.models.load import load_model, load_tokenizer, save_model
from r2d.recipes.settings import LoraSettings, TrainSettings
from r2d.training import loop
from r2d.training.checkpoint import trainable
from r2d.training.loop import Trainer

SMALL = LoraSettings(r=4, alpha=8)
STEPS = TrainSettings(steps=1, lr=1e-3, batch=8, dropout=0.0, eval_every=1, patience=5)


@pytest.fixture
def decoder(llama, records) -> Decoder:
    model = load_model(llama, "full", SMALL, 0.0)
    return Decoder(model.eval(), load_tokenizer(llama), records.labels, (64, 24))


@pytest.fixture
def prompt_rows(decoder, records) -> list:
    """Token ids of prompts of very different lengths."""
    texts = [prompts.predict(record.question) for record in records.test]
    return decoder.encode([*texts, "predict: ", "explain: cp"])


def log_probs(model, prompt, target) -> torch.Tensor:
    """Log-probability of each target token after the prompt, without padding or cache."""
    ids = torch.tensor([[*prompt, *target]], device=model.device)
    logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, -1).gather(1, ids[0, len(prompt) :, None])[:, 0]


def mean_loss(model, sources, targets) -> float:
    """Minus the mean log-probability of all the targets' tokens."""
    pairs = zip(sources, targets, strict=True)
    with torch.no_grad():
        return -torch.cat([log_probs(model, s, t.tolist()) for s, t in pairs]).mean().item()


def logged_losses(folder) -> list[float]:
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [entry["loss"] for entry in entries if "loss" in entry]


def test_the_class_follows_from_the_configuration(decoder):
    from transformers import BertConfig, T5Config

    assert isinstance(decoder.network, DecoderOnly)
    assert backbone_class(T5Config()) is EncoderDecoder
    with pytest.raises(R2DError, match="A bert model is an encoder and can't write"):
        backbone_class(BertConfig())


def test_several_end_tokens_of_a_chat_model_give_way_to_the_tokenizers(decoder):
    config, tokenizer = decoder.model.config, decoder.tokenizer
    assert config.eos_token_id == tokenizer.eos_token_id
    assert config.pad_token_id == tokenizer.pad_token_id


def test_a_long_case_loses_its_end_and_the_completion_still_begins_on_a_new_line(decoder):
    (cut,) = decoder.encode(["given label: Home care, explain: " + "pain " * 500])
    (whole,) = decoder.encode(["explain: pain"])
    line = decoder.tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert len(cut) == 64
    assert cut.tolist()[-len(line) :] == whole.tolist()[-len(line) :] == line
    assert decoder.tokenizer.decode(cut).startswith("given label: Home care, explain: pain pain")
    (target,) = decoder.targets(["word " * 100], 24)
    assert len(target) == 24
    assert target[-1] == decoder.tokenizer.eos_token_id


def test_greedy_equals_generate_and_a_batch_equals_one_by_one(decoder, prompt_rows):
    ids, mask = decoder.network.batch(prompt_rows)
    expected = decoder.model.generate(
        ids,
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=12,
        eos_token_id=decoder.tokenizer.eos_token_id,
        pad_token_id=decoder.tokenizer.pad_token_id,
    )[:, ids.shape[1] :]
    written = greedy(decoder.network, ids, mask, 12)
    assert torch.equal(written, expected)
    assert len({tuple(row) for row in written.tolist()}) > 3
    together = generate(decoder.network, prompt_rows, 12, size=4)
    assert together == [generate(decoder.network, [row], 12, size=1)[0] for row in prompt_rows]


@pytest.mark.parametrize("size", [1, 3, 64])
def test_scores_are_the_exact_log_probabilities_however_they_are_batched(
    decoder, prompt_rows, size
):
    choices = [decoder.labels[: 2 + i % 3] for i in range(len(prompt_rows))]
    scores = score(decoder.network, prompt_rows, choices, size)
    for row, prompt, labels in zip(scores, prompt_rows, choices, strict=True):
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
    sampling = name == "r2d-always"
    at_once = {"cap": 1.0, "warmup": 0.0, "ramp": 0.0} if sampling else {}
    batch = records.train[:8]
    predict = decoder.encode(prompts.predict(case.question) for case in batch)
    labels = decoder.label_texts(predict) if sampling else [None] * 8
    explain = decoder.encode(
        prompts.explain(case.question, label) for case, label in zip(batch, labels, strict=True)
    )
    gold_labels = decoder.targets(case.label for case in batch)
    gold_rationales = decoder.targets((case.rationale for case in batch), 24)
    label_loss = mean_loss(decoder.model, predict, gold_labels)
    rationale_loss = mean_loss(decoder.model, explain, gold_rationales)
    by_hand = weight * label_loss + (1 - weight) * rationale_loss
    chosen = objective.named(name, at_once)
    Trainer(decoder.model, decoder, chosen, STEPS, 1, tmp_path, "f").fit(batch, records.validation)
    assert logged_losses(tmp_path)[0] == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("tuning", ["full", "lora", "qlora"])
def test_each_tuning_trains_what_it_should_and_loads_to_the_same_scores(
    tuning, llama, records, tmp_path
):
    model = load_model(llama, tuning, SMALL, 0.0)
    decoder = Decoder(model, load_tokenizer(llama), records.labels, (64, 24))
    before = trainable(model)
    assert before
    assert all("lora_" in name for name in before) == (tuning != "full")
    steps = STEPS.model_copy(update={"steps": 4, "eval_every": 4, "lr": 1e-2})
    chosen = objective.named("r2d-always")
    trainer = Trainer(model, decoder, chosen, steps, 1, tmp_path, "f")
    trainer.fit(records.train, records.validation)
    after = trainable(model)
    assert any(not torch.equal(after[name], value) for name, value in before.items())
    save_model(model, decoder.tokenizer, llama, tmp_path / "model")
    again = load_model(llama, tuning, SMALL, 0.0, tmp_path / "model")
    loaded = Decoder(again, decoder.tokenizer, records.labels, (64, 24))
    rows = decoder.encode([prompts.predict("fever x2d")])
    scores = []
    for each in (decoder, loaded):
        each.model.eval()
        scores.append(score(each.network, rows, [records.labels], 8))
    assert torch.allclose(*scores, atol=1e-4)


def test_a_few_qlora_steps_lower_the_loss_of_smollm2(records, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    model = load_model("smollm2", "qlora", LoraSettings(r=8, alpha=16), 0.0)
    decoder = Decoder(model, load_tokenizer("smollm2"), records.labels, (48, 24))
    assert isinstance(decoder.network, DecoderOnly)
    assert decoder.tokenizer.pad_token_id == model.config.pad_token_id
    steps = STEPS.model_copy(update={"steps": 3, "lr": 1e-3, "batch": 2, "eval_every": 3})
    chosen = objective.named("r2d-no-sampling", {"warmup": 0.0})
    trainer = Trainer(model, decoder, chosen, steps, 1, tmp_path, "f")
    trainer.fit(records.train[:2], records.validation[:2])
    losses = logged_losses(tmp_path)
    assert len(losses) == 3
    assert losses[-1] < losses[0] - 0.5


def test_an_empty_row_is_padded_like_any_other():
    padded = pad([[], [3, 4]], 0, "cpu")
    assert padded.tolist() == [[0, 0], [3, 4]] and padded.dtype == torch.long
