"""One record schema: raw rows become checked records, and records are cut into splits by content."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import Any

from r2d.data import tables
from r2d.errors import R2DError
from r2d.method import prompts


@dataclass(frozen=True, slots=True)
class Record:
    """One case: its input text, canonical label and rationale ("" where a row may lack one).

    `reason` is the synthetic generator's true reason; `candidates` are the case's own options, of which `label` is one.
    """

    id: str
    question: str
    label: str
    rationale: str
    rationale_nurse: str = ""
    rationale_nurse_post: str = ""
    rationale_llm: str = ""
    reason: str = ""
    candidates: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What stands for the question in a prompt."""
        return prompts.case(self.question, self.candidates)

    @property
    def category(self) -> str:
        """The class that measures count it under."""
        return category(self.label, self.candidates)


FIELDS = tuple(each.name for each in fields(Record))
TEXTS = FIELDS[:-1]
MOST_CANDIDATES = 50
SPLITS = ("train", "validation", "test")
Splits = dict[str, list[Record]]


@dataclass(frozen=True)
class Dataset:
    """Checked records by split; `labels` is the fixed label order, `dropped` the number of rows left out.

    Where each case brings its own candidates there is no fixed label set: `labels` is empty.
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

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The fixed class list of the measures: the labels, or the positions of the candidates."""
        return self.labels or positions(
            r.candidates for records in self.splits.values() for r in records
        )

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with any label, record, order or split."""
        digest = hashlib.sha256(json.dumps(self.labels).encode())
        for split in SPLITS:
            digest.update(f"\n{split}\n".encode())
            for record in self.splits[split]:
                digest.update(json.dumps(attrgetter(*FIELDS)(record)).encode())
        return digest.hexdigest()[:12]


def canonical(label: str, labels: Sequence[str]) -> str | None:
    """The member of `labels` that equals `label` but for case and outer blanks, or None."""
    return _folded(tuple(labels)).get(label.strip().casefold())


@lru_cache(maxsize=64)
def _folded(labels: tuple[str, ...]) -> dict[str, str]:
    return {known.strip().casefold(): known for known in reversed(labels)}


def category(label: str, candidates: Sequence[str]) -> str:
    """The class of a label: itself or, among a case's own candidates, its position; outside them it stays as it is."""
    return f"option {candidates.index(label) + 1}" if label in candidates else label


def positions(candidates: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The names of as many positions as the longest of `candidates` has."""
    return tuple(f"option {k}" for k in range(1, max(map(len, candidates), default=0) + 1))


def content_key(question: str, context_mark: str | None = None) -> bytes:
    """Equal for questions that differ only in case, blanks or, from `context_mark` on, in their context."""
    if context_mark:
        question = question.split(context_mark)[0]
    return hashlib.blake2b(" ".join(question.casefold().split()).encode(), digest_size=12).digest()


def as_text(value: Any) -> str | None:
    """A cell as stripped text: empty for null and NaN, None for lists and objects."""
    if value is None or value != value:
        return ""
    if isinstance(value, list | dict | bytes):
        return None
    return str(value).strip()


def options(value: Any) -> tuple[str, ...] | None:
    """The candidates in a cell: a list of texts, or one text with `|` between them; None for anything else."""
    parts = (
        value.split("|")
        if isinstance(value, str)
        else value
        if isinstance(value, list | tuple)
        else ()
    )
    texts = tuple(as_text(part) or "" for part in parts)
    distinct = len({text.casefold() for text in texts}) == len(texts)
    return texts if 2 <= len(texts) <= MOST_CANDIDATES and all(texts) and distinct else None


@dataclass
class Gate:
    """Turns raw rows into records; a bad row stops it, or with `drop` is counted in `dropped`.

    `rationale` names the field that becomes the record's rationale, which may be empty with `unexplained`; `columns` how a
    file calls the fields; with `choice` each row brings its own candidates and `labels` is empty. Messages name file, row and
    reason, and never quote a note.
    """

    labels: tuple[str, ...]
    rationale: str = "rationale"
    context_mark: str | None = None
    drop: bool = False
    unexplained: bool = False
    choice: bool = False
    columns: dict[str, str] = field(default_factory=dict)
    dropped: int = 0

    def records(
        self, file: str, rows: Iterable[tables.Row], taken: Set[bytes] = frozenset()
    ) -> Iterator[Record]:
        """The good rows, lazily; `taken` are content keys of the test data, which no row may repeat."""
        ids: dict[str, int] = {}
        for row, values in rows:
            texts = (
                {name: as_text(values.get(name)) for name in TEXTS} if values is not None else {}
            )
            own = options(values.get("candidates")) if self.choice and values is not None else ()
            fault = self._fault(texts, own, ids, taken)
            if fault and not self.drop:
                raise R2DError(
                    f"{file}, row {row}: {fault}, or set `on_bad_rows: drop` to leave such rows out."
                )
            if fault:
                self.dropped += 1
                continue
            ids[texts["id"]] = row
            label = canonical(texts["label"], own or self.labels)
            yield Record(
                **texts | {"label": label, "rationale": texts[self.rationale], "candidates": own}
            )

    def key(self, record: Record) -> bytes:
        """The record's content key."""
        return content_key(record.question, self.context_mark)

    def keys(self, records: Iterable[Record]) -> set[bytes]:
        """The content keys of records."""
        return {self.key(record) for record in records}

    def _fault(
        self,
        texts: dict[str, str | None],
        own: tuple | None,
        ids: dict[str, int],
        taken: Set[bytes],
    ) -> str | None:
        """What is wrong with a row and how to mend it."""
        if not texts:
            return "it is not a whole record; give it the fields the other rows have"
        for name, text in texts.items():
            if text is None:
                return f"its {name} (column {self.columns.get(name, name)!r}) is not text; write it as one text"
            if not text and name in (
                "id",
                "question",
                "label",
                *([] if self.unexplained else [self.rationale]),
            ):
                more = ", or set `missing_rationale: label only`" if name == self.rationale else ""
                return f"its {name} (column {self.columns.get(name, name)!r}) is missing or empty; fill it in{more}"
        if own is None:
            column = self.columns.get("candidates", "candidates")
            return f"its candidates (column {column!r}) are not 2 to {MOST_CANDIDATES} different texts; write a list, or a | b"
        if any(_unwritable(text) for text in (*texts.values(), *own)):
            return "it has half of a character (a lone surrogate); write the row again as UTF-8"
        if own and canonical(texts["label"], own) is None:
            return "its label is not one of its own candidates; write it as it stands there"
        if not own and canonical(texts["label"], self.labels) is None:
            return f"its label {some([texts['label']])} is not one of {some(self.labels)}; mend the label"
        if texts["id"] in ids:
            return f"its id is that of row {ids[texts['id']]}; give each row its own"
        if taken and content_key(texts["question"], self.context_mark) in taken:
            return "its question is also in the test data; take it out of one of them"
        return None


def _unwritable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def some(names: Iterable[str], most: int = 12) -> str:
    """Names for a message: the first dozen; one too long for a name, which may be a note, is not shown."""
    shown = [repr(name) if len(name) <= 40 else "(too long for a name)" for name in names]
    return ", ".join(shown[:most] + ["..."] * (len(shown) > most))
