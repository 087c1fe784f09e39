"""Is a difference real? Paired tests on the same test cases, and what they say in words."""

from collections.abc import Sequence

import pandas as pd

from r2d.errors import R2DError
from r2d.evaluation import stats
from r2d.experiments.run import Run
from r2d.recipes import Recipe


def compare(
    runs: Sequence[Run], dataset: str, against: Sequence[str], reference: str
) -> pd.DataFrame:
    """Paired permutation tests of accuracy, `reference` minus each other method, Holm-corrected.

    An example's value is its mean correctness over seeds, so examples, not seeds times examples,
    are the sample. Raises `R2DError` for a method without a run.
    """
    ours = _correctness(runs, dataset, reference)
    seeds = sum((run.dataset, run.method) == (dataset, reference) for run in runs)
    rows = []
    for method in against:
        theirs = _correctness(runs, dataset, method)
        shared = ours.index.intersection(theirs.index)
        test = stats.paired(ours[shared], theirs[shared])
        low, high = test["interval"]
        rows.append(
            {
                "dataset": dataset,
                "method": reference,
                "against": method,
                "seeds": seeds,
                "difference": test["difference"],
                "p": test["p"],
                "low": low,
                "high": high,
            }
        )
    adjusted = stats.holm([row["p"] for row in rows]) if rows else []
    return pd.DataFrame([row | {"p_holm": p} for row, p in zip(rows, adjusted, strict=True)])


def with_reference(recipe: Recipe, frame: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """`compare` of the recipe's reference with every other method of `frame`, dataset by dataset.

    A dataset without the reference is left out. `frame` has a row a run of `runs`.
    """
    tests = []
    for dataset, rows in frame.groupby("dataset", sort=False):
        methods = list(dict.fromkeys(rows["method"]))
        others = [method for method in methods if method != recipe.reference]
        if recipe.reference in methods and others:
            tests.append(compare(runs, dataset, others, recipe.reference))
    return pd.concat(tests, ignore_index=True) if tests else pd.DataFrame()


def sentences(recipe: Recipe, tests: pd.DataFrame) -> list[str]:
    """Every comparison in words; a difference inside its noise is said to be one."""
    return [_sentence(recipe, row) for _, row in tests.iterrows()]


def _sentence(recipe: Recipe, row: pd.Series) -> str:
    a = recipe.methods[row["method"]].title
    b = recipe.methods[row["against"]].title
    around = f"95 % interval {100 * row['low']:+.1f} to {100 * row['high']:+.1f}"
    size = f"{100 * row['difference']:+.1f} points of accuracy ({around})"
    where = f"{row['dataset']} ({row['seeds']:.0f} seed{'s' if row['seeds'] > 1 else ''})"
    corrected = f"corrected p = {row['p_holm']:.2g}"
    if row["p_holm"] >= 0.05:
        return f"{a} and {b} can't be told apart on {where}: {size}, {corrected}."
    verb = "beats" if row["difference"] > 0 else "is beaten by"
    return f"{a} {verb} {b} on {where}: {size}, {corrected}."


def _correctness(runs: Sequence[Run], dataset: str, method: str) -> pd.Series:
    """Mean correctness over a method's seeds, one value an example, by its id."""
    chosen = [run for run in runs if (run.dataset, run.method) == (dataset, method)]
    if not chosen:
        raise R2DError(
            f"There is no run of {method} on {dataset} to compare; add it to the experiment."
        )
    examples = [run.read()["metrics"]["per_example"] for run in chosen]
    seeds = [pd.Series(each["correct"], index=each["id"], dtype=float) for each in examples]
    return pd.concat(seeds, axis=1).mean(axis=1)
