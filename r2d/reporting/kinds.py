"""What goes wrong where: labels and rationales by what has to be read for the label.

Only synthetic triage says that of its notes (`data.triage`: plain, negation, relative, modifier,
two findings).
"""

from collections.abc import Sequence

import pandas as pd

from r2d.data.triage import KINDS
from r2d.evaluation import stats, support
from r2d.experiments.run import Run
from r2d.recipes import Recipe

ALL = "all"


def by_kind(runs: Sequence[Run]) -> pd.DataFrame:
    """Accuracy, and agreement of label and rationale, by kind of case and of all cases.

    One row a dataset, method and kind that it has: `cases`, `runs`, `accuracy` with its interval
    over cases, `agreement`, and of the `disagreements` (a run's mean number) the shares in which
    the label is right (`label_right`), and in which the rationale supports the gold label
    (`rationale_right`). Means over runs.
    """
    cases = pd.concat([_cases(run) for run in runs], ignore_index=True)
    rows = []
    for names, part in cases.groupby(["dataset", "method", "title"], sort=False):
        kinds = {kind: part[part["kind"] == kind] for kind in KINDS} | {ALL: part}
        found = dict(zip(("dataset", "method", "title"), names, strict=True))
        rows += [found | {"kind": kind} | _row(own) for kind, own in kinds.items() if len(own)]
    return pd.DataFrame(rows)


def table(kinds: pd.DataFrame) -> pd.DataFrame:
    """Accuracy / agreement in points of 100: a row a dataset and method, a column a kind.

    A kind's heading has its number of test cases; a method without rationales has no agreement.
    """
    rows: dict[tuple, dict] = {}
    for _, cell in kinds.iterrows():
        row = rows.setdefault((cell["dataset"], cell["method"]), {"method": cell["title"]})
        agreement = "–" if pd.isna(cell["agreement"]) else f"{100 * cell['agreement']:.0f}"
        row[f"{cell['kind']} ({cell['cases']:.0f})"] = f"{100 * cell['accuracy']:.0f} / {agreement}"
    return pd.DataFrame(rows.values()).fillna("–")


def sentences(recipe: Recipe, kinds: pd.DataFrame) -> list[str]:
    """Three a dataset: what the reference decides worst, and when labels and rationales disagree.

    Where the reference is not among the methods it is the last of them.
    """
    said = []
    for dataset, rows in kinds.groupby("dataset", sort=False) if len(kinds) else ():
        methods = list(rows["method"])
        method = recipe.reference if recipe.reference in methods else methods[-1]
        said.append(_worst(rows[rows["method"] == method].set_index("kind"), dataset))
        explained = rows[rows["agreement"].notna()]
        if len(explained):
            said += _disagreements(explained, dataset)
    return said


def _cases(run: Run) -> pd.DataFrame:
    """A row a test case whose kind is known: right or not, and what its rationale supports."""
    finished = run.read()
    measured = finished["metrics"]["per_example"]
    columns = ["id", "kind", "gold", "rationale"]
    cases = pd.DataFrame(finished["predictions"]).reindex(columns=columns)
    agreement = pd.Series(measured.get("agreement"), cases.index, dtype=float)
    cases = cases.assign(correct=measured["correct"], agreement=agreement)
    cases = cases[cases["kind"].isin(KINDS)]
    supports_gold = pd.Series(support.advised(cases["rationale"]), cases.index) == cases["gold"]
    return cases.assign(**run.names, title=run.title, supports_gold=supports_gold)


def _row(cases: pd.DataFrame) -> dict:
    by_case = cases.groupby("id")["correct"].mean()
    low, high = stats.interval(by_case.tolist()) or (None, None)
    apart = cases[cases["agreement"] == 0]
    runs = cases["seed"].nunique()
    return {
        "cases": len(by_case),
        "runs": runs,
        "accuracy": by_case.mean(),
        "accuracy_low": low,
        "accuracy_high": high,
        "agreement": cases["agreement"].mean(),
        "disagreements": len(apart) / runs,
        "label_right": apart["correct"].mean(),
        "rationale_right": apart["supports_gold"].mean(),
    }


def _worst(own: pd.DataFrame, dataset: str) -> str:
    order = own.drop(index=ALL)["accuracy"].sort_values().index
    worst, best = own.loc[order[0]], own.loc[order[-1]]
    overlap = worst["accuracy_high"] >= best["accuracy_low"]
    noise = "; their 95 % intervals over cases overlap" if overlap else ""
    return (
        f"On {dataset} {worst['title']} decides {worst['accuracy']:.1%} of the "
        f"{worst['cases']:.0f} cases of kind {order[0]!r} right, its worst, and "
        f"{best['accuracy']:.1%} of the "
        f"{best['cases']:.0f} of kind {order[-1]!r}, its best{noise}."
    )


def _disagreements(explained: pd.DataFrame, dataset: str) -> list[str]:
    """How often each method's label and rationale disagree, and then of the one that does most."""
    whole = explained[explained["kind"] == ALL].sort_values("agreement", kind="stable")
    shares = [f"{row['title']} {1 - row['agreement']:.1%}" for _, row in whole.iterrows()]
    said = [f"Label and rationale disagree on {dataset} in these shares: {', '.join(shares)}."]
    most = whole.iloc[0]
    if most["disagreements"]:
        kinds = explained[(explained["method"] == most["method"]) & (explained["kind"] != ALL)]
        kind = kinds.loc[kinds["agreement"].idxmin()]
        said.append(
            f"Where label and rationale of {most['title']} disagree "
            f"({most['disagreements']:.0f} cases a run, most often of kind {kind['kind']!r}), the "
            f"label is right in {most['label_right']:.0%}, and the rationale supports the gold "
            f"label in {most['rationale_right']:.0%}."
        )
    return said
