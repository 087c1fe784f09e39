"""A judge must qualify before it counts: on cases whose truth is known it has to rank gold above every corruption of it.

Corruptions of a gold case: the rationale of another case, another label, the deciding finding taken out, a negation inverted.
"""

import random
import re
from collections.abc import Sequence
from itertools import combinations

import pandas as pd

from r2d.data import Dataset, Record
from r2d.errors import R2DError
from r2d.evaluation import stats
from r2d.llms.ask import Template
from r2d.llms.chat import Chat
from r2d.llms.judge import CRITERIA, Case, Grades, grade, kappa, overall
from r2d.recipes.settings import JudgeSettings

NEGATIONS = (
    (r"\bhas no\b", "has"), (r"\bdenies\b", "reports"), (r"\bno\b ", ""), (r"\bnot\b ", ""), (r"\bwithout\b", "with"),
    (r"\b(is|are|was|were|has|have|can|does|did)\b", r"\1 not"),
)  # fmt: skip


def pairs(
    records: Sequence[Record], labels: Sequence[str], most: int, seed: int = 0
) -> dict[str, list[tuple[Case, Case]]]:
    """For each corruption, up to `most` (gold, corrupted) cases; a case that a corruption can't be made of is left out."""
    rng = random.Random(f"qualification {seed}")
    chosen = [r for r in records if r.rationale][:most]
    made: dict[str, list[tuple[Case, Case]]] = {
        "another case": [], "label flipped": [], "finding removed": [], "negation inverted": [],
    }  # fmt: skip
    for record in chosen:
        gold = Case(record.id, record.question, record.label, record.rationale)
        strangers = [r.rationale for r in chosen if r.label != record.label]
        others = [label for label in labels if label != record.label]
        corrupted = {
            "another case": (record.label, rng.choice(strangers) if strangers else None),
            "label flipped": (rng.choice(others) if others else None, record.rationale),
            "finding removed": (record.label, without_finding(record)),
            "negation inverted": (record.label, inverted(record.rationale)),
        }
        for name, (label, rationale) in corrupted.items():
            if label and rationale and (label, rationale) != (record.label, record.rationale):
                made[name].append((gold, Case(record.id, record.question, label, rationale)))
    return {name: found for name, found in made.items() if found}


def without_finding(record: Record) -> str | None:
    """The rationale with its true reason blotted out; without a known reason, without its longest sentence."""
    spellings = sorted(filter(None, record.reason.split("|")), key=len, reverse=True)
    for spelling in spellings:
        text, times = re.subn(
            re.escape(spelling), "one of the symptoms", record.rationale, flags=re.IGNORECASE
        )
        if times:
            return text
    sentences = re.split(r"(?<=[.!?])\s+", record.rationale)
    if spellings or len(sentences) < 2:
        return None
    longest = max(range(len(sentences)), key=lambda i: len(sentences[i]))
    return " ".join(sentence for i, sentence in enumerate(sentences) if i != longest)


def inverted(rationale: str) -> str | None:
    """The rationale with its first negation taken out or, where it has none, one put in; None where neither is possible."""
    for pattern, instead in NEGATIONS:
        text, times = re.subn(pattern, instead, rationale, count=1, flags=re.IGNORECASE)
        if times:
            return text
    return None


def qualify(
    chat: Chat, prompt: Template, dataset: Dataset, settings: JudgeSettings, seed: int = 0
) -> pd.DataFrame:
    """The judge's qualification on a dataset's test records, a row a corruption, with the verdict in the column `passed`.

    `accuracy`: share of pairs whose gold case gets strictly more overall (a tie, or a missing answer, is not more), with its
    interval. `kappa`: agreement with itself over `repeats` gradings of all these cases, each time with the criteria in another
    order. A judge passes with accuracy and kappa at or above the settings' in every corruption.
    Raises `R2DError` when no corruption can be made.
    """
    built = pairs(dataset.test, dataset.labels, settings.qualification, seed)
    if not built:
        raise R2DError(
            f"No test record of {dataset.name} has a rationale to qualify the judge on: give it gold rationales."
        )
    cases = list(dict.fromkeys(case for found in built.values() for pair in found for case in pair))
    gradings = [
        grade(chat, prompt, cases, seed, k, f"qualification {k + 1}")
        for k in range(settings.repeats)
    ]
    agrees, score = self_agreement(gradings), dict(zip(cases, gradings[0], strict=True))
    rows = []
    for name, found in built.items():
        graded = [(score[gold], score[bad]) for gold, bad in found]
        hits = [int(bool(gold and bad) and overall(gold) > overall(bad)) for gold, bad in graded]
        missing = sum(not (gold and bad) for gold, bad in graded) / len(graded)
        low, high = stats.interval(hits) or (None, None)
        rows.append({"dataset": dataset.name, "judge": chat.settings.title, "corruption": name, "accuracy": sum(hits) / len(hits),
                     "low": low, "high": high, "pairs": len(hits), "missing_rate": missing, "kappa": agrees,
                     "threshold": settings.accuracy, "kappa_threshold": settings.kappa})  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(
        passed=bool((table["accuracy"] >= settings.accuracy).all() and agrees >= settings.kappa)
    )


def self_agreement(gradings: Sequence[Grades]) -> float:
    """Mean quadratic weighted kappa over the criteria and over pairs of gradings of the same cases; 0 with nothing to compare.

    A criterion that always gets the same grade tells nothing and is left out.
    """
    found = []
    for one, other in combinations(gradings, 2):
        both = [(a, b) for a, b in zip(one, other, strict=True) if a and b]
        for name in CRITERIA:
            first, second = (
                [grades[name] for grades in side]
                for side in (zip(*both, strict=True) if both else ((), ()))
            )
            if len({*first, *second}) > 1:
                found.append(kappa(first, second))
    return sum(found) / (len(found) or 1)


def verdict(table: pd.DataFrame) -> str:
    """The qualification in one sentence."""
    worst = table.loc[table["accuracy"].idxmin()]
    said = (
        f"ranks gold above '{worst['corruption']}' in {worst['accuracy']:.0%} of {worst['pairs']} pairs (its weakest; "
        f"{worst['threshold']:.0%} is asked for) and agrees with itself at kappa {round(worst['kappa'], 2) + 0.0:.2f} "
        f"({worst['kappa_threshold']:.2f} is asked for; 0 also where all its grades are the same)"
    )
    if worst["passed"]:
        return f"{worst['judge']} passed its qualification on {worst['dataset']}: it {said}."
    return f"{worst['judge']} FAILED its qualification on {worst['dataset']}: it {said}. Its scores mean nothing."
