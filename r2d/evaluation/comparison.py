"""Do two methods differ? Seeds and test examples are both random, and examples are shared.

A method is judged by its runs: one a seed, all on the same test examples. That is the design of
several readers of the same cases, and its analysis is Obuchowski and Rockette's (1995), with
readers nested in methods (Hillis 2014). The variance of a difference of two methods' mean scores is

    seeds of A + seeds of B + (examples - what of them the seeds' variances already hold),

where a method's seeds have the sample variance of its runs' scores over their number, and examples
the variance of the difference with these runs held fixed, by a bootstrap that resamples examples
for all runs at once. Interval and p are those of Student's t with Satterthwaite's degrees of
freedom. Assumed: runs of a method are independent and alike, seeds of two methods are unrelated
(where they share a stage 1 the true variance is smaller), and a mean score is about normal. In
simulations equal methods of three runs each are told apart in 4 to 5 of 100 experiments; where one
method has two runs and the other five, in 9.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats

from r2d.errors import R2DError
from r2d.evaluation.stats import holm

RESAMPLES = 1000
LEVEL = 0.05


@dataclass(frozen=True)
class Scores:
    """A method's score by run, shape (runs,), and over resampled examples (resamples, runs)."""

    by_run: np.ndarray
    resampled: np.ndarray


@dataclass(frozen=True)
class Parts:
    """What the variance of a difference is made of, in squared units of the score.

    `seeds` and `runs` are of both methods; `examples` is without what the seeds' variances hold of
    it. Where a method has one run, `seeds` are 0.
    """

    seeds: tuple[float, float]
    examples: float
    runs: tuple[int, int]
    cases: int

    @property
    def variance(self) -> float:
        return sum(self.seeds) + self.examples

    @property
    def degrees(self) -> float:
        """Satterthwaite's degrees of freedom of the variance."""
        parts = (*self.seeds, self.examples)
        freedom = (*(runs - 1 for runs in self.runs), self.cases - 1)
        below = sum(part**2 / df for part, df in zip(parts, freedom, strict=True) if part)
        return self.variance**2 / below if below else np.inf


def resample(cases: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each of `cases` examples is drawn in each resample, (resamples, cases).

    Raises `R2DError` for fewer than two examples.
    """
    if cases < 2:
        raise R2DError(
            f"A comparison needs the same two or more examples from each run, not {cases}."
        )
    rng = np.random.default_rng(seed)
    return rng.multinomial(cases, np.full(cases, 1 / cases), size=resamples)


def mean_scores(values: Sequence[Sequence[float | None]], drawn: np.ndarray) -> Scores:
    """Mean of per-example values, (runs, examples), over the examples that have one.

    `drawn` is what `resample` gives.
    """
    table = np.array(values, dtype=float)
    known = np.isfinite(table)
    table = np.where(known, table, 0.0)
    sums, counts = drawn @ table.T, drawn @ known.T
    by_run = table.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return Scores(by_run, sums / np.maximum(counts, 1))


def macro_f1_scores(
    gold: Sequence[str],
    predicted: Sequence[Sequence[str | None]],
    labels: Sequence[str],
    drawn: np.ndarray,
) -> Scores:
    """Macro-F1 over the fixed `labels` of each run's predictions; None is an invalid label."""
    codes = {label: code for code, label in enumerate(labels)}
    truth = np.array([codes[label] for label in gold])
    by_run, resampled = [], []
    everything = np.ones((1, len(gold)))
    for answers in predicted:
        decided = np.array([codes.get(answer, -1) for answer in answers])
        counts = _f1_counts(truth, decided, len(labels))
        by_run.append(_macro_f1(everything, *counts)[0])
        resampled.append(_macro_f1(drawn, *counts))
    return Scores(np.array(by_run), np.stack(resampled, axis=1))


def compare(ours: Scores, theirs: Scores, cases: int) -> dict:
    """Two-sided test of ours minus theirs, which are scores under the same resampled examples.

    Returns `difference`, its standard error `se`, degrees of freedom `df`, `p`, and the `parts` of
    its variance. Where a method has one run all runs are held fixed: the test is then of these
    models over examples, and says nothing about the methods.
    """
    difference = float(ours.by_run.mean() - theirs.by_run.mean())
    parts = _parts(ours, theirs, cases)
    se = parts.variance**0.5
    p = 1.0
    if difference:
        p = float(2 * stats.t.sf(abs(difference) / se, parts.degrees)) if se else 0.0
    return {"difference": difference, "se": se, "df": parts.degrees, "p": p, "parts": parts}


def corrected(tests: Sequence[dict]) -> list[dict]:
    """The tests of `compare` with `p_holm`, and `low` and `high` at the level Holm tests each at.

    An interval excludes zero exactly where `p_holm` is below 0.05.
    """
    adjusted = []
    for test, p_holm in zip(tests, holm([test["p"] for test in tests]), strict=True):
        half = stats.t.isf(_level(test["p"], tests) / 2, test["df"]) * test["se"]
        low, high = test["difference"] - half, test["difference"] + half
        adjusted.append(test | {"p_holm": p_holm, "low": float(low), "high": float(high)})
    return adjusted


def power(
    parts: Parts, difference: float, runs: int, comparisons: int, repeats: int = 4000, seed: int = 0
) -> float:
    """Share of simulated experiments in which a true `difference` of methods is told apart.

    Both methods have `runs` runs, whose variances over seeds and over examples are those of
    `parts`; p is corrected for `comparisons` as its smallest one is by Holm's method.
    """
    rng = np.random.default_rng(seed)
    scale = np.array([part * n for part, n in zip(parts.seeds, parts.runs, strict=True)]) / runs
    noise = rng.normal(size=(repeats, 3)) * np.sqrt([*scale, parts.examples])
    found = difference + noise.sum(axis=1)
    seeds = scale * rng.chisquare(runs - 1, size=(repeats, 2)) / (runs - 1)
    variance = seeds.sum(axis=1) + parts.examples
    below = (seeds**2).sum(axis=1) / (runs - 1) + parts.examples**2 / (parts.cases - 1)
    p = 2 * stats.t.sf(np.abs(found) / np.sqrt(variance), variance**2 / below)
    return float((p * comparisons < LEVEL).mean())


def _parts(ours: Scores, theirs: Scores, cases: int) -> Parts:
    methods, runs = (ours, theirs), (len(ours.by_run), len(theirs.by_run))
    over_examples = _fixed(ours, theirs)
    if min(runs) < 2:
        return Parts((0.0, 0.0), over_examples, runs, cases)
    pairs = list(zip(methods, runs, strict=True))
    seeds = tuple(float(each.by_run.var(ddof=1)) / n for each, n in pairs)
    held = sum(_own_noise(each.resampled) / n for each, n in pairs)
    return Parts(seeds, max(0.0, over_examples - held), runs, cases)


def _fixed(ours: Scores, theirs: Scores) -> float:
    """Variance over examples of the difference of mean scores, with these runs held fixed."""
    differences = ours.resampled.mean(axis=1) - theirs.resampled.mean(axis=1)
    return float(differences.var(ddof=1))


def _own_noise(resampled: np.ndarray) -> float:
    """What a run's score varies by over examples on its own: variance minus mean covariance."""
    runs = resampled.shape[1]
    covariance = np.cov(resampled.T)
    shared = (covariance.sum() - np.trace(covariance)) / (runs * (runs - 1))
    return float(np.trace(covariance) / runs - shared)


def _level(p: float, tests: Sequence[dict]) -> float:
    """The level at which Holm's method tests a p-value among those of `tests`.

    A test is not tried where a smaller p-value was not significant: then it is the level at which
    that one fails.
    """
    smaller = np.sort([test["p"] for test in tests if test["p"] <= p])
    steps = len(tests) - np.arange(len(smaller))
    stricter = max(1.0, float((steps * smaller).max()) / p) if p else len(tests)
    return LEVEL / stricter


def _f1_counts(truth: np.ndarray, decided: np.ndarray, classes: int) -> tuple:
    """For each class, which examples are hits, and how often each is gold or predicted."""
    n, rows = len(truth), np.arange(len(truth))
    valid = decided >= 0
    hit = truth == decided

    def table(where: np.ndarray, columns: np.ndarray) -> sparse.csr_array:
        ones = np.ones(where.sum())
        return sparse.csr_array((ones, (rows[where], columns[where])), shape=(n, classes))

    named = table(np.ones(n, dtype=bool), truth) + table(valid, decided)
    return table(hit, truth), named


def _macro_f1(drawn: np.ndarray, hits: sparse.csr_array, named: sparse.csr_array) -> np.ndarray:
    """Macro-F1 of each row of `drawn`; a class that does not occur has 0, as in scikit-learn."""
    return (2 * (drawn @ hits) / np.maximum(drawn @ named, 1)).mean(axis=1)
