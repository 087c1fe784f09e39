"""Options inside a question, `... Answer Choices: A. this B. that`, read out as candidates."""

import re
from collections.abc import Iterable
from typing import Any

from r2d.data.formats import Row
from r2d.data.record import as_text, canonical

# Ways to mark an option by its letter: A. or A: before a blank, A) and (A); or small letters.
MARKS = (
    r"\b([A-Z])[.:](?=\s)",
    r"\(?\b([A-Z])\)",
    r"\b([a-z])[.:](?=\s)",
    r"\(?\b([a-z])\)",
)
MOST_MARKS = 200  # more are no list of options
LABEL = re.compile(r"\(?([A-Z])(?:[.:)]\s*(.*))?", re.IGNORECASE | re.DOTALL)


def read_out(rows: Iterable[Row], marker: str) -> list[Row]:
    """Rows by field, the options after `marker` in each question made its candidates.

    They leave the question, and a label that is an option's letter becomes the option's text. A
    question whose options can't be told apart has no candidates.
    """
    return [(number, _with_options(values, marker)) for number, values in rows]


def split(question: str, marker: str) -> tuple[str, tuple[str, ...]]:
    """A question without its options, and the options; () where they can't be told apart."""
    places = [match.span() for match in re.finditer(re.escape(marker), question, re.IGNORECASE)]
    if not places:
        return question, ()
    start, end = places[-1]
    options = _options(question[end:].strip())
    return (question[:start].strip(), options) if options else (question, ())


def option_of(label: str, options: tuple[str, ...]) -> str:
    """The option whose text or letter a label is (`B`, `(B)`, `B. that`), else the label itself."""
    match = LABEL.fullmatch(label.strip())
    if canonical(label, options) is not None or match is None:
        return label
    letter, text = match.groups()
    place = ord(letter.upper()) - ord("A")
    if place < len(options) and (not text or canonical(text, [options[place]])):
        return options[place]
    return label


def _with_options(values: dict[str, Any] | None, marker: str) -> dict[str, Any] | None:
    if values is None:
        return None
    question, options = split(as_text(values.get("question")) or "", marker)
    label = option_of(as_text(values.get("label")) or "", options)
    return values | {"question": question, "candidates": list(options), "label": label}


def _options(text: str) -> tuple[str, ...]:
    """The options of which a text is made, as the first mark in it is written."""
    for pattern in MARKS:
        marks = list(re.finditer(pattern, text))
        if marks and marks[0].start() == 0:
            # Options on lines of their own may have marks like theirs inside.
            at_line_starts = [mark for mark in marks if _begins_a_line(text, mark)]
            return _texts(text, _row(text, at_line_starts) or _row(text, marks))
    return ()


def _begins_a_line(text: str, mark: re.Match) -> bool:
    line = text[: mark.start()].rpartition("\n")[2]
    return not line.strip()


def _row(text: str, marks: list[re.Match]) -> list[re.Match]:
    """The longest row of marks A, B, C, ... with a text between them, if there is one only."""
    if len(marks) > MOST_MARKS:
        return []
    places = [ord(mark[1].upper()) - ord("A") for mark in marks]
    ways = [1 if k == 0 and place == 0 else 0 for k, place in enumerate(places)]
    before = [-1] * len(marks)
    for k, mark in enumerate(marks):
        for j in range(k):
            follows = ways[j] and places[j] + 1 == places[k]
            if follows and text[marks[j].end() : mark.start()].strip():
                ways[k] += ways[j]
                before[k] = j
    longest = max((place for place, way in zip(places, ways, strict=True) if way), default=0)
    last = [k for k, place in enumerate(places) if ways[k] and place == longest]
    if longest == 0 or len(last) > 1 or ways[last[0]] > 1:
        return []
    row, k = [], last[0]
    while k >= 0:
        row.insert(0, marks[k])
        k = before[k]
    return row


def _texts(text: str, row: list[re.Match]) -> tuple[str, ...]:
    """What stands between the marks of a row and after the last, without the signs that divide."""
    if not row:
        return ()
    ends = [mark.start() for mark in row[1:]] + [len(text)]
    parts = [text[mark.end() : end] for mark, end in zip(row, ends, strict=True)]
    return tuple(part.strip().rstrip(",;|").strip() for part in parts)
