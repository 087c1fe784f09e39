"""Rationales written by a chat model that is told the gold label: training texts for a dataset that has none."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from r2d import paths
from r2d.data import Record
from r2d.llms.ask import ask_all, template
from r2d.llms.chat import Chat

WORDS = (5, 120)  # fewest and most words of a rationale


@dataclass(frozen=True)
class Written:
    """Rationales in the order of the records, None where one was rejected, and how many were rejected for which reason."""

    rationales: list[str | None]
    rejected: dict[str, int]

    @property
    def rejected_share(self) -> float:
        """Share of records without an acceptable rationale."""
        return self.rationales.count(None) / (len(self.rationales) or 1)


def write(
    chat: Chat, records: Sequence[Record], labels: Sequence[str], version: str = "v1"
) -> Written:
    """A rationale for each record's question and gold label; answers are cached, so an interrupted call goes on where it was."""
    items = [{"question": r.text, "label": r.label} for r in records]
    asked = ask_all(chat, template("rationale", version), items, title="writing")
    texts = [answer["rationale"].strip() if answer else None for answer in asked.answers]
    faults = [
        fault(text, r.label, r.candidates or labels, r.question)
        for text, r in zip(texts, records, strict=True)
    ]
    kept = [None if why else text for text, why in zip(texts, faults, strict=True)]
    return Written(kept, dict(Counter(filter(None, faults))))


def fault(text: str | None, label: str, labels: Sequence[str], question: str = "") -> str | None:
    """Why a rationale is not accepted; None if it is.

    "unreadable", "empty", "too short", "too long", "copies the case" (the whole of it is a part of the case) or "contradicts
    the label" (it names another label of the set and not the gold one), letter case and blanks aside.
    """
    if text is None:
        return "unreadable"
    if not text:
        return "empty"
    words, folded = len(text.split()), text.casefold()
    if not WORDS[0] <= words <= WORDS[1]:
        return "too short" if words < WORDS[0] else "too long"
    if " ".join(folded.split()).strip(".") in " ".join(question.casefold().split()):
        return "copies the case"
    others = [other for other in labels if other != label and other.casefold() in folded]
    return "contradicts the label" if others and label.casefold() not in folded else None


def save(records: Sequence[Record], found: Written, file: Path) -> int:
    """Write the records as JSON lines that card `table` reads; returns how many have a rationale.

    The others stay with an empty one: `missing_rationale: label only` has their label learned alone.
    """
    rows = [
        {"id": r.id, "question": r.question, "label": r.label, "rationale": text or ""}
        | ({"candidates": r.candidates} if r.candidates else {})
        for r, text in zip(records, found.rationales, strict=True)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    paths.write_lines(file, rows)
    return sum(bool(row["rationale"]) for row in rows)
