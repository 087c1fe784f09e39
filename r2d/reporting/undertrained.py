"""Was a run still learning when its steps ran out? Read from its log, told wherever it is shown.

The best evaluation of such a run is the last or the last but one, and better than the one before
it: one lower evaluation at the end is no sign that a run has learned all it can. A run that
patience stopped never ends so. More steps might have raised its scores.
"""

from collections.abc import Sequence

import pandas as pd

MARK = "‡"
LAST = 2  # evaluations at the end that count as the end


def still_climbing(log: Sequence[dict]) -> bool:
    """Whether validation climbed up to the end: the best evaluation is among the last `LAST`.

    `log` has the entries of `log.jsonl`: an evaluation's `validation` (higher is better) and `best`
    so far, which is empty before checkpoints are selected.
    """
    scores, best = _column(log, "validation"), _column(log, "best")
    if not scores:
        return False
    place = best.index(best[-1])
    return place >= max(1, len(scores) - LAST) and scores[place] > scores[place - 1]


def sentence(log: Sequence[dict]) -> str:
    """What to say of one run beside its training curve; nothing where that has no end to see."""
    scores, best = _column(log, "validation"), _column(log, "best")
    if len(scores) < 2:
        return ""
    if not still_climbing(log):
        return "Validation had stopped improving before the last evaluations."
    place = best.index(best[-1])
    before, kept = (abs(score) for score in scores[place - 1 : place + 1])
    which = "the last" if place == len(scores) - 1 else "the last but one"
    return (
        f"Undertrained: the best evaluation is {which} ({before:.3f} to {kept:.3f}); more steps "
        "might help."
    )


def remarks(table_1: pd.DataFrame) -> list[str]:
    """What has to be said below table 1, a line a dataset: which runs were still learning."""
    if "undertrained" not in table_1:
        return []
    lines = []
    for dataset, rows in table_1[table_1["undertrained"] > 0].groupby("dataset", sort=False):
        counted = ", ".join(
            f"{row['title']} {row['undertrained']:.0f} of {row['seeds']} runs"
            for _, row in rows.iterrows()
        )
        lines.append(
            f"{MARK} Undertrained on {dataset}, as the best evaluation is the last or the last but "
            f"one: {counted}; more steps might raise their scores."
        )
    return lines


def titles(table_1: pd.DataFrame) -> pd.Series:
    """The methods of table 1 by their titles, those that are undertrained marked."""
    if "undertrained" not in table_1:
        return table_1["title"]
    marks = (table_1["undertrained"] > 0).map({True: f" {MARK}", False: ""})
    return table_1["title"] + marks


def _column(log: Sequence[dict], name: str) -> list:
    """A column of the evaluations."""
    return [entry.get(name) for entry in log if "validation" in entry]
