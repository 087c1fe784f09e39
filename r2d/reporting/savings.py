"""How many notes does a method need for what SFT reaches with so many? (E9, figure 8c)

The curves are of mean macro-F1 over the logarithm of the number of training notes, at one level of
label noise. SFT is the first of the runs' methods with that objective (`learning_curves.roles`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import stats

from r2d.evaluation import comparison
from r2d.evaluation.comparison import LEVEL
from r2d.experiments.run import Run
from r2d.recipes import Recipe
from r2d.reporting import comparisons, exposure, learning_curves

STEPS = 1000  # between two sizes of a curve, where its interval is looked for


@dataclass(frozen=True)
class Point:
    """A method's macro-F1 at one size: a point of its curve.

    `seeds` is the variance of `mean` over seeds, of `runs` runs, and `examples` what examples add;
    `resampled` are means over the same resamples of examples for all points.
    """

    mean: float
    runs: int
    seeds: float
    examples: float
    resampled: np.ndarray


def notes_needed(recipe: Recipe, runs: Sequence[Run]) -> pd.DataFrame:
    """How many notes each method needs to reach SFT's macro-F1 with so many.

    A row a noise level, method and size of SFT's but the smallest, `sft_notes`; `against` is SFT's
    name. `needed` is where the mean curve, straight between sizes on a logarithmic axis, first
    reaches SFT's mean there (`target`); empty where it does not, and the smallest size where that
    is enough. The interval inverts the tests, seeds and cases random: up to `low` they tell the
    curve below SFT's score, from `high` on above it. Each is at 5 % over the sizes and noise levels
    that both methods have, so that of a rising curve holds SFT's own size wherever
    `learning_curves.tests` do not tell the two apart there. An end is empty where it is not
    reached, both where one has a single run; `seeds` is the smallest number.
    """
    metrics = exposure.metrics_of(runs)
    methods = list(dict.fromkeys(run.method for run in runs))
    sft = learning_curves.roles(recipe, methods).get("sft")
    rows = []
    for card, entries in learning_curves.by_card(recipe, runs).items():
        for noise, at in _by_noise(recipe, entries).items():
            curves, cases = _curves(recipe, metrics, at)
            goals = list(curves.pop(sft, {}).items())[1:]
            for method, curve in curves.items():
                if len(curve) < 2:
                    continue
                both = [(entry, method) in metrics and (entry, sft) in metrics for entry in entries]
                level = LEVEL / max(1, sum(both))
                names = {"dataset": card, "noise": noise, "method": method}
                names |= {"title": recipe.methods[method].title, "against": sft}
                for size, goal in goals:
                    needs = _needed(curve, goal, cases, level)
                    rows.append(names | {"sft_notes": size} | needs)
    return pd.DataFrame(rows)


def _by_noise(recipe: Recipe, entries: Sequence[str]) -> dict[float, list[str]]:
    """The entries of each noise level, by size."""
    found: dict[float, list[str]] = {}
    for entry in sorted(entries, key=lambda name: recipe.datasets[name].train):
        found.setdefault(recipe.datasets[entry].noise, []).append(entry)
    return found


def _curves(
    recipe: Recipe, metrics: dict[tuple[str, str], list[dict]], entries: Sequence[str]
) -> tuple[dict[str, dict[int, Point]], int]:
    """Every method's curve over these entries, by size, and the cases that all of it is of."""
    chosen = {
        (entry, method): measured
        for (entry, method), measured in metrics.items()
        if entry in entries and comparisons.has(measured, "macro_f1")
    }
    if not chosen:
        return {}, 0
    examples = _of_shared_cases(chosen)
    cases = len(next(iter(examples.values()))[0])
    drawn = comparison.resample(cases)
    curves: dict[str, dict[int, Point]] = {}
    for entry, method in sorted(examples, key=lambda key: entries.index(key[0])):
        labels = chosen[entry, method][0]["labels"]
        point = _point(examples[entry, method], labels, drawn)
        curves.setdefault(method, {})[recipe.datasets[entry].train] = point
    return curves, cases


def _of_shared_cases(
    metrics: dict[tuple[str, str], list[dict]],
) -> dict[tuple[str, str], list[pd.DataFrame]]:
    """Every run's values of the cases that all of these runs have, by case."""
    examples = {
        key: [pd.DataFrame(each["per_example"]).set_index("id") for each in measured]
        for key, measured in metrics.items()
    }
    first, *others = [each for parts in examples.values() for each in parts]
    shared = first.index
    for each in others:
        shared = shared.intersection(each.index, sort=False)
    return {key: [each.loc[shared] for each in parts] for key, parts in examples.items()}


def _point(runs: Sequence[pd.DataFrame], labels: Sequence[str], drawn: np.ndarray) -> Point:
    """The point of a method's runs on one entry, its variance split as in `comparison`."""
    predicted = [each["predicted"] for each in runs]
    scores = comparison.macro_f1_scores(runs[0]["gold"], predicted, labels, drawn)
    nothing = comparison.Scores(np.zeros_like(scores.by_run), np.zeros_like(scores.resampled))
    parts = comparison.compare(scores, nothing, len(runs[0]))["parts"]
    means = scores.resampled.mean(axis=1)
    return Point(scores.by_run.mean(), len(runs), parts.seeds[0], parts.examples, means)


def _needed(curve: dict[int, Point], goal: Point, cases: int, level: float) -> dict:
    """The cells of `notes_needed` of one curve, its points by size."""
    sizes, points = list(curve), list(curve.values())
    needed = crossing(sizes, [point.mean for point in points], goal.mean)
    seeds = min(point.runs for point in [*points, goal])
    low = high = np.inf
    if seeds > 1:
        low, high = _interval(curve, goal, cases, level)
        low = min(low, needed)  # which lies between two steps
    ends = {"needed": needed, "low": low, "high": high}
    finite = {name: float(end) if np.isfinite(end) else None for name, end in ends.items()}
    shared = {"target": goal.mean, "smallest": sizes[0], "largest": sizes[-1], "seeds": seeds}
    return shared | finite


def _interval(
    curve: dict[int, Point], goal: Point, cases: int, level: float
) -> tuple[float, float]:
    """The first sizes where a curve is not told below `goal`, and where it is told above it."""
    low = high = np.inf
    shares = np.linspace(0, 1, STEPS + 1)
    for (size, point), (more, after) in pairwise(curve.items()):
        notes = size * (more / size) ** shares
        below, above = _told(point, after, goal, shares, cases, level)
        low = min([low, *notes[~below][:1]])
        high = min([high, *notes[above][:1]])
    return low, high


def _told(
    first: Point, second: Point, goal: Point, shares: np.ndarray, cases: int, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where on the line from the first point to the second it is told below `goal`, and above.

    `shares` are how far along; the test is that of `comparison.compare`, of three means.
    """
    points = (first, second, goal)
    weights = np.array([1 - shares, shares, -np.ones_like(shares)])
    covariance = np.cov([point.resampled for point in points])
    np.fill_diagonal(covariance, [point.examples for point in points])
    over_examples = np.einsum("iw,ij,jw->w", weights, covariance, weights).clip(0)
    over_seeds = weights**2 * np.array([[point.seeds] for point in points])
    parts = np.vstack([over_seeds, over_examples])
    freedom = np.array([[point.runs - 1] for point in points] + [[cases - 1]])
    variance, below = parts.sum(axis=0), (parts**2 / freedom).sum(axis=0)
    degrees = np.divide(variance**2, below, out=np.full_like(below, np.inf), where=below > 0)
    half = stats.t.isf(level / 2, degrees) * np.sqrt(variance)
    difference = np.array([point.mean for point in points]) @ weights
    return difference + half < 0, difference - half > 0


def crossing(sizes: Sequence[float], scores: Sequence[float], target: float) -> float:
    """The size at which a curve, straight over log size, first reaches `target`; inf if nowhere.

    The first size where that is enough.
    """
    if scores[0] >= target:
        return float(sizes[0])
    for (size, score), (more, better) in pairwise(zip(sizes, scores, strict=True)):
        if better >= target:
            share = (target - score) / (better - score)
            return float(size * (more / size) ** share)
    return np.inf


def told_notes(saved: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of `notes_needed` that are told to need fewer notes than SFT had, and more."""
    ends = saved[["low", "high"]].astype(float)
    fewer = ends["high"] < saved["sft_notes"]
    nowhere = ends["low"].isna() & (saved["largest"] >= saved["sft_notes"])
    more = (ends["low"] > saved["sft_notes"]) | nowhere
    several = saved["seeds"] > 1
    return saved[several & fewer], saved[several & more]
