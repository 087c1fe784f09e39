"""One record schema for every dataset, and what a label is.

One of a set, one of a case's own candidates, or (open labels) any text.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from r2d.method import prompts

MOST_CANDIDATES = 50
LONGEST_CELL = 2_000_000  # characters: a longer one is a file with a quote left open


@dataclass(frozen=True, slots=True)
class Record:
    """One case: its input text, canonical label and rationale ("" where a row may lack one).

    `reason`, `kind` and `facts` are the synthetic generator's: the true reason, the kind of case,
    and all that is true of it. `candidates` are the case's own options, of which `label` is one.
    """

    id: str
    question: str
    label: str
    rationale: str
    rationale_nurse: str = ""
    rationale_nurse_post: str = ""
    rationale_llm: str = ""
    reason: str = ""
    kind: str = ""
    facts: str = ""
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


def canonical(label: str, labels: Sequence[str]) -> str | None:
    """The member of `labels` that is the same label as `label`, or None."""
    return _by_folded(tuple(labels)).get(folded(label))


@lru_cache(maxsize=64)
def _by_folded(labels: tuple[str, ...]) -> dict[str, str]:
    return {folded(known): known for known in reversed(labels)}


def same_label(one: str, other: str) -> bool:
    """Whether two texts are the same label."""
    return folded(one) == folded(other)


def folded(label: str) -> str:
    """What labels are compared by: the text in NFC, letter case and outer blanks aside."""
    composed = unicodedata.normalize("NFC", label.strip())
    return unicodedata.normalize("NFC", composed.casefold())


def category(label: str, candidates: Sequence[str]) -> str:
    """The class of a label: itself or, among a case's own candidates, its position.

    A label outside the candidates stays as it is.
    """
    return f"option {candidates.index(label) + 1}" if label in candidates else label


def raw_category(row: dict[str, Any]) -> str:
    """The class of a row that no record was made of yet; "" for a label outside its candidates."""
    if "candidates" not in row:
        return row["label"]
    label = canonical(row["label"], row["candidates"])
    return category(label, row["candidates"]) if label else ""


def positions(candidates: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The names of as many positions as the longest of `candidates` has."""
    longest = max(map(len, candidates), default=0)
    return tuple(f"option {k}" for k in range(1, longest + 1))


def content_key(question: str, context_mark: str | None = None) -> bytes:
    """Equal for questions that differ in case, blanks and Unicode's composition alone.

    With a `context_mark` only what stands before it counts.
    """
    if context_mark:
        question = question.split(context_mark)[0]
    return blake2b(" ".join(folded(question).split()).encode(), digest_size=12).digest()


def as_text(value: Any) -> str | None:
    """A cell as stripped text: empty for null and NaN, None for lists and objects."""
    if isinstance(value, list | dict | bytes):
        return None
    if value is None or value != value:
        return ""
    return str(value).strip()


def text_fault(text: str) -> str | None:
    """Why a text can be neither learned from nor written down, and how to mend it; else None."""
    if len(text) > LONGEST_CELL:
        return (
            f"it has a text of more than {LONGEST_CELL:,} characters; close the quote that was "
            "left open, or shorten it"
        )
    if "\0" in text:
        return "it has a NUL byte; write the row again without it"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "it has half of a character (a lone surrogate); write the row again as UTF-8"
    return None


def options(value: Any) -> tuple[str, ...] | None:
    """The candidates in a cell: a list of texts, or one text with `|` between them.

    None for anything else, equal or empty texts, and fewer than 2 or more than `MOST_CANDIDATES`.
    """
    parts = value.split("|") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not 2 <= len(parts) <= MOST_CANDIDATES:
        return None
    texts = tuple(as_text(part) or "" for part in parts)
    distinct = len({folded(text) for text in texts}) == len(texts)
    return texts if distinct and all(texts) else None


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names for a message: the first dozen; one too long for a name may be a note: not shown."""
    shown = [repr(name) if len(name) <= 40 else "(too long for a name)" for name in names]
    return ", ".join(shown[:most] + ["..."] * (len(shown) > most))
