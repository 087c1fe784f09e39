"""Decoding: a label from the predict prompt, then a rationale from the explain prompt that carries *that* label."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from r2d import prompts
from r2d.data import Record, canonical
from r2d.objective import IGNORE, Objective


def pad(rows: Sequence[Sequence[int]], value: int, device) -> Tensor:
    """Right-pad id lists to one (rows, longest) tensor."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(r) for r in rows], True, value).to(device)


def by_length(rows: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Index batches of rows of like length, longest first."""
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    yield from (order[i : i + size] for i in range(0, len(order), size))


@torch.no_grad()
def greedy(model: nn.Module, ids: Tensor, mask: Tensor, max_new: int) -> Tensor:
    """Greedy continuation ids, shape (batch, <= max_new), padded after the end token; equals `generate` without beams.

    Written out because stage 2 calls it at every step, where `generate`'s own set-up costs as much as the decoding.
    """
    config = model.config
    encoded = model.get_encoder()(input_ids=ids, attention_mask=mask)
    token = torch.full((len(ids), 1), config.decoder_start_token_id, device=ids.device)
    done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    out, past = [], None
    for _ in range(max_new):
        step = model(
            encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=token, past_key_values=past, use_cache=True
        )  # fmt: skip
        past = step.past_key_values
        chosen = step.logits[:, -1].argmax(-1).masked_fill(done, config.pad_token_id)
        out.append(chosen)
        done |= chosen == config.eos_token_id
        if done.all():
            break
        token = chosen[:, None]
    return torch.stack(out, 1)


def generate(model: nn.Module, tokenizer, rows: Sequence[Sequence[int]], max_new: int, size: int) -> list[str]:
    """Greedy texts for tokenised prompts, in their order; the model's mode is left as it was found."""
    texts = [""] * len(rows)
    device = next(model.parameters()).device
    for batch in by_length(rows, size):
        ids = pad([rows[i] for i in batch], tokenizer.pad_token_id, device)
        found = greedy(model, ids, ids.ne(tokenizer.pad_token_id).long(), max_new)
        for i, text in zip(batch, tokenizer.batch_decode(found, skip_special_tokens=True), strict=True):
            texts[i] = text.strip()
    return texts


@torch.no_grad()
def score(model: nn.Module, tokenizer, rows: Sequence[Sequence[int]], labels: Sequence[str], size: int) -> Tensor:
    """Exact log-probability of every label text (end token included) given each prompt, shape (rows, labels)."""
    device = next(model.parameters()).device
    targets = pad(tokenizer(list(labels))["input_ids"], IGNORE, device)
    result = torch.empty(len(rows), len(labels))
    for batch in by_length(rows, max(1, size // len(labels))):
        ids = pad([rows[i] for i in batch], tokenizer.pad_token_id, device)
        mask = ids.ne(tokenizer.pad_token_id).long()
        encoded = model.get_encoder()(input_ids=ids, attention_mask=mask)
        encoded.last_hidden_state = encoded.last_hidden_state.repeat_interleave(len(labels), 0)
        wide = targets.repeat(len(batch), 1)
        logits = model(
            encoder_outputs=encoded, attention_mask=mask.repeat_interleave(len(labels), 0), labels=wide
        ).logits.float()  # fmt: skip
        tokens = -torch.nn.functional.cross_entropy(logits.transpose(1, 2), wide, ignore_index=IGNORE, reduction="none")
        result[batch] = tokens.sum(1).view(len(batch), len(labels)).cpu()
    return result


class Decoder:
    """A model with its tokenizer, label set and limits: everything that turns records into predictions."""

    def __init__(self, model: nn.Module, tokenizer, labels: Sequence[str], limits: tuple[int, int], batch: int = 64):
        self.model, self.tokenizer, self.labels, self.batch = model, tokenizer, tuple(labels), batch
        self.max_input, self.max_rationale = limits
        self.max_label = max(len(ids) for ids in tokenizer(list(labels))["input_ids"])

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        """Token ids of prompts, cut at the one input limit, end token kept."""
        rows = list(texts)  # none at all stops some tokenizers
        return self.tokenizer(rows, truncation=True, max_length=self.max_input)["input_ids"] if rows else []

    def label_texts(self, rows: Sequence[Sequence[int]], how: str = "generate") -> list[str]:
        """Label texts for tokenised predict prompts: generated freely (the paper's way) or the best of the label set."""
        if how == "generate":
            return generate(self.model, self.tokenizer, rows, self.max_label, self.batch)
        best = score(self.model, self.tokenizer, rows, self.labels, self.batch).argmax(1)
        return [self.labels[i] for i in best]

    def rationales(self, prompted: Sequence[str]) -> list[str]:
        """Greedy rationales of explain prompts."""
        return generate(self.model, self.tokenizer, self.encode(prompted), self.max_rationale, self.batch)

    def predict(self, records: Sequence[Record], objective: Objective, how: str = "generate") -> list[dict]:
        """Predictions of `records` as dicts; a label outside the set is kept as written, with `valid` False.

        With rationales: also the rationale under the gold label (exposure bias, where the prompt names a label) and the
        label predicted from the rationale alone (consistency and sufficiency, Reason2Decide-C).
        """
        self.model.eval()
        raw = self.label_texts(self.encode(prompts.predict(r.question) for r in records), how)
        rows = [row(record, text, self.labels) for record, text in zip(records, raw, strict=True)]
        if objective.explains:
            self._explain(records, rows, objective.rationale_prompt == "given label", how)
        return rows

    def _explain(self, records: Sequence[Record], rows: list[dict], given: bool, how: str) -> None:
        asked = [prompts.explain(r.question, row["label"] if given else None) for r, row in zip(records, rows, strict=True)]
        written = self.rationales(asked)
        under_gold = list(written)
        wrong = [i for i, (r, row) in enumerate(zip(records, rows, strict=True)) if given and row["label"] != r.label]
        redone = self.rationales([prompts.explain(records[i].question, records[i].label) for i in wrong])
        for i, text in zip(wrong, redone, strict=True):
            under_gold[i] = text
        again = self.label_texts(self.encode(prompts.predict(text) for text in written), how)
        for row, text, gold_text, label in zip(rows, written, under_gold, again, strict=True):
            row |= {"rationale": text, "label_from_rationale": canonical(label, self.labels) or label}
            if given:
                row["rationale_given_gold"] = gold_text


def row(record: Record, text: str, labels: Sequence[str]) -> dict:
    """A prediction of `record` from a label text, without a rationale yet."""
    label = canonical(text, labels)
    return {
        "id": record.id,
        "gold": record.label,
        "label": label or text,
        "valid": label is not None,
        "rationale_gold": record.rationale,
        "rationale": "",
        "reason": record.reason,
    }
