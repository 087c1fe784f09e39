"""Decoding: a label from the predict prompt, then a rationale from the explain prompt that carries *that* label."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from r2d import backbone, prompts
from r2d.backbone import Rows, Seq2Seq, pad
from r2d.data import Record, canonical
from r2d.objective import IGNORE, Objective, token_losses


def by_length(rows: Rows, size: int) -> Iterator[list[int]]:
    """Index batches of rows of like length, longest first."""
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    yield from (order[i : i + size] for i in range(0, len(order), size))


@torch.no_grad()
def greedy(net: Seq2Seq, ids: Tensor, mask: Tensor, max_new: int) -> Tensor:
    """Greedy continuation ids, shape (batch, <= max_new), padded after the end token; equals `generate` without beams.

    Written out because stage 2 calls it at every step, where `generate`'s own set-up costs as much as the decoding.
    """
    config, state, token = net.model.config, net.read(ids, mask), None
    done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    out = []
    for _ in range(max_new):
        chosen = net.step(state, token).argmax(-1).masked_fill(done, config.pad_token_id)
        out.append(chosen)
        done |= chosen == config.eos_token_id
        if done.all():
            break
        token = chosen[:, None]
    return torch.stack(out, 1)


def generate(net: Seq2Seq, rows: Rows, max_new: int, size: int) -> list[str]:
    """Greedy texts for tokenised prompts, in their order; the model's mode is left as it was found."""
    texts = [""] * len(rows)
    for batch in by_length(rows, size):
        found = greedy(net, *net.batch([rows[i] for i in batch]), max_new)
        for i, text in zip(batch, net.tokenizer.batch_decode(found, skip_special_tokens=True), strict=True):
            texts[i] = text.strip()
    return texts


@torch.no_grad()
def score(net: Seq2Seq, rows: Rows, choices: Sequence[Sequence[str]], size: int) -> Tensor:
    """Exact log-probability of every text of `choices[i]` (end token included) given prompt i, -inf where it has fewer.

    Shape (rows, most choices). Each prompt is read once; at most `size` continuations are in memory at a time.
    """
    distinct = list(dict.fromkeys(text for some in set(map(tuple, choices)) for text in some))
    targets = dict(zip(distinct, net.targets(distinct), strict=True)) if distinct else {}
    most = max(map(len, choices), default=0)
    result = torch.full((len(rows), most), -torch.inf)
    for batch in by_length(rows, max(1, size // max(1, most))):
        state = net.read(*net.batch([rows[i] for i in batch]))
        pairs = [(k, j, targets[text]) for k, i in enumerate(batch) for j, text in enumerate(choices[i])]
        for part in by_length([target for *_, target in pairs], size):
            owners, columns, ids = zip(*(pairs[n] for n in part), strict=True)
            wide = pad(ids, IGNORE, state["mask"].device)
            logits = net.after(state, torch.tensor(owners, device=wide.device), wide)
            result[[batch[k] for k in owners], columns] = -token_losses(logits, wide).sum(1).cpu()
    return result


class Decoder:
    """A model with its tokenizer, label set and limits: everything that turns records into predictions.

    `labels` is empty where each case brings its own candidates.
    """

    def __init__(self, model: nn.Module, tokenizer, labels: Sequence[str], limits: tuple[int, int], batch: int = 64):
        self.model, self.tokenizer, self.labels, self.batch = model, tokenizer, tuple(labels), batch
        self.net = backbone.kind(model.config)(model, tokenizer)
        self.max_input, self.max_rationale = limits
        self.max_label = self._longest([self.labels])

    def encode(self, texts: Iterable[str]) -> list[array]:
        """Token ids of prompts, cut at the one input limit."""
        return _compact(texts, lambda part: self.net.prompts(part, self.max_input))

    def targets(self, texts: Iterable[str], limit: int | None = None) -> list[array]:
        """Token ids of targets, cut at `limit`, end token kept; those of an empty text are none, as it is not learned."""
        texts = list(texts)
        found = iter(_compact(filter(None, texts), lambda part: self.net.targets(part, limit)))
        return [next(found) if text else array("i") for text in texts]

    def choices(self, records: Sequence[Record]) -> list[tuple[str, ...]]:
        """What each record's label is chosen from: its own candidates, or the label set."""
        return [record.candidates or self.labels for record in records]

    def label_texts(self, rows: Rows, how: str = "generate", choices: Sequence[tuple[str, ...]] | None = None) -> list[str]:
        """Label texts for tokenised predict prompts: generated freely (the paper's way) or the best of each row's `choices`.

        Without `choices` the label set is every row's.
        """
        if how == "generate":
            longest = self.max_label or self._longest(choices or ())
            return generate(self.net, rows, longest, self.batch)
        choices = choices or [self.labels] * len(rows)
        best = score(self.net, rows, choices, self.batch)
        return [some[k] for some, k in zip(choices, best.argmax(1).tolist(), strict=True)] if len(rows) else []

    def _longest(self, choices: Iterable[Sequence[str]]) -> int:
        texts = list(dict.fromkeys(text for some in choices for text in some))
        return max((len(ids) for ids in self.net.targets(texts)), default=0) if texts else 0

    def rationales(self, prompted: Sequence[str]) -> list[str]:
        """Greedy rationales of explain prompts."""
        return generate(self.net, self.encode(prompted), self.max_rationale, self.batch)

    def predict(self, records: Sequence[Record], objective: Objective, how: str = "generate") -> list[dict]:
        """Predictions of `records` as dicts, label first, then the rationale that it leads to, where the objective has one.

        A label outside the set is kept as written, with `valid` False.
        """
        self.model.eval()
        raw = self.label_texts(self.encode(prompts.predict(r.text) for r in records), how, self.choices(records))
        rows = [row(record, text, self.labels) for record, text in zip(records, raw, strict=True)]
        if objective.explains:
            given = objective.rationale_prompt == "given label"
            asked = [prompts.explain(r.text, each["label"] if given else None) for r, each in zip(records, rows, strict=True)]
            for each, text in zip(rows, self.rationales(asked), strict=True):
                each["rationale"] = text
        return rows

    def probe(self, records: Sequence[Record], rows: list[dict], objective: Objective, how: str = "generate") -> None:
        """Add to explained predictions what only measures need.

        That is the rationale under the gold label (exposure bias, where the prompt names a label) and the label predicted from
        the rationale alone (consistency and sufficiency, Reason2Decide-C).
        """
        given, written = objective.rationale_prompt == "given label", [each["rationale"] for each in rows]
        under_gold = list(written)
        wrong = [i for i, (r, each) in enumerate(zip(records, rows, strict=True)) if given and each["label"] != r.label]
        redone = self.rationales([prompts.explain(records[i].text, records[i].label) for i in wrong])
        for i, text in zip(wrong, redone, strict=True):
            under_gold[i] = text
        alone = [prompts.predict(prompts.case(text, r.candidates)) for r, text in zip(records, written, strict=True)]
        choices = self.choices(records)
        again = self.label_texts(self.encode(alone), how, choices)
        for each, gold_text, label, known in zip(rows, under_gold, again, choices, strict=True):
            each["label_from_rationale"] = canonical(label, known) or label
            if given:
                each["rationale_given_gold"] = gold_text


def row(record: Record, text: str, labels: Sequence[str]) -> dict:
    """A prediction of `record` from a label text, without a rationale yet; `labels` give way to its own candidates."""
    label = canonical(text, record.candidates or labels)
    found = {
        "id": record.id,
        "gold": record.label,
        "label": label or text,
        "valid": label is not None,
        "rationale_gold": record.rationale,
        "rationale": "",
        "reason": record.reason,
    }
    return found | ({"candidates": list(record.candidates)} if record.candidates else {})


def _compact(texts: Iterable[str], encode: Callable[[list[str]], list[list[int]]]) -> list[array]:
    """Ids of texts, tokenised a thousand at a time into arrays: a list of ints takes ten times the memory."""
    texts = iter(texts)
    return [array("i", ids) for part in iter(lambda: list(islice(texts, 1000)), []) for ids in encode(part)]
