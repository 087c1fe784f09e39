"""Short trainings, and the same written out by hand: one example at a time, without padding."""

import json

import torch

from r2d.method import prompts
from r2d.recipes.settings import TrainSettings
from r2d.training.loop import Trainer

LIMIT, RATIONALE_LIMIT = 64, 24  # tokens, as `fresh` has them

# Past warm-up, and sampling everything at once.
ALWAYS = {"sampling": "always", "cap": 1.0, "warmup": 0.0, "ramp": 0.0}


def settings(**changes) -> TrainSettings:
    """One step on eight examples, with what is given changed."""
    small = {"steps": 1, "lr": 1e-3, "batch": 8, "dropout": 0.0, "eval_every": 1, "patience": 5}
    return TrainSettings(**small | changes)


def trainer(decoder, objective, chosen, folder, seed=1) -> Trainer:
    return Trainer(decoder.model, decoder, objective, chosen, seed, folder, "f")


def fit(decoder, objective, chosen, records, folder):
    """Train on eight records; (outcome, log of steps, log of evaluations)."""
    training = trainer(decoder, objective, chosen, folder)
    outcome = training.fit(records.train[:8], records.validation)
    entries = log(folder)
    steps = [entry for entry in entries if "loss" in entry]
    return outcome, steps, [entry for entry in entries if "validation" in entry]


def log(folder) -> list[dict]:
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def without_clock(entries: list[dict]) -> list[dict]:
    clocks = ("seconds", "cpu_seconds")
    return [{k: v for k, v in entry.items() if k not in clocks} for entry in entries]


def outcome(run) -> tuple:
    """What must be equal of two runs that differ in interruptions: all but clock and memory."""
    weights = (run.folder / "model" / "model.safetensors").read_bytes()
    predictions = (run.folder / "predictions.jsonl").read_bytes()
    finished = run.read()
    return weights, predictions, finished["metrics"], without_clock(finished["log"])


def token_ids(tokenizer, text: str, limit: int = LIMIT) -> list[int]:
    return tokenizer(text, truncation=True, max_length=limit)["input_ids"]


def token_log_probs(model, source: list[int], target: list[int]) -> torch.Tensor:
    """Log-probability of each target token of an encoder-decoder, its input shifted by hand."""
    shifted = [model.config.decoder_start_token_id, *target[:-1]]
    source, shifted, target = (
        torch.tensor([ids], device=model.device) for ids in (source, shifted, target)
    )
    logits = model(input_ids=source, decoder_input_ids=shifted).logits[0]
    return torch.log_softmax(logits, -1).gather(1, target.T)[:, 0]


def own_label(model, tokenizer, question: str, labels) -> str:
    """The model's greedy label, by transformers' `generate`."""
    prompt = token_ids(tokenizer, prompts.predict(question))
    source = torch.tensor([prompt], device=model.device)
    longest = max(len(tokenizer(label)["input_ids"]) for label in labels)
    with torch.no_grad():
        ids = model.generate(source, do_sample=False, num_beams=1, max_new_tokens=longest)
    text = tokenizer.decode(ids[0], skip_special_tokens=True).strip()
    return next((label for label in labels if label.lower() == text.lower()), text)


def mean_label_loss(model, tokenizer, records) -> torch.Tensor:
    """Minus the mean log-probability of all label tokens."""
    parts = [
        token_log_probs(
            model, token_ids(tokenizer, f"predict: {r.question}"), token_ids(tokenizer, r.label)
        )
        for r in records
    ]
    return -torch.cat(parts).mean()


def mean_rationale_loss(model, tokenizer, records, explain_prompts) -> torch.Tensor:
    """Minus the mean log-probability of all rationale tokens."""
    parts = [
        token_log_probs(
            model,
            token_ids(tokenizer, prompt),
            token_ids(tokenizer, record.rationale, RATIONALE_LIMIT),
        )
        for record, prompt in zip(records, explain_prompts, strict=True)
    ]
    return -torch.cat(parts).mean()


def adamw_steps(model, loss_of, lr: float, steps: int) -> list[float]:
    """AdamW, clipped at norm 1, at a learning rate that falls to zero, as in the paper; losses."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=lr, weight_decay=0.01)
    losses = []
    for step in range(steps):
        loss = loss_of(model)
        optimiser.zero_grad()
        loss.backward()
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients))
        for gradient in gradients:
            gradient *= min(1.0, 1.0 / (norm + 1e-6).item())
        optimiser.param_groups[0]["lr"] = lr * (1 - step / steps)
        optimiser.step()
        losses.append(loss.item())
    return losses
