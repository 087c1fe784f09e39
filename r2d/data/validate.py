"""Raw rows become checked records; what is wrong with a row is said by file, number and reason."""

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from typing import Any

from r2d.data.formats import Row
from r2d.data.record import (
    MOST_CANDIDATES,
    TEXTS,
    Record,
    as_text,
    canonical,
    content_key,
    listed,
    options,
    text_fault,
)
from r2d.errors import R2DError


@dataclass
class Validator:
    """Turns raw rows into records; a bad row stops it, or with `drop` is counted in `dropped`.

    `rationale` names the field that becomes the record's rationale, which may be empty with
    `unexplained`; `columns` how a file calls the fields, for messages. With `own_candidates` each
    row brings its own (read out of its question where `options_from` says so), with `open_labels`
    any text is a label, and `labels` is empty. `of_card` says that the labels are a card's, which
    messages may list. Messages never quote a cell.
    """

    labels: tuple[str, ...]
    rationale: str = "rationale"
    context_mark: str | None = None
    drop: bool = False
    unexplained: bool = False
    own_candidates: bool = False
    open_labels: bool = False
    of_card: bool = False
    options_from: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    dropped: int = 0

    def records(
        self, file: str, rows: Iterable[Row], taken: Set[bytes] = frozenset()
    ) -> Iterator[Record]:
        """The good rows, lazily; `taken` are content keys of the test data, for no row to repeat.

        Raises `R2DError` for the first bad row unless it may be dropped.
        """
        row_of_id: dict[str, int] = {}
        for number, values in rows:
            texts, candidates = self._read(values)
            fault = self._fault(texts, candidates, row_of_id, taken)
            if fault and not self.drop:
                raise R2DError(
                    f"{file}, row {number}: {fault}, or set `on_bad_rows: drop` to leave such rows "
                    "out."
                )
            if fault:
                self.dropped += 1
            else:
                row_of_id[texts["id"]] = number
                yield self._record(texts, candidates)

    def key(self, record: Record) -> bytes:
        """The record's content key."""
        return content_key(record.question, self.context_mark)

    def keys(self, records: Iterable[Record]) -> set[bytes]:
        """The content keys of records."""
        return {self.key(record) for record in records}

    def _read(self, values: dict[str, Any] | None) -> tuple[dict, tuple[str, ...] | None]:
        """A row's texts by field, None for one that is no text, and its candidates."""
        if values is None:
            return {}, ()
        texts = {name: as_text(values.get(name)) for name in TEXTS}
        return texts, options(values.get("candidates")) if self.own_candidates else ()

    def _record(self, texts: dict[str, str], candidates: tuple[str, ...]) -> Record:
        label = texts["label"]
        if not self.open_labels:
            label = canonical(label, candidates or self.labels)
        changed = {"label": label, "rationale": texts[self.rationale], "candidates": candidates}
        return Record(**(texts | changed))

    def _fault(
        self,
        texts: dict[str, str | None],
        candidates: tuple[str, ...] | None,
        row_of_id: dict[str, int],
        taken: Set[bytes],
    ) -> str | None:
        """What is wrong with a row and how to mend it; None for a good one."""
        if not texts:
            return "it is not a whole record; give it the fields the other rows have"
        for name, text in texts.items():
            if fault := self._text_fault(name, text):
                return fault
        if candidates is None:
            return self._candidates_fault()
        for text in (*texts.values(), *candidates):
            if fault := text_fault(text):
                return fault
        if fault := self._label_fault(texts["label"], candidates):
            return fault
        if texts["id"] in row_of_id:
            return f"its id is that of row {row_of_id[texts['id']]}; give each row its own"
        if taken and content_key(texts["question"], self.context_mark) in taken:
            return "its question is also in the test data; take it out of one of them"
        return None

    def _text_fault(self, name: str, text: str | None) -> str | None:
        if text is None:
            return f"its {name} ({self._column(name)}) is not text; write it as one text"
        may_be_empty = name not in ("id", "question", "label", self.rationale)
        if text or may_be_empty or (name == self.rationale and self.unexplained):
            return None
        more = ", or set `missing_rationale: label only`" if name == self.rationale else ""
        return f"its {name} ({self._column(name)}) is missing or empty; fill it in{more}"

    def _candidates_fault(self) -> str:
        if self.options_from:
            return (
                f"its question has no 2 to {MOST_CANDIDATES} different options after "
                f"{self.options_from!r}; write them as A. ... B. ..."
            )
        return (
            f"its candidates ({self._column('candidates')}) are not 2 to {MOST_CANDIDATES} "
            "different texts; write a list, or a | b"
        )

    def _label_fault(self, label: str, candidates: tuple[str, ...]) -> str | None:
        """A label that is not of the set is not shown: in a column of notes it would be one."""
        if self.open_labels or canonical(label, candidates or self.labels) is not None:
            return None
        if candidates:
            return "its label is not one of its own candidates; write it as it stands there"
        known = listed(self.labels) if self.of_card else f"the {len(self.labels)} labels to learn"
        return f"its label ({self._column('label')}) is not one of {known}; mend the label"

    def _column(self, name: str) -> str:
        return f"column {self.columns.get(name, name)!r}"
