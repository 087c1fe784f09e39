"""What the trainer reads: a split tokenised once, and which of its examples each step takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from r2d import prompts
from r2d.backbone import Rows
from r2d.data import Record
from r2d.decode import Decoder
from r2d.objective import Objective


@dataclass
class Encoded:
    """A split tokenised once: ids of both prompts (gold label in the second, if the objective names one) and of targets.

    A record without a rationale has no tokens there, and so no part in that loss.
    """

    records: Sequence[Record]
    predict: Rows
    explain: Rows
    label: Rows
    rationale: Rows


def encode(records: Sequence[Record], decoder: Decoder, goal: Objective) -> Encoded:
    """Tokenise every prompt and target of `records`; rationales are cut at their limit, end token kept.

    A method that only explains takes the records that have a rationale.
    """
    given = goal.rationale_prompt == "given label"
    if not goal.decides:
        records = [r for r in records if r.rationale]
    return Encoded(
        records,
        decoder.encode(prompts.predict(r.text) for r in records),
        decoder.encode(prompts.explain(r.text, r.label if given else None) for r in records),
        decoder.targets(r.label for r in records),
        decoder.targets((r.rationale for r in records), decoder.max_rationale),
    )


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
