"""Which examples a step takes, and their token ids, each text tokenised once."""

from array import array
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from r2d.data.record import Record
from r2d.method import prompts
from r2d.method.loss import Task
from r2d.method.objective import Objective
from r2d.models.decode import Decoder

RECENT = 4096  # prompts with a sampled label that are kept


def batch_order(seed: int, size: int, step: int, batch: int) -> list[int]:
    """Example indices of one optimiser step: consecutive parts of a fresh permutation an epoch."""
    permutations: dict[int, Tensor] = {}
    chosen = []
    for position in range(step * batch, (step + 1) * batch):
        epoch, offset = divmod(position, size)
        if epoch not in permutations:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            permutations[epoch] = torch.randperm(size, generator=generator)
        chosen.append(int(permutations[epoch][offset]))
    return chosen


class TokenCache:
    """Token ids of the prompts and targets of a run's records, tokenised when they are added.

    Other prompts, such as those that carry a sampled label, are tokenised when they are asked for.
    Rationales are cut at their limit, end token kept.
    """

    def __init__(self, decoder: Decoder):
        self.decoder = decoder
        self._sources: dict[str, array] = {}
        self._recent: dict[str, array] = {}  # prompts with a sampled label, of the last steps
        self._targets: dict[Task, dict[str, array]] = {"label": {}, "rationale": {}}

    def add(self, records: Iterable[Record], objective: Objective) -> None:
        """Tokenise what `objective` trains of `records`: both prompts under the gold label, targets."""
        records = list(records)
        texts = [prompts.predict(r.text) for r in records]
        texts += [objective.explain_prompt(r.text, r.label) for r in records]
        self._sources |= zip(texts, self.decoder.encode(texts), strict=True)
        labels = list(dict.fromkeys(r.label for r in records))
        self._targets["label"] |= zip(labels, self.decoder.targets(labels), strict=True)
        rationales = [r.rationale for r in records]
        ids = self.decoder.targets(rationales, self.decoder.max_rationale)
        self._targets["rationale"] |= zip(rationales, ids, strict=True)

    def sources(self, texts: Sequence[str]) -> list[array]:
        """Token ids of prompts, cut at the input limit."""
        new = [text for text in texts if text not in self._sources and text not in self._recent]
        if len(self._recent) > RECENT:
            self._recent.clear()
            new = [text for text in texts if text not in self._sources]
        self._recent |= zip(new, self.decoder.encode(new), strict=True)
        return [self._sources.get(text) or self._recent[text] for text in texts]

    def targets(self, task: Task, texts: Sequence[str]) -> list[array]:
        """Token ids of targets that were added, end token included; none of an empty text."""
        return [self._targets[task][text] for text in texts]

    def count(self, task: Task, texts: Iterable[str]) -> int:
        """How many tokens these targets have."""
        return sum(len(self._targets[task][text]) for text in texts)
