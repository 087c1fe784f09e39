"""A judge must qualify before it counts: it has to rank gold above every corruption of it.

On cases whose truth is known. Corruptions of a gold case: the rationale of another case, another
label, the deciding finding taken out, a negation inverted.
"""

import random
import re
from collections.abc import Iterator, Sequence
from itertools import combinations

import pandas as pd

from r2d.data import Dataset, Record
from r2d.errors import R2DError
from r2d.evaluation import stats
from r2d.llms.ask import Template
from r2d.llms.chat import Chat
from r2d.llms.judge import CRITERIA, Case, Grades, grade, kappa, overall
from r2d.recipes.settings import JudgeSettings

CORRUPTIONS = ("another case", "label flipped", "finding removed", "negation inverted")
NEGATIONS = (
    (r"\bhas no\b", "has"),
    (r"\bdenies\b", "reports"),
    (r"\bno\b ", ""),
    (r"\bnot\b ", ""),
    (r"\bwithout\b", "with"),
    (r"\b(is|are|was|were|has|have|can|does|did)\b", r"\1 not"),
)
Pairs = dict[str, list[tuple[Case, Case]]]  # by corruption: (gold, corrupted)


def pairs(records: Sequence[Record], labels: Sequence[str], most: int, seed: int = 0) -> Pairs:
    """For each corruption, up to `most` (gold, corrupted) cases.

    A case that a corruption can't be made of is left out.
    """
    rng = random.Random(f"qualification {seed}")
    chosen = [record for record in records if record.rationale][:most]
    by_corruption: Pairs = {name: [] for name in CORRUPTIONS}
    for record in chosen:
        gold = Case(record.id, record.question, record.label, record.rationale)
        strangers = [other.rationale for other in chosen if other.label != record.label]
        others = [label for label in labels if label != record.label]
        stranger = rng.choice(strangers) if strangers else None
        flipped = rng.choice(others) if others else None
        corrupted = {
            "another case": (record.label, stranger),
            "label flipped": (flipped, record.rationale),
            "finding removed": (record.label, without_finding(record)),
            "negation inverted": (record.label, inverted(record.rationale)),
        }
        for name, (label, rationale) in corrupted.items():
            changed = (label, rationale) != (record.label, record.rationale)
            if label and rationale and changed:
                by_corruption[name].append(
                    (gold, Case(record.id, record.question, label, rationale))
                )
    return {name: cases for name, cases in by_corruption.items() if cases}


def without_finding(record: Record) -> str | None:
    """The rationale with its true reason blotted out.

    Without a known reason, without its longest sentence; None where neither is possible.
    """
    spellings = sorted(filter(None, record.reason.split("|")), key=len, reverse=True)
    for spelling in spellings:
        pattern = re.compile(re.escape(spelling), re.IGNORECASE)
        if pattern.search(record.rationale):
            return pattern.sub("one of the symptoms", record.rationale)
    sentences = re.split(r"(?<=[.!?])\s+", record.rationale)
    if spellings or len(sentences) < 2:
        return None
    sentences.remove(max(sentences, key=len))
    return " ".join(sentences)


def inverted(rationale: str) -> str | None:
    """The rationale with its first negation taken out or, where it has none, one put in.

    None where neither is possible.
    """
    for pattern, instead in NEGATIONS:
        text, times = re.subn(pattern, instead, rationale, count=1, flags=re.IGNORECASE)
        if times:
            return text
    return None


def qualify(
    chat: Chat, prompt: Template, dataset: Dataset, settings: JudgeSettings, seed: int = 0
) -> pd.DataFrame:
    """The judge's qualification on a dataset's test records, a row a corruption.

    `accuracy`: share of pairs whose gold case gets strictly more overall (a tie, or a missing
    answer, is not more), with its interval. `kappa`: agreement with itself over `repeats` gradings
    of all these cases, each time with the criteria in another order. The verdict is in the column
    `passed`: a judge passes with accuracy and kappa at or above the settings' in every corruption.
    Raises `R2DError` when no corruption can be made.
    """
    built = pairs(dataset.test, dataset.labels, settings.qualification, seed)
    if not built:
        raise R2DError(
            f"No test record of {dataset.name} has a rationale to qualify the judge on: give it "
            "gold rationales."
        )
    cases = list(dict.fromkeys(_cases(built)))
    gradings = [
        grade(chat, prompt, cases, seed, k, f"qualification {k + 1}")
        for k in range(settings.repeats)
    ]
    agreement = self_agreement(gradings)
    grades = dict(zip(cases, gradings[0], strict=True))
    rows = []
    for name, part in built.items():
        graded = [(grades[gold], grades[corrupted]) for gold, corrupted in part]
        read = [bool(gold and corrupted) for gold, corrupted in graded]
        hits = [
            int(known and overall(gold) > overall(corrupted))
            for known, (gold, corrupted) in zip(read, graded, strict=True)
        ]
        low, high = stats.interval(hits) or (None, None)
        row = {
            "dataset": dataset.name,
            "judge": chat.settings.title,
            "corruption": name,
            "accuracy": sum(hits) / len(hits),
            "low": low,
            "high": high,
            "pairs": len(hits),
            "missing_rate": read.count(False) / len(read),
            "kappa": agreement,
            "threshold": settings.accuracy,
            "kappa_threshold": settings.kappa,
        }
        rows.append(row)
    table = pd.DataFrame(rows)
    accurate = (table["accuracy"] >= settings.accuracy).all()
    return table.assign(passed=bool(accurate and agreement >= settings.kappa))


def self_agreement(gradings: Sequence[Grades]) -> float:
    """Mean quadratic weighted kappa over the criteria and over pairs of gradings of the same cases.

    A criterion that always gets the same grade tells nothing and is left out; 0 with nothing to
    compare.
    """
    kappas = []
    for one, other in combinations(gradings, 2):
        both = [(a, b) for a, b in zip(one, other, strict=True) if a and b]
        for name in CRITERIA:
            first = [a[name] for a, _ in both]
            second = [b[name] for _, b in both]
            if len({*first, *second}) > 1:
                kappas.append(kappa(first, second))
    return sum(kappas) / (len(kappas) or 1)


def verdict(table: pd.DataFrame) -> str:
    """The qualification in one sentence."""
    worst = table.loc[table["accuracy"].idxmin()]
    measured = (
        f"ranks gold above '{worst['corruption']}' in {worst['accuracy']:.0%} of {worst['pairs']} "
        f"pairs (its weakest; {worst['threshold']:.0%} is asked for) and agrees with itself at "
        f"kappa {round(worst['kappa'], 2) + 0.0:.2f} ({worst['kappa_threshold']:.2f} is asked for; "
        "0 also where all its grades are the same)"
    )
    judge, dataset = worst["judge"], worst["dataset"]
    if worst["passed"]:
        return f"{judge} passed its qualification on {dataset}: it {measured}."
    return f"{judge} FAILED its qualification on {dataset}: it {measured}. Its scores mean nothing."


def _cases(built: Pairs) -> Iterator[Case]:
    for part in built.values():
        for gold, corrupted in part:
            yield gold
            yield corrupted
