"""Was a run still learning when its steps ran out? Read from its log, told wherever it is shown.

The best evaluation of such a run is the last, or the last but one: a dip at the end is no sign that
a run has learned all it can. Patience of two evaluations or more stops no run there. More steps
might have raised its scores.
"""

from collections.abc import Sequence

import pandas as pd

MARK = "‡"
LAST = 2  # evaluations at the end that count as the end, where there are twice as many or more


def still_climbing(log: Sequence[dict]) -> bool:
    """Whether validation climbed up to the end: the best of all evaluations is among the last.

    `log` has the entries of `log.jsonl`, some with an evaluation's `validation` (higher is better).
    Evaluations before checkpoints are selected count, too.
    """
    scores = _validation(log)
    last = LAST if len(scores) >= 2 * LAST else 1
    return len(scores) > 1 and _best(scores) >= len(scores) - last


def sentence(log: Sequence[dict]) -> str:
    """What to say of one run beside its training curve; nothing where that has no end to see."""
    scores = _validation(log)
    if len(scores) < 2:
        return ""
    if not still_climbing(log):
        return "Validation had stopped improving before the last evaluations."
    best = _best(scores)
    before, highest = (abs(score) for score in scores[best - 1 : best + 1])
    which = "the last" if best == len(scores) - 1 else "the last but one"
    return (
        f"Undertrained: the best evaluation is {which} ({before:.3f} to {highest:.3f}); more steps "
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


def _validation(log: Sequence[dict]) -> list[float]:
    return [entry["validation"] for entry in log if "validation" in entry]


def _best(scores: list[float]) -> int:
    """The place of the highest score, the first of equal ones."""
    return scores.index(max(scores))
