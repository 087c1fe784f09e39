"""A dataset: checked records in splits that share no question."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter

from r2d.data.record import FIELDS, Record, content_key, positions
from r2d.data.splits import SPLITS, Splits
from r2d.errors import R2DError


@dataclass(frozen=True)
class Dataset:
    """Checked records by split; `labels` is the fixed label order, `dropped` the rows left out.

    Where each case brings its own candidates, and where labels are open (any text), there is no
    fixed label set: `labels` is empty.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    splits: Splits
    source: str
    synthetic: bool
    dropped: int = 0

    @property
    def train(self) -> list[Record]:
        """Records to learn from."""
        return self.splits["train"]

    @property
    def validation(self) -> list[Record]:
        """Records that choose the checkpoint."""
        return self.splits["validation"]

    @property
    def test(self) -> list[Record]:
        """Records that are measured."""
        return self.splits["test"]

    @property
    def has_open_labels(self) -> bool:
        """Whether a label may be any text."""
        return not self.categories

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The fixed class list of the measures: the labels, or the positions of the candidates.

        Open labels have none.
        """
        if self.labels:
            return self.labels
        return positions(r.candidates for records in self.splits.values() for r in records)

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with any label, record, order or split."""
        digest = hashlib.sha256(json.dumps(self.labels).encode())
        for split in SPLITS:
            digest.update(f"\n{split}\n".encode())
            for record in self.splits[split]:
                digest.update(json.dumps(attrgetter(*FIELDS)(record)).encode())
        return digest.hexdigest()[:12]


def check(dataset: Dataset, context_mark: str | None = None) -> None:
    """Raise `R2DError` for an empty split, a strange label, or a question in two splits."""
    split_of: dict[bytes, str] = {}
    known = set(dataset.labels)
    for split, records in dataset.splits.items():
        if not records:
            raise R2DError(
                f"Dataset {dataset.name}: {split} has no records; give more data or smaller other "
                "splits."
            )
        for position, record in enumerate(records, 1):
            where = f"Dataset {dataset.name}, record {position} of {split}"
            if not dataset.has_open_labels and record.label not in (record.candidates or known):
                raise R2DError(
                    f"{where}: its label is not in the label set; load it through `r2d.data.load`."
                )
            other = split_of.setdefault(content_key(record.question, context_mark), split)
            if other != split:
                raise R2DError(
                    f"{where}: its question is also in {other}; remove it from one of them."
                )
