"""Does a rationale support the label that was decided? And is it a rationale at all?

What a rationale supports is read from its text alone. A synthetic triage rationale is read exactly,
by the wordings of its generator (`data.triage_reading`): it supports the label that it advises. Any
other is judged by TF-IDF and logistic regression fitted on gold training rationales and their
labels, whose accuracy on the test set's gold rationales has to be read beside every share.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from r2d.data import triage, triage_reading
from r2d.data.record import Record
from r2d.models.sanity import text_classifier

JUDGED_ON = 20_000  # training rationales at most: enough for a linear judge, and seconds
COMMON = 0.5  # a text that more than this share of the cases got says nothing of any of them
GRAMMAR = "the wordings of their generator"
JUDGE = "TF-IDF + logistic regression on gold rationales"

Read = Callable[[Sequence[str]], list[str | None]]  # the label that each text supports


@dataclass(frozen=True)
class Reader:
    """How rationales of one dataset are read: `labels` gives the label that each supports."""

    name: str
    labels: Read


@dataclass(frozen=True)
class Background:
    """The training records that measures of test rationales need: a judge's, and what was copied.

    `synthetic_triage` says that rationales are in the wordings of the triage generator.
    """

    train: Sequence[Record]
    labels: tuple[str, ...]
    synthetic_triage: bool

    @cached_property
    def reader(self) -> Reader | None:
        """None where labels are no fixed set, or no judge can be fitted."""
        if self.synthetic_triage:
            return Reader(GRAMMAR, advised)
        explained = [record for record in self.train if record.rationale][:JUDGED_ON]
        if not self.labels or len({record.label for record in explained}) < 2:
            return None
        labels = _judge(explained)
        return Reader(JUDGE, labels) if labels else None

    @cached_property
    def texts(self) -> frozenset[str]:
        """Every training rationale, as `_bare` compares them."""
        return frozenset(_bare(record.rationale) for record in self.train if record.rationale)

    def copied(self, rationales: Sequence[str]) -> list[int]:
        """1 for each rationale that is word for word a training rationale."""
        return [int(_bare(text) in self.texts) for text in rationales]


def advised(rationales: Sequence[str]) -> list[str | None]:
    """The label that each synthetic triage rationale advises; None for none, or several."""
    return [triage_reading.read(text).advice for text in rationales]


def agreement(
    labels: Sequence[str], supported: Sequence[str | None], silence: bool = False
) -> list[int | None]:
    """1 where a rationale supports the label beside it, else 0.

    One that supports none has 0, or None where `silence` is allowed: half of the nurse's gold
    rationales advise nothing.
    """
    return [
        None if silence and other is None else int(label == other)
        for label, other in zip(labels, supported, strict=True)
    ]


def chance(labels: Sequence[str], supported: Sequence[str | None]) -> float:
    """The agreement to expect of rationales dealt out to the cases at random."""
    n, said = len(labels), Counter(supported)
    return sum(count * said[label] for label, count in Counter(labels).items()) / n**2


def named(facts: Sequence[str], rationales: Sequence[str]) -> dict[str, list[int | None]]:
    """What synthetic triage rationales name of a case's `facts`, 1 or 0 each.

    `names_reason`: says that the deciding finding decides; a denied one names nothing.
    `names_modifier`: names the modifier where there is one, and None where there is none;
    `denies_present`: says that a finding which is present is absent or a relative's.
    """
    result = {"names_reason": [], "names_modifier": [], "denies_present": []}
    for fact, text in zip(facts, rationales, strict=True):
        true, said = triage.facts_of(fact), triage_reading.read(text)
        result["names_reason"].append(int(said.finding == true["present"][0]))
        modifier = int(said.modifier == true["modifier"][0]) if true["modifier"] else None
        result["names_modifier"].append(modifier)
        result["denies_present"].append(int(bool(said.denied & set(true["present"]))))
    return result


def degenerate(references: Sequence[str], rationales: Sequence[str]) -> list[int]:
    """1 for each text that explains nothing, whatever its scores.

    It is blank, a single word where the gold rationale has more, or the one text that over half of
    the cases got.
    """
    bare = [_bare(text) for text in rationales]
    counts = Counter(bare)
    common = {text for text, n in counts.items() if n > max(1, COMMON * len(bare))}
    verdicts = []
    for reference, text in zip(references, bare, strict=True):
        words = len(text.split())
        single = words == 1 and len(reference.split()) != 1
        verdicts.append(int(words == 0 or single or text in common))
    return verdicts


def _judge(explained: Sequence[Record]) -> Read | None:
    """A fitted judge of rationales, which gives every text but a blank one a label.

    None where their texts have no words to learn from.
    """
    model = text_classifier()
    try:
        model.fit([r.rationale for r in explained], [r.label for r in explained])
    except ValueError:  # scikit-learn's "empty vocabulary"
        return None

    def labels(rationales: Sequence[str]) -> list[str | None]:
        judged = model.predict([*rationales]) if len(rationales) else []
        pairs = zip(rationales, judged, strict=True)
        return [str(label) if text.strip() else None for text, label in pairs]

    return labels


def _bare(text: str) -> str:
    return " ".join(text.casefold().split())
