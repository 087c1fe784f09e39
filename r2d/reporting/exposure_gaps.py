"""The exposure gap (E6): what a rationale loses where it is told a wrong decision, and why.

Only wrong decisions count: elsewhere the model's own label and the gold one are the same. A gap can
be small for two reasons: the own label harms little, or the gold one helps little. So a method's
gap is compared with another's together with both of its sides.
"""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
import pandas as pd

from r2d.evaluation import comparison
from r2d.experiments.run import Run
from r2d.recipes import Recipe
from r2d.reporting import comparisons, tables
from r2d.reporting.exposure import (
    RATIONALE_MEASURES,
    against_zero,
    known_cases,
    metrics_of,
    said_runs,
)

QUALITY = ("names_reason", "bertscore_f1")  # the first that is known says what a rationale is worth
SIDES = ("gap", "told_own", "told_gold")
DIFFERENCES = ("dataset", "method", "against", "quality", "measure", "runs", "cases", "ours")
DIFFERENCES += ("theirs", "degenerate", "difference", "se", "df", "p", "p_holm", "low", "high")


def gaps(runs: Sequence[Run]) -> pd.DataFrame:
    """What a rationale's score changes by where a wrong decision, not the gold label, is told.

    A row a measure and method whose prompt names a label: `difference` is own minus gold over
    wrongly decided cases, with `p_holm` and interval as in `comparison`, seeds and cases random,
    corrected for the methods on a measure; `runs` is 1 where they are of one model. `degenerate` is
    the share of such rationales.
    """
    metrics, titles = metrics_of(runs), {run.method: run.title for run in runs}
    rows = []
    for dataset in dict.fromkeys(dataset for dataset, _ in metrics):
        for measure in RATIONALE_MEASURES:
            tests = {}
            for (of, method), measured in metrics.items():
                if of == dataset and is_known(measured, measure):
                    tests[method] = against_zero(_values(measured, measure, "gap"))
            for method, test in zip(tests, comparison.corrected(list(tests.values())), strict=True):
                parts = test.pop("parts")
                names = {"dataset": dataset, "method": method, "title": titles[method]}
                share = comparisons.degenerate(metrics[dataset, method])
                counts = {"measure": measure, "runs": parts.runs[0], "degenerate": share}
                rows.append(names | counts | test)
    return pd.DataFrame(rows)


def differences(recipe: Recipe, runs: Sequence[Run]) -> pd.DataFrame:
    """Is the reference's gap another method's, and which of its sides makes the difference?

    Three rows a method whose prompt names a label, one of each of `SIDES`: of the gap, and of the
    score told the own wrong label and told the gold one, each over the cases that a method decides
    wrongly itself. `difference` is the reference's (`ours`) minus the other's (`theirs`), tested
    as in `comparison`, corrected for the methods on a side. `quality` names the score; `degenerate`
    is the share of such rationales, the larger of the two.
    """
    metrics = metrics_of(runs)
    rows = []
    for dataset in dict.fromkeys(dataset for dataset, _ in metrics):
        known = {method: found for (of, method), found in metrics.items() if of == dataset}
        quality = _quality(known.get(recipe.reference, []))
        others = [m for m in known if m != recipe.reference and is_known(known[m], quality)]
        for side in SIDES if quality else ():
            tests = [side_test(known[recipe.reference], known[m], quality, side) for m in others]
            for method, test in zip(others, comparison.corrected(tests), strict=True):
                parts = test.pop("parts")
                names = {"dataset": dataset, "method": recipe.reference, "against": method}
                names |= {"quality": quality, "measure": side}
                counts = {"runs": min(parts.runs), "cases": parts.cases}
                means = {
                    name: _mean(known[of], quality, side)
                    for name, of in (("ours", recipe.reference), ("theirs", method))
                }
                shares = [comparisons.degenerate(known[of]) for of in (recipe.reference, method)]
                rows.append(names | counts | means | {"degenerate": max(shares)} | test)
    return pd.DataFrame(rows, columns=list(DIFFERENCES))


def _quality(measured: Sequence[dict]) -> str:
    """The first of `QUALITY` that these runs have under both prompts; "" for none."""
    return next((name for name in QUALITY if is_known(measured, name)), "")


def is_known(measured: Sequence[dict], measure: str) -> bool:
    """Whether every run has a wrong decision with this score under both prompts.

    And all of them together two or more, so that they can be tested.
    """
    gaps = [_side(each["per_example"], measure, "gap") for each in measured]
    if not gaps or not all(gap.notna().any() for gap in gaps):
        return False
    return _values(measured, measure, "gap").shape[1] > 1


def _side(examples: dict, measure: str, side: str) -> pd.Series:
    """One of `SIDES` of each wrongly decided case by its id, NaN elsewhere.

    Empty where the gold label was not told.
    """
    given_gold = examples.get(f"{measure}_given_gold")
    if not given_gold or measure not in examples:
        return pd.Series(dtype=float)
    own, gold = (np.array(x, dtype=float) for x in (examples[measure], given_gold))
    of_sides = {"gap": own - gold, "told_own": own, "told_gold": gold}
    counts = (np.array(examples["correct"]) == 0) & np.isfinite(own - gold)
    return pd.Series(np.where(counts, of_sides[side], np.nan), index=examples["id"])


def _values(measured: Sequence[dict], measure: str, side: str) -> np.ndarray:
    """That side in every run, (runs, cases), of the cases that any run decides wrongly."""
    sides = [_side(each["per_example"], measure, side) for each in measured]
    return known_cases(pd.concat(sides, axis=1, join="inner").to_numpy().T)


def side_test(ours: Sequence[dict], theirs: Sequence[dict], measure: str, side: str) -> dict:
    """`comparison.compare` of two methods' metrics on one of `SIDES` of a measure."""
    values = _values([*ours, *theirs], measure, side)
    cases = values.shape[1]
    drawn = comparison.resample(cases)
    parts = values[: len(ours)], values[len(ours) :]
    scores = [comparison.mean_scores(part, drawn) for part in parts]
    return comparison.compare(*scores, cases)


def _mean(measured: Sequence[dict], measure: str, side: str) -> float:
    """A method's mean over its runs."""
    return fmean(_side(each["per_example"], measure, side).mean() for each in measured)


def told_from_zero(recipe: Recipe, table: pd.DataFrame) -> list[str]:
    """The gaps that corrected tests tell from zero, a sentence a measure."""
    sentences = []
    told = table[comparisons.are_clear(table)] if len(table) else table
    for (dataset, _), rows in told.groupby(["dataset", "measure"], sort=False) if len(told) else ():
        each = "; ".join(
            f"{row['title']} {comparisons.in_points(row)}{comparisons.inflated(row)}"
            for _, row in rows.iterrows()
        )
        sentences.append(
            f"In wrongly decided cases of {dataset} the own label told instead of the gold one "
            f"changes {tables.heading(rows['measure'].iloc[0], recipe)}: {each}, corrected p at "
            f"most {rows['p_holm'].max():.2g} ({said_runs(rows['runs'].min())})."
        )
    return sentences


def left(recipe: Recipe, table: pd.DataFrame) -> list[str]:
    """The other gaps, a sentence a dataset; those of one model each have their own."""
    sentences = []
    rest = table[~comparisons.are_clear(table)] if len(table) else table
    for dataset, rows in rest.groupby("dataset", sort=False) if len(rest) else ():
        what = "own label minus gold one in wrongly decided cases"
        several, single = rows[rows["runs"] > 1], rows[rows["runs"] < 2]
        if len(several):
            each = "; ".join(
                f"{_in_words(recipe, row)} ({said_runs(row['runs'])})"
                for _, row in several.iterrows()
            )
            sentences.append(f"Not told from zero on {dataset}, {what}: {each}.")
        if len(single):
            each = "; ".join(_in_words(recipe, row) for _, row in single.iterrows())
            sentences.append(
                f"One run each on {dataset}, {what}, says nothing about the methods; of these "
                f"models, with 95 % intervals over cases: {each}."
            )
    return sentences


def _in_words(recipe: Recipe, row: pd.Series) -> str:
    of = tables.heading(row["measure"], recipe)
    return f"{row['title']} {of} {comparisons.in_points(row)}{comparisons.inflated(row)}"


def told_apart(recipe: Recipe, table: pd.DataFrame) -> list[str]:
    """A sentence for each method whose gap the tests of `differences` tell from the reference's."""
    return [_compared(recipe, rows) for rows in _by_method(table) if _gap_is_clear(rows)]


def not_told_apart(recipe: Recipe, table: pd.DataFrame) -> list[str]:
    """The other methods of `differences`, a sentence each."""
    return [_compared(recipe, rows) for rows in _by_method(table) if not _gap_is_clear(rows)]


def _gap_is_clear(rows: pd.DataFrame) -> bool:
    """Whether the first of a method's rows, which is the gap's, tells the two apart."""
    return bool(comparisons.are_clear(rows.iloc[0]))


def _by_method(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of `differences` of each method, in the order of `SIDES`."""
    if table.empty:
        return []
    return [rows for _, rows in table.groupby(["dataset", "against"], sort=False)]


def _compared(recipe: Recipe, rows: pd.DataFrame) -> str:
    """The gaps of two methods and both their sides, in a sentence, and which side it comes from."""
    gap, own, gold = (row for _, row in rows.iterrows())
    ours, theirs = (recipe.methods[gap[name]].title for name in ("method", "against"))
    name = tables.heading(gap["quality"], recipe)
    text = (
        f"In wrongly decided cases of {gap['dataset']} the gap of {ours} in '{name}', own label "
        f"told minus gold one, is {_points(gap['ours'])}, that of {theirs} "
        f"{_points(gap['theirs'])}: {comparisons.in_points(gap)}{comparisons.inflated(gap)}, "
        f"{_outcome(gap)}. Told its own wrong label: {_side_in_words(own)}; told the gold one: "
        f"{_side_in_words(gold)}."
    )
    return f"{text}{_because(gap, own, gold)}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _outcome(row: pd.Series) -> str:
    if row["runs"] < 2:
        return "one run each, which says nothing about the methods"
    p = f"corrected {comparisons.p_value(row)} ({row['runs']:.0f} runs a method)"
    return p if comparisons.are_clear(row) else f"not told apart, {p}"


def _side_in_words(row: pd.Series) -> str:
    return (
        f"{100 * row['ours']:.1f} against {100 * row['theirs']:.1f} ({comparisons.in_points(row)})"
    )


def _because(gap: pd.Series, own: pd.Series, gold: pd.Series) -> str:
    """Which side makes the difference of two gaps that are told apart, as a sentence.

    A side that pulls the other way makes none. "" where no side is told.
    """
    if not comparisons.are_clear(gap):
        return ""
    smaller = gap["difference"] > 0
    sides = [
        (own, own["difference"] > 0, "its own label harms"),
        (gold, gold["difference"] < 0, "the gold label helps"),
    ]
    told, untold = [], []
    for row, makes_it_smaller, words in sides:
        if makes_it_smaller == smaller:
            sentence = f"{words} {'less' if smaller else 'more'}"
            (told if comparisons.are_clear(row) else untold).append(sentence)
    if not told:
        return ""
    rest = f"; whether {untold[0]} is not told" if untold else ""
    return f" So {' and '.join(told)}{rest}."
