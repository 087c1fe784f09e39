"""A model without a network: its likelihood of a text is a number made from that text."""

import zlib
from dataclasses import dataclass

import torch

STEPS = 100  # of which W = 5 and M = 60
TOKENS = {"label": 7, "rationale": 31}


@dataclass(frozen=True)
class Note:
    text: str
    label: str
    rationale: str
    own: str  # the label that the model would give


NOTES = [
    Note("chest pain", "Call 911", "pain since an hour", own="Home care"),
    Note("rash", "Home care", "a rash alone", own="Home care"),
    Note("fever", "See a doctor", "", own="Call 911"),
    Note("cut finger", "Home care", "bleeding stopped", own="no label at all"),
    Note("stiff neck", "Call 911", "fever and a stiff neck", own="See a doctor"),
]


def cost(task: str, source: str, target: str) -> float:
    """The stand-in's summed negative log-likelihood of a target after its prompt."""
    return zlib.crc32(f"{task}|{source}|{target}".encode()) / 2**32


class StandIn:
    """A model that keeps what it is asked, and takes `size` examples at a time, last ones first."""

    def __init__(self, size: int = len(NOTES)):
        self.size = size
        self.asked = []

    def decide(self, cases, train_mode):
        self.asked.append(("decide", [case.text for case in cases], train_mode))
        return [case.own for case in cases]

    def nll(self, task, sources, targets):
        self.asked.append((task, list(sources), list(targets)))
        costs = [cost(task, s, t) for s, t in zip(sources, targets, strict=True)]
        return torch.tensor(costs, dtype=torch.double).sum()

    def micro_batches(self, sources, targets):
        assert len(sources) == len(targets)
        order = list(range(len(sources)))[::-1]
        return [order[k : k + self.size] for k in range(0, len(order), self.size)]

    def questions(self, task):
        """The (prompt, target) pairs of one task."""
        pairs = []
        for name, sources, targets in self.asked:
            if name == task:
                pairs += zip(sources, targets, strict=True)
        return pairs
