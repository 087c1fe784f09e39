"""Rationales written by a chat model that is told the gold label.

Training texts for a dataset that has none.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from r2d import paths
from r2d.data import Record
from r2d.data.record import folded
from r2d.llms.ask import ask_all, template
from r2d.llms.chat import Chat

FEWEST_WORDS, MOST_WORDS = 5, 120
TRUTH = ("reason", "kind", "facts")  # what the records of synthetic notes have


@dataclass(frozen=True)
class Rationales:
    """Rationales in the order of the records, None where one was rejected.

    `rejected` says how many were rejected for which reason.
    """

    texts: list[str | None]
    rejected: dict[str, int]

    @property
    def rejected_share(self) -> float:
        """Share of records without an acceptable rationale."""
        return self.texts.count(None) / (len(self.texts) or 1)


def write(
    chat: Chat, records: Sequence[Record], labels: Sequence[str], version: str = "v1"
) -> Rationales:
    """A rationale for each record's question and gold label.

    Answers are cached, so an interrupted call goes on where it was.
    """
    items = [{"question": record.text, "label": record.label} for record in records]
    replies = ask_all(chat, template("rationale", version), items, title="writing")
    texts: list[str | None] = []
    rejected: Counter[str] = Counter()
    for record, answer in zip(records, replies.answers, strict=True):
        text = answer["rationale"].strip() if answer else None
        reason = fault(text, record.label, record.candidates or labels, record.question)
        if reason:
            rejected[reason] += 1
        texts.append(None if reason else text)
    return Rationales(texts, dict(rejected))


def fault(text: str | None, label: str, labels: Sequence[str], question: str = "") -> str | None:
    """Why a rationale is not accepted; None if it is.

    "unreadable", "empty", "too short", "too long", "repeats the label" (and says little else),
    "copies the case" (the whole of it is a part of the case) or "contradicts the label" (it names
    another label of the set and not the gold one), letter case and blanks aside.
    """
    if text is None:
        return "unreadable"
    if not text:
        return "empty"
    text = folded(text)
    words = text.split()
    if len(words) < FEWEST_WORDS:
        return "too short"
    if len(words) > MOST_WORDS:
        return "too long"
    if len(re.findall(r"\w+", text.replace(folded(label), " "))) < FEWEST_WORDS:
        return "repeats the label"
    if " ".join(words).strip(".") in " ".join(folded(question).split()):
        return "copies the case"
    names_another = any(folded(each) in text for each in labels if each != label)
    if names_another and folded(label) not in text:
        return "contradicts the label"
    return None


def save(records: Sequence[Record], rationales: Rationales, file: Path) -> int:
    """Write the records as JSON lines that card `table` reads; returns how many have a rationale.

    The others stay with an empty one: `missing_rationale: label only` has their label learned
    alone.
    """
    rows = []
    for record, text in zip(records, rationales.texts, strict=True):
        row = {
            "id": record.id,
            "question": record.question,
            "label": record.label,
            "rationale": text or "",
        }
        if record.candidates:
            row["candidates"] = record.candidates
        row |= {name: getattr(record, name) for name in TRUTH if getattr(record, name)}
        rows.append(row)
    file.parent.mkdir(parents=True, exist_ok=True)
    paths.write_lines(file, rows)
    return sum(bool(row["rationale"]) for row in rows)
