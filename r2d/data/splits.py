"""Records cut into seeded, stratified splits by content."""

import random
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter

from r2d.data.record import Record, content_key
from r2d.errors import R2DError

SPLITS = ("train", "validation", "test")
Splits = dict[str, list[Record]]


def cut(
    records: Sequence[Record],
    sizes: dict[str, float | None],
    seed: int,
    context_mark: str | None = None,
) -> Splits:
    """Cut records into seeded, stratified splits in the order of `sizes`.

    Equal questions stay together. A size below 1 is a share of the records, None takes what is
    left; a split may fall short of its size by less than the largest group of equal questions.
    Raises `R2DError` when too few are left.
    """
    groups = _stratified(records, seed, context_mark)
    splits = {}
    for split, size in sizes.items():
        left = sum(map(len, groups))
        number = left if size is None else _number(size, len(records))
        if number > left:
            raise R2DError(
                f"{number} records are wanted for {split} but {left} are left; lower `{split}`."
            )
        splits[split], groups = _take(groups, number)
    return splits


def _number(size: float, available: int) -> int:
    return max(1, round(size * available)) if 0 < size < 1 else int(size)


def _take(groups: list[list[Record]], number: int) -> tuple[list[Record], list[list[Record]]]:
    """At most `number` records of whole groups, and the groups that are left."""
    taken: list[Record] = []
    left = []
    for group in groups:
        if len(taken) + len(group) <= number:
            taken += group
        else:
            left.append(group)
    return taken, left


def _stratified(
    records: Sequence[Record], seed: int, context_mark: str | None
) -> list[list[Record]]:
    """Groups of equal questions in a seeded order, each stretch with the labels' proportion."""
    groups: dict[bytes, list[Record]] = {}
    for record in records:
        groups.setdefault(content_key(record.question, context_mark), []).append(record)
    shuffled = list(groups.values())
    random.Random(seed).shuffle(shuffled)
    total = Counter(group[0].label for group in shuffled)
    seen: Counter = Counter()
    ranked = []
    for group in shuffled:
        label = group[0].label
        ranked.append(((seen[label] + 0.5) / total[label], group))
        seen[label] += 1
    return [group for _, group in sorted(ranked, key=itemgetter(0))]
