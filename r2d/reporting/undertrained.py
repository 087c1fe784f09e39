"""Was a run still learning when its steps ran out? Read from its log, told wherever it is shown.

The best checkpoint of such a run is the last one, and better than the evaluation before it; a run
that patience stopped never ends so. More steps might have raised its scores.
"""

from collections.abc import Sequence

import pandas as pd

MARK = "‡"


def still_climbing(log: Sequence[dict]) -> bool:
    """Whether validation climbed up to the last evaluation, which is the one that was kept.

    `log` has the entries of `log.jsonl`: an evaluation's `validation` (higher is better) and `best`
    so far, which is empty before checkpoints are selected.
    """
    scores, best = _column(log, "validation"), _column(log, "best")
    if len(scores) < 2 or scores[-1] <= scores[-2]:
        return False
    return best[-1] == scores[-1] != best[-2]


def sentence(log: Sequence[dict]) -> str:
    """What to say of one run beside its training curve; nothing where that has no end to see."""
    scores = _column(log, "validation")
    if len(scores) < 2:
        return ""
    if not still_climbing(log):
        return "Validation had stopped improving at the last evaluation."
    before, last = (abs(score) for score in scores[-2:])
    return (
        f"Undertrained: validation still improved at the last evaluation ({before:.3f} to "
        f"{last:.3f}); more steps might help."
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
            f"{MARK} Undertrained on {dataset}, as validation still climbed at the last step: "
            f"{counted}; more steps might raise their scores."
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
