"""What one run reached on test, for people: the few measures that matter, each with its meaning.

Notebooks 03, 04 and 09 show it; a run's `metrics.json` has every measure.
"""

import pandas as pd

from r2d.reporting.tables import MEASURES

MEANING = {
    "macro_f1": "the F1 of each class, averaged with equal weight",
    "accuracy": "the share of cases that are decided right",
    "invalid_rate": "answers outside the label set, which count as wrong",
    "agreement": "the rationale supports the label that the model decided on",
    "agreement_wrong": "the same, of wrong decisions alone",
    "follows_label": (
        "told each of a case's labels in turn, the model writes a text that supports it"
    ),
    "names_reason": "the finding that the rationale says decides is the one that does",
    "degenerate": "blank, one word, or one text for over half of the cases: its scores say nothing",
}
IF_ANY = ("invalid_rate", "degenerate")  # shown where they are not zero


def results(metrics: dict) -> pd.DataFrame:
    """One run's `metrics.json`: a row a measure of `MEANING` that it has, in points of 100.

    In brackets the 95 % interval over test cases. `by chance` is what would be reached if the
    rationales were dealt out at random, or did not depend on the label; `cases` how many have the
    measure.
    """
    rows = []
    for name, meaning in MEANING.items():
        measure = metrics["metrics"].get(name)
        if measure is None or (name in IF_ANY and not measure["value"]):
            continue
        row = {"measure": MEASURES[name], "points of 100": _points(measure)}
        row["by chance"] = 100 * measure.get("chance", float("nan"))
        rows.append(row | {"cases": measure["n"], "what it is": meaning})
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def _points(measure: dict) -> str:
    text = f"{100 * measure['value']:.1f}"
    if measure["interval"]:
        low, high = measure["interval"]
        text += f" [{100 * low:.1f}, {100 * high:.1f}]"
    return text
