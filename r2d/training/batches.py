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
    """Token ids of prompts and targets: those of a run's records are tokenised once, when added.

    Others, such as prompts that carry a sampled label, are tokenised when they are asked for.
    """

    def __init__(self, decoder: Decoder):
        self.decoder = decoder
        self._sources: dict[str, array] = {}
        self._recent: dict[str, array] = {}  # prompts with a sampled label, of the last steps
        self._targets: dict[Task, dict[str, array]] = {"label": {}, "rationale": {}}

    def add(self, records: Iterable[Record], objective: Objective) -> None:
        """Tokenise what `objective` trains: both prompts under the gold label, and the targets."""
        records = list(records)
        texts = [prompts.predict(r.text) for r in records]
        texts += [objective.explain_prompt(r.text, r.label) for r in records]
        self._sources |= zip(texts, self.decoder.encode(texts), strict=True)
        self._add_targets("label", (r.label for r in records))
        self._add_targets("rationale", (r.rationale for r in records))

    def sources(self, texts: Sequence[str]) -> list[array]:
        """Token ids of prompts, cut at the input limit."""
        new = [text for text in texts if text not in self._sources and text not in self._recent]
        if len(self._recent) > RECENT:
            self._recent.clear()
            new = [text for text in texts if text not in self._sources]
        self._recent |= zip(new, self.decoder.encode(new), strict=True)
        return [self._sources.get(text) or self._recent[text] for text in texts]

    def targets(self, task: Task, texts: Sequence[str]) -> list[array]:
        """Token ids of targets, end token included, rationales cut at their limit; "" has none."""
        known = self._targets[task]
        self._add_targets(task, [text for text in texts if text not in known])
        return [known[text] for text in texts]

    def counts(self, cases: Sequence[Record]) -> dict[Task, int]:
        """How many target tokens the cases have in each task, at least 1."""
        targets = {
            "label": self.targets("label", [case.label for case in cases]),
            "rationale": self.targets("rationale", [case.rationale for case in cases]),
        }
        return {task: max(1, sum(map(len, rows))) for task, rows in targets.items()}

    def _add_targets(self, task: Task, texts: Iterable[str]) -> None:
        texts = list(dict.fromkeys(texts))
        limit = self.decoder.max_rationale if task == "rationale" else None
        self._targets[task] |= zip(texts, self.decoder.targets(texts, limit), strict=True)
