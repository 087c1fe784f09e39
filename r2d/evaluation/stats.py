"""Intervals and tests over test examples and seeds: every resampling is seeded and vectorised."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats
from scipy.sparse import csr_array
from statsmodels.stats.multitest import multipletests

from r2d.errors import R2DError

_BLOCK = 200  # resamples held in memory at a time


def interval(values: Sequence[float], resamples: int = 1000, seed: int = 0) -> list[float] | None:
    """95 % percentile bootstrap interval of the mean of per-example `values`, resampling examples.

    Returns [low, high] in the unit of `values`, or None for fewer than two examples.
    """
    if len(values) < 2:
        return None
    sample, rng = np.asarray(values, dtype=float), np.random.default_rng(seed)
    found = stats.bootstrap(
        (sample,), np.mean, n_resamples=resamples, batch=_BLOCK, method="percentile", rng=rng
    )
    return [float(bound) for bound in found.confidence_interval]


def interval_of_sums(
    rows: Sequence[Sequence[float]],
    statistic: Callable[[list], float],
    resamples: int = 1000,
    seed: int = 0,
) -> list[float] | None:
    """As `interval`, for a `statistic` of the column sums of `rows`, one row of counts per example (corpus BLEU)."""
    n = len(rows)
    if n < 2:
        return None
    drawn = np.random.default_rng(seed).multinomial(
        n, np.full(n, 1 / n), size=resamples
    ) @ np.asarray(rows)
    return _percentiles(np.array([statistic(row) for row in drawn.tolist()]))


def f1_intervals(confusion: Sequence[Sequence[int]], resamples: int = 1000, seed: int = 0) -> dict:
    """95 % percentile bootstrap intervals of macro-F1 and of every class's F1, from confusion counts.

    `confusion` is K x (K+1), as `r2d.metrics.classification` gives it. Resampling n examples with replacement
    draws the cells from a multinomial, so no example is touched. Returns {"macro": [low, high] | None,
    "per_class": K such intervals}; None for fewer than two examples.
    """
    counts = np.asarray(confusion)
    n, classes = int(counts.sum()), len(counts)
    if n < 2:
        return {"macro": None, "per_class": [None] * classes}
    cells = np.union1d(
        np.flatnonzero(counts), counts.size - 1
    )  # of 2,000 classes' 4 million few are filled
    drawn = np.random.default_rng(seed).multinomial(n, counts.ravel()[cells] / n, size=resamples)
    gold, predicted = np.divmod(cells, classes + 1)
    one_hot = [
        csr_array((np.ones_like(k), (range(len(k)), k)), (len(k), classes + 1))[:, :classes]
        for k in (gold, predicted)
    ]
    f1 = _f1((drawn * (gold == predicted)) @ one_hot[0], drawn @ one_hot[1], drawn @ one_hot[0])
    return {
        "macro": _percentiles(f1.mean(axis=1)),
        "per_class": [_percentiles(f1[:, k]) for k in range(classes)],
    }


def paired(a: Sequence[float], b: Sequence[float], resamples: int = 9999, seed: int = 0) -> dict:
    """Two-sided sign-flip permutation test that two methods have equal means on the same examples.

    `a` and `b` hold one score per example, in the same order. Returns the mean `difference` a - b, its bootstrap
    `interval` and `p` (exact when 2^n <= resamples). Raises `R2DError` unless both have the same length, at least two.
    """
    _same_length(a, b)
    gap = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    if not np.isfinite(gap).all():
        raise R2DError(
            "A paired test needs a score for every example: leave out the examples that have none."
        )
    settings = {"permutation_type": "samples", "n_resamples": resamples, "batch": _BLOCK}
    p = stats.permutation_test((gap,), np.mean, rng=np.random.default_rng(seed), **settings).pvalue
    return {
        "difference": float(gap.mean()),
        "interval": interval(gap, min(resamples, 1000), seed),
        "p": float(p),
    }


def holm(pvalues: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's step-down method, in the order given."""
    return [float(p) for p in multipletests(pvalues, method="holm")[1]] if len(pvalues) else []


def over_seeds(values: Sequence[float]) -> dict:
    """Mean, sample standard deviation and 95 % t interval over seeds; `sd` and `interval` are None for one seed."""
    if not len(values):
        raise R2DError("A mean over seeds needs at least one finished run: run one seed first.")
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return {"n": n, "mean": mean, "sd": None, "interval": None}
    sd = float(np.std(values, ddof=1))
    half = float(stats.t.ppf(0.975, n - 1)) * sd / n**0.5
    return {"n": n, "mean": mean, "sd": sd, "interval": [mean - half, mean + half]}


def _f1(hits: np.ndarray, predicted: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """F1 from counts; 0 for a class that is neither predicted nor gold, as scikit-learn's zero_division=0."""
    return 2 * hits / np.maximum(predicted + gold, 1)


def _percentiles(values: np.ndarray) -> list[float]:
    """The central 95 % of resampled values."""
    return [float(x) for x in np.percentile(values, [2.5, 97.5])]


def _same_length(*columns: Sequence) -> None:
    lengths = sorted({len(column) for column in columns})
    if len(lengths) > 1 or lengths[0] < 2:
        raise R2DError(
            f"A paired test needs the same two or more examples from each method, not {lengths} of them."
        )
