"""Intervals of one run over its test examples, and over seeds: every resampling is seeded."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

from r2d.errors import R2DError

_BLOCK = 200  # resamples held in memory at a time


def interval(values: Sequence[float], resamples: int = 1000, seed: int = 0) -> list[float] | None:
    """95 % percentile bootstrap interval of the mean of per-example `values`, resampling examples.

    Returns [low, high] in the unit of `values`, or None for fewer than two examples.
    """
    if len(values) < 2:
        return None
    bootstrap = stats.bootstrap(
        (np.asarray(values, dtype=float),),
        np.mean,
        n_resamples=resamples,
        batch=_BLOCK,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return [float(bound) for bound in bootstrap.confidence_interval]


def interval_of_sums(
    rows: Sequence[Sequence[float]],
    statistic: Callable[[list], float],
    resamples: int = 1000,
    seed: int = 0,
) -> list[float] | None:
    """As `interval`, for a `statistic` of the column sums of `rows`, as corpus BLEU is one.

    `rows` holds one row of counts per example.
    """
    n = len(rows)
    if n < 2:
        return None
    times_drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    sums = times_drawn @ np.asarray(rows)
    return _percentiles(np.array([statistic(row) for row in sums.tolist()]))


def f1_intervals(confusion: Sequence[Sequence[int]], resamples: int = 1000, seed: int = 0) -> dict:
    """95 % percentile bootstrap intervals of macro-F1 and of every class's F1, from its counts.

    `confusion` is K x (K+1), as `metrics.classification` gives it. Resampling n examples with
    replacement draws its cells from a multinomial, so no example is touched. Returns
    {"macro": [low, high] | None, "per_class": K such intervals}; None for fewer than two examples.
    """
    counts = np.asarray(confusion)
    n, classes = int(counts.sum()), len(counts)
    if n < 2:
        return {"macro": None, "per_class": [None] * classes}
    rng = np.random.default_rng(seed)
    f1 = np.empty((classes, resamples))
    for k in range(resamples):  # one table in memory at a time: it may have 2,000 classes
        drawn = rng.multinomial(n, counts.ravel() / n).reshape(counts.shape)
        f1[:, k] = _f1(drawn)
    return {
        "macro": _percentiles(f1.mean(axis=0)),
        "per_class": [_percentiles(values) for values in f1],
    }


def holm(pvalues: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's step-down method, in the order given."""
    if not len(pvalues):
        return []
    adjusted = multipletests(pvalues, method="holm")[1]
    return [float(p) for p in adjusted]


def over_seeds(values: Sequence[float]) -> dict:
    """Mean, sample standard deviation and 95 % t interval over seeds.

    `sd` and `interval` are None for one seed.
    """
    if not len(values):
        raise R2DError("A mean over seeds needs at least one finished run: run one seed first.")
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return {"n": n, "mean": mean, "sd": None, "interval": None}
    sd = float(np.std(values, ddof=1))
    half = float(stats.t.ppf(0.975, n - 1)) * sd / n**0.5
    return {"n": n, "mean": mean, "sd": sd, "interval": [mean - half, mean + half]}


def _f1(confusion: np.ndarray) -> np.ndarray:
    """F1 of every class of a K x (K+1) table.

    It is 0 for a class neither predicted nor gold, as under scikit-learn's zero_division=0.
    """
    classes = len(confusion)
    correct = np.diagonal(confusion)
    gold = confusion.sum(axis=1)
    predicted = confusion.sum(axis=0)[:classes]
    return 2 * correct / np.maximum(predicted + gold, 1)


def _percentiles(values: np.ndarray) -> list[float]:
    """The central 95 % of resampled values."""
    return [float(x) for x in np.percentile(values, [2.5, 97.5])]
