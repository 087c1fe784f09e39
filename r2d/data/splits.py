"""Records cut into seeded, stratified splits by content."""

import random
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter

from r2d.data.record import Record, Splits, content_key
from r2d.errors import R2DError


def cut(
    records: Sequence[Record],
    wanted: dict[str, float | None],
    seed: int,
    context_mark: str | None = None,
) -> Splits:
    """Cut records into seeded, stratified splits in the order of `wanted`; equal questions stay together.

    A size below 1 is a share of the records, None takes what is left; a split may fall short of its size by less than
    the largest group of equal questions. Raises `R2DError` when too few are left.
    """
    groups = _stratified(records, seed, context_mark)
    splits = {}
    for split, size in wanted.items():
        available = sum(map(len, groups))
        number = (
            available
            if size is None
            else max(1, round(size * len(records)))
            if 0 < size < 1
            else int(size)
        )
        if number > available:
            raise R2DError(
                f"{number} records are wanted for {split} but {available} are left; lower `{split}`."
            )
        taken: list[Record] = []
        left = []
        for group in groups:
            if len(taken) + len(group) <= number:
                taken += group
            else:
                left.append(group)
        splits[split], groups = taken, left
    return splits


def _stratified(
    records: Sequence[Record], seed: int, context_mark: str | None
) -> list[list[Record]]:
    """Groups of equal questions in a seeded order, of which every stretch has the labels in their proportion."""
    groups: dict[bytes, list[Record]] = {}
    for record in records:
        groups.setdefault(content_key(record.question, context_mark), []).append(record)
    shuffled = list(groups.values())
    random.Random(seed).shuffle(shuffled)
    total, seen = Counter(group[0].label for group in shuffled), Counter()
    ranked = []
    for group in shuffled:
        label = group[0].label
        ranked.append(((seen[label] + 0.5) / total[label], group))
        seen[label] += 1
    return [group for _, group in sorted(ranked, key=itemgetter(0))]
