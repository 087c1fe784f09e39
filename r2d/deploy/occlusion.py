"""The parts of a case that are left out one by one, to see what its label hangs on.

Leave one out: Li et al. 2016, Understanding Neural Networks through Representation Erasure.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MOST_PARTS = 60  # each is one more prompt to score
CLAUSE = 12  # words at most
CLAUSE_ENDS = (".", ",", ";", ":", "!", "?")
WORD = re.compile(r"\S+\s*")


@dataclass(frozen=True)
class Part:
    """A word or a clause with the blanks after it, and what it does for the label.

    `weight` is by how many nats the label is likelier with it than without: above 0 it speaks for
    the label, below 0 against it.
    """

    text: str
    weight: float


def parts(text: str, most: int = MOST_PARTS) -> list[str]:
    """A text's words, or its clauses where there are more than `most` words.

    Clauses end at a punctuation mark or after a dozen words; neighbours stand together where there
    are too many of them, too. Joined, the parts are the text without its outer blanks.
    """
    words = WORD.findall(text.strip())
    if len(words) <= most:
        return words
    clauses = _clauses(words)
    size = -(-len(clauses) // most)
    return ["".join(clauses[i : i + size]) for i in range(0, len(clauses), size)]


def without_each(pieces: Sequence[str]) -> list[str]:
    """The text without each of its parts in turn."""
    return ["".join([*pieces[:i], *pieces[i + 1 :]]) for i in range(len(pieces))]


def _clauses(words: Sequence[str]) -> list[str]:
    clauses, room = [], 0
    for word in words:
        if not room:
            clauses.append("")
            room = CLAUSE
        clauses[-1] += word
        room = 0 if word.rstrip().endswith(CLAUSE_ENDS) else room - 1
    return clauses
