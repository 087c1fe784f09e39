"""Decoding: a label from the predict prompt, then a rationale whose prompt carries *that* label."""

import random
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor, nn

from r2d.data.record import Record, canonical, same_label
from r2d.method import prompts
from r2d.method.loss import IGNORE, token_losses
from r2d.method.objective import Objective
from r2d.models import backbone
from r2d.models.backbone import Backbone, Rows, by_length, pad

PROBED = 360  # prompts that name each label of a case in turn: 60 cases of six labels


@torch.no_grad()
def greedy(network: Backbone, ids: Tensor, mask: Tensor, max_new: int) -> Tensor:
    """Greedy continuation ids, shape (batch, <= max_new), padded after the end token.

    Equals `generate` without beams; written out because stage 2 calls it at every step, where
    `generate`'s own set-up costs as much as the decoding.
    """
    config, state, token = network.model.config, network.read(ids, mask), None
    done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    written = []
    for _ in range(max_new):
        chosen = network.step(state, token).argmax(-1).masked_fill(done, config.pad_token_id)
        written.append(chosen)
        done |= chosen == config.eos_token_id
        if done.all():
            break
        token = chosen[:, None]
    return torch.stack(written, 1)


@torch.no_grad()
def verified(
    network: Backbone, ids: Tensor, mask: Tensor, max_new: int, drafts: Sequence[Rows]
) -> list[list[int]]:
    """The continuations of `greedy`, found by reading drafts: row i's `drafts[i]`, likeliest first.

    One pass gives the greedy token after every beginning of a draft. The draft is written as far as
    it agrees, then the token that does not; the next draft begins with both. Labels of a set take
    one or two passes so, instead of one a token. The network has to be in evaluation mode.
    """
    state, end = network.read(ids, mask), network.model.config.eos_token_id
    written: list[list[int]] = [[] for _ in drafts]
    left = list(range(len(drafts)))
    while left:
        guesses = [_draft(drafts[i], written[i], end)[:max_new] for i in left]
        owners = torch.tensor(left, device=ids.device)
        logits = network.after(state, owners, pad(guesses, IGNORE, ids.device))
        for i, guess, tokens in zip(left, guesses, logits.argmax(-1).tolist(), strict=True):
            agreed = len(written[i])
            while agreed < len(guess) and guess[agreed] == tokens[agreed]:
                agreed += 1
            written[i] = [*guess[:agreed], *tokens[agreed : len(guess)][:1]]
            if end in written[i]:
                written[i] = written[i][: written[i].index(end) + 1]
        left = [i for i in left if written[i][-1] != end and len(written[i]) < max_new]
    return written


def _draft(drafts: Rows, begun: list[int], end: int) -> list[int]:
    """The first draft that goes on from what is written, else that and the end token."""
    size = len(begun)
    longer = (list(draft) for draft in drafts if len(draft) > size)
    return next((draft for draft in longer if draft[:size] == begun), [*begun, end])


class Engine(Protocol):
    """What decodes in a network's place, with the same weights."""

    def write(self, rows: Rows, max_new: int) -> Rows:
        """Greedy continuation ids of a batch of prompts."""

    def score(self, rows: Rows, choices: Sequence[Sequence[str]], size: int) -> Tensor:
        """As the function `score`."""


def generate(
    network: Backbone, rows: Rows, max_new: int, size: int, engine: Engine | None = None
) -> list[str]:
    """Greedy texts for tokenised prompts, in their order; the model's mode is left as it is."""
    texts = [""] * len(rows)
    for batch in by_length(rows, size):
        part = [rows[i] for i in batch]
        if engine is None:
            ids = greedy(network, *network.batch(part), max_new)
        else:
            ids = engine.write(part, max_new)
        decoded = network.tokenizer.batch_decode(ids, skip_special_tokens=True)
        for i, text in zip(batch, decoded, strict=True):
            texts[i] = text.strip()
    return texts


@torch.no_grad()
def score(network: Backbone, rows: Rows, choices: Sequence[Sequence[str]], size: int) -> Tensor:
    """Exact log-probability of every text of `choices[i]` (end token included) given prompt i.

    Shape (rows, most choices), -inf where a row has fewer. Each prompt is read once; at most `size`
    continuations are in memory at a time.
    """
    distinct = list(dict.fromkeys(text for texts in set(map(tuple, choices)) for text in texts))
    targets = dict(zip(distinct, network.targets(distinct), strict=True)) if distinct else {}
    most = max(map(len, choices), default=0)
    result = torch.full((len(rows), most), -torch.inf)
    for batch in by_length(rows, max(1, size // max(1, most))):
        state = network.read(*network.batch([rows[i] for i in batch]))
        pairs = [
            (k, column, targets[text])
            for k, i in enumerate(batch)
            for column, text in enumerate(choices[i])
        ]
        for part in by_length([target for *_, target in pairs], size):
            owners, columns, ids = zip(*(pairs[n] for n in part), strict=True)
            wide = pad(ids, IGNORE, state["mask"].device)
            logits = network.after(state, torch.tensor(owners, device=wide.device), wide)
            scores = -token_losses(logits, wide).sum(1).cpu()
            result[[batch[k] for k in owners], columns] = scores
    return result


class Decoder:
    """A model with its tokenizer, label set and limits: what turns records into predictions.

    `labels` is empty where each case brings its own candidates, and for open labels, which are
    written up to `open_limit` tokens; `limits` are token limits (input, rationale). The network
    decodes, unless an `engine` is set.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer,
        labels: Sequence[str],
        limits: tuple[int, int],
        batch: int = 64,
        open_limit: int = 64,
    ):
        self.model, self.tokenizer, self.labels = model, tokenizer, tuple(labels)
        self.batch = batch
        self.engine: Engine | None = None
        self.network = backbone.backbone_class(model.config)(model, tokenizer)
        self.max_input, self.max_rationale = limits
        self.max_label, self.open_limit = self._longest([self.labels]), open_limit

    def encode(self, texts: Iterable[str]) -> list[array]:
        """Token ids of prompts, cut at the one input limit."""
        return _compact(texts, lambda part: self.network.prompts(part, self.max_input))

    def targets(self, texts: Iterable[str], limit: int | None = None) -> list[array]:
        """Token ids of targets, cut at `limit`, end token kept; an empty text has none."""
        texts = list(texts)
        ids = _compact(filter(None, texts), lambda part: self.network.targets(part, limit))
        left = iter(ids)
        return [next(left) if text else array("i") for text in texts]

    def choices(self, records: Sequence[Record]) -> list[tuple[str, ...]]:
        """What each record's label is chosen from: its own candidates, or the label set.

        Nothing for open labels.
        """
        return [record.candidates or self.labels for record in records]

    def label_texts(
        self,
        rows: Rows,
        how: str = "generate",
        choices: Sequence[tuple[str, ...]] | None = None,
    ) -> list[str]:
        """Label texts for tokenised predict prompts.

        They are generated freely (the paper's way) or (`how="score"`) the best of each row's
        `choices`, by default the label set.
        """
        if how == "generate":
            longest = self.max_label or self._longest(choices or ()) or self.open_limit
            return self._generate(rows, longest)
        choices = choices or [self.labels] * len(rows)
        best = self.score(rows, choices)
        if not len(rows):
            return []
        return [texts[k] for texts, k in zip(choices, best.argmax(1).tolist(), strict=True)]

    def score(self, rows: Rows, choices: Sequence[Sequence[str]]) -> Tensor:
        """Exact log-probability of every text of `choices[i]` after prompt i, as `score`."""
        if self.engine is None:
            return score(self.network, rows, choices, self.batch)
        return self.engine.score(rows, choices, self.batch)

    def rationales(self, prompted: Sequence[str]) -> list[str]:
        """Greedy rationales of explain prompts."""
        return self._generate(self.encode(prompted), self.max_rationale)

    def predict(
        self, records: Sequence[Record], objective: Objective, how: str = "generate"
    ) -> list[dict]:
        """Predictions of `records`: labels first, then the rationales that they lead to.

        A label outside the set is kept as written, with `valid` False.
        """
        self.model.eval()
        rows = self.encode(prompts.predict(record.text) for record in records)
        texts = self.label_texts(rows, how, self.choices(records))
        predictions = [
            prediction(record, text, self.labels)
            for record, text in zip(records, texts, strict=True)
        ]
        if objective.explains:
            asked = [
                objective.explain_prompt(record.text, each["label"])
                for record, each in zip(records, predictions, strict=True)
            ]
            for each, text in zip(predictions, self.rationales(asked), strict=True):
                each["rationale"] = text
        return predictions

    def probe(
        self,
        records: Sequence[Record],
        predictions: list[dict],
        objective: Objective,
        how: str = "generate",
    ) -> None:
        """Add to explained predictions what only measures need.

        That is, where the prompt names a label, the rationale under the gold one (exposure bias)
        and, for as many cases as `PROBED` prompts allow, under each label; and the label predicted
        from the rationale alone (consistency and sufficiency, Reason2Decide-C).
        """
        if objective.names_label:
            self._add_rationales_given_gold(records, predictions)
            self._add_rationales_under_each_label(records, predictions)
        alone = [
            prompts.predict(prompts.case(each["rationale"], record.candidates))
            for record, each in zip(records, predictions, strict=True)
        ]
        choices = self.choices(records)
        labels = self.label_texts(self.encode(alone), how, choices)
        for each, label, known in zip(predictions, labels, choices, strict=True):
            each["label_from_rationale"] = canonical(label, known) or label

    def _add_rationales_given_gold(
        self, records: Sequence[Record], predictions: list[dict]
    ) -> None:
        """Where the decision was right the prompt, and so the rationale, is the same."""
        for each in predictions:
            each["rationale_given_gold"] = each["rationale"]
        wrong = [
            (record, each)
            for record, each in zip(records, predictions, strict=True)
            if not same_label(each["label"], record.label)
        ]
        texts = self.rationales([prompts.explain(r.text, r.label) for r, _ in wrong])
        for (_, each), text in zip(wrong, texts, strict=True):
            each["rationale_given_gold"] = text

    def _add_rationales_under_each_label(
        self, records: Sequence[Record], predictions: list[dict]
    ) -> None:
        """Of the same cases for every model of a dataset; open labels have no others to try."""
        choices = self.choices(records)
        most = max(map(len, choices), default=0)
        if not most:
            return
        cases = min(len(records), max(1, PROBED // most))
        probed = sorted(random.Random(0).sample(range(len(records)), cases))
        for i in probed:
            own = {predictions[i]["label"]: predictions[i]["rationale"]}
            predictions[i]["rationale_under"] = {label: own.get(label) for label in choices[i]}
        asked = [
            (i, label)
            for i in probed
            for label, text in predictions[i]["rationale_under"].items()
            if text is None
        ]
        texts = self.rationales([prompts.explain(records[i].text, label) for i, label in asked])
        for (i, label), text in zip(asked, texts, strict=True):
            predictions[i]["rationale_under"][label] = text

    def label_fault(self, records: Sequence[Record]) -> tuple[int, str] | None:
        """The first record whose label this model can never write, and why; None without one."""
        texts = sorted({record.label for record in records})
        ids = dict(zip(texts, self.targets(texts), strict=True))
        read_back = {
            text: self.tokenizer.decode(list(row), skip_special_tokens=True)
            for text, row in ids.items()
        }
        for i, (record, known) in enumerate(zip(records, self.choices(records), strict=True)):
            label = record.label
            if canonical(read_back[label], known or (label,)) != label:
                return i, (
                    "its label is lost in the tokenizer, which has a control token for it "
                    "(`</s>` is one) or lacks a sign of it; write it otherwise"
                )
            if not known and len(ids[label]) > self.open_limit:
                return i, (
                    f"its label has {len(ids[label])} tokens; raise `max_label_tokens` from "
                    f"{self.open_limit}"
                )
        return None

    def _generate(self, rows: Rows, max_new: int) -> list[str]:
        return generate(self.network, rows, max_new, self.batch, self.engine)

    def _longest(self, choices: Iterable[Sequence[str]]) -> int:
        texts = list(dict.fromkeys(text for options in choices for text in options))
        return max((len(ids) for ids in self.network.targets(texts)), default=0) if texts else 0


def prediction(record: Record, text: str, labels: Sequence[str]) -> dict:
    """A prediction of `record` from a label text, without a rationale yet.

    `labels` give way to the record's own candidates; without either, any text is a label.
    """
    choices = record.candidates or labels
    label = canonical(text, choices) if choices else text
    row = {
        "id": record.id,
        "gold": record.label,
        "label": label or text,
        "valid": bool(label),
        "rationale_gold": record.rationale,
        "rationale": "",
        "reason": record.reason,
        "kind": record.kind,
        "facts": record.facts,
    }
    if record.candidates:
        row["candidates"] = list(record.candidates)
    return row


def _compact(texts: Iterable[str], encode: Callable[[list[str]], list[list[int]]]) -> list[array]:
    """Ids of texts, a thousand at a time, as arrays: a list of ints takes ten times the memory."""
    texts = iter(texts)
    ids = []
    while part := list(islice(texts, 1000)):
        ids += [array("i", row) for row in encode(part)]
    return ids
