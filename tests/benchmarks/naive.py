"""The straightforward implementation: what one writes first, with transformers and torch alone.

The whole batch is generated greedily at every sampled step, texts are tokenised where they are
needed, batches are padded as they come, and cases are decoded unsorted in two passes of `generate`.
Data order, coins, prompts and formulas are the method's, so losses and texts must be equal.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from r2d.data.record import Record
from r2d.method import prompts, schedules
from r2d.training.batches import batch_order

IGNORE = -100


class Naive:
    """A T5 with its tokenizer; limits are in tokens."""

    def __init__(self, model: nn.Module, tokenizer, labels: Sequence[str], limits: tuple[int, int]):
        self.model, self.tokenizer, self.labels = model, tokenizer, labels
        self.max_input, self.max_rationale = limits
        self.max_label = max(len(tokenizer(label)["input_ids"]) for label in labels)

    def read(self, texts: list[str], limit: int):
        """Padded ids and mask."""
        return self.tokenizer(
            texts, padding=True, truncation=True, max_length=limit, return_tensors="pt"
        )

    def loss(self, sources: list[str], targets: list[str], limit: int) -> Tensor:
        """Mean cross-entropy over the targets' tokens."""
        source, target = self.read(sources, self.max_input), self.read(targets, limit)
        labels = target["input_ids"].masked_fill(target["attention_mask"] == 0, IGNORE)
        return self.model(**source, labels=labels).loss

    @torch.no_grad()
    def write(self, sources: list[str], limit: int) -> tuple[list[str], list[int]]:
        """Greedy texts, and how many tokens each has, its end included."""
        source = self.read(sources, self.max_input)
        ids = self.model.generate(**source, do_sample=False, num_beams=1, max_new_tokens=limit)
        texts = [
            text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        ]
        ended = ids[:, 1:].eq(self.tokenizer.eos_token_id)  # after the start token
        lengths = torch.where(ended.any(1), ended.int().argmax(1) + 1, ids.shape[1] - 1)
        return texts, lengths.tolist()

    def decide(self, records: Sequence[Record]) -> tuple[list[str], list[int]]:
        """The model's own labels, in the label set's spelling where they are in it."""
        spelt = {label.casefold(): label for label in self.labels}
        sources = [prompts.predict(record.question) for record in records]
        texts, lengths = self.write(sources, self.max_label)
        return [spelt.get(text.casefold(), text) for text in texts], lengths

    def predict(self, records: Sequence[Record], batch: int) -> list[dict]:
        """Labels of all records, then their rationales; with the number of tokens written."""
        self.model.eval()
        parts = [records[i : i + batch] for i in range(0, len(records), batch)]
        labels, label_tokens = _joined(self.decide(part) for part in parts)
        asked = [
            prompts.explain(record.question, label)
            for record, label in zip(records, labels, strict=True)
        ]
        parts = [asked[i : i + batch] for i in range(0, len(asked), batch)]
        rationales, rationale_tokens = _joined(
            self.write(part, self.max_rationale) for part in parts
        )
        names = ("label", "rationale", "label_tokens", "rationale_tokens")
        rows = zip(labels, rationales, label_tokens, rationale_tokens, strict=True)
        return [dict(zip(names, row, strict=True)) for row in rows]


class NaiveTraining:
    """Steps of AdamW on a `Naive` model: of SFT, or with `probability` of Reason2Decide's stage 2.

    `label_weight` is a, `probability` p; learning rate and clipping as in the paper.
    """

    def __init__(self, naive: Naive, records: Sequence[Record], batch: int, lr: float, steps: int):
        self.naive, self.records, self.batch = naive, records, batch
        self.lr, self.steps = lr, steps
        self.optimiser = torch.optim.AdamW(naive.model.parameters(), lr=lr, weight_decay=0.0)

    def step(self, step: int, seed: int, label_weight: float, probability: float) -> dict:
        """One optimiser step: its loss, and what was prompted and written."""
        order = batch_order(seed, len(self.records), step, self.batch)
        records = [self.records[i] for i in order]
        sampled, prompted, written = [False] * len(records), [r.label for r in records], []
        if probability:
            self.naive.model.eval()
            own, written = self.naive.decide(records)
            sampled = (schedules.coins(seed, step, len(records)) < probability).tolist()
            triples = zip(own, records, sampled, strict=True)
            prompted = [label if asked else record.label for label, record, asked in triples]
        self.naive.model.train()
        loss = self._loss(records, prompted, label_weight)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.naive.model.parameters(), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr * (1 - step / self.steps)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return {
            "loss": loss.item(),
            "records": records,
            "sampled": sampled,
            "prompted": prompted,
            "written": written,
        }

    def _loss(self, records: list[Record], prompted: list[str], label_weight: float) -> Tensor:
        naive = self.naive
        predict = [prompts.predict(record.question) for record in records]
        label_loss = naive.loss(predict, [record.label for record in records], naive.max_label)
        if label_weight == 1:
            return label_loss
        explain = [
            prompts.explain(record.question, label)
            for record, label in zip(records, prompted, strict=True)
        ]
        rationales = [record.rationale for record in records]
        rationale_loss = naive.loss(explain, rationales, naive.max_rationale)
        return label_weight * label_loss + (1 - label_weight) * rationale_loss


def _joined(parts) -> tuple[list[str], list[int]]:
    """The texts and the lengths of all parts."""
    texts, lengths = [], []
    for part_texts, part_lengths in parts:
        texts += part_texts
        lengths += part_lengths
    return texts, lengths
