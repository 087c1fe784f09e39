"""Intervals and tests agree with brute force, scipy and scikit-learn; the same seed repeats."""

import time
import tracemalloc

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import confusion_matrix, f1_score

from r2d.errors import R2DError
from r2d.evaluation import stats

LABELS = ["yes", "no", "maybe"]


@pytest.fixture(scope="module")
def predictions():
    """Gold labels and predicted ones, an unseen one among them, for 600 examples."""
    rng = np.random.default_rng(3)
    gold = rng.choice(LABELS, 600, p=[0.55, 0.35, 0.1])
    predicted = np.where(rng.random(600) < 0.5, gold, rng.choice([*LABELS, "perhaps"], 600))
    return gold.tolist(), predicted.tolist()


def test_mean_interval_is_the_textbook_one_for_many_examples():
    values = np.random.default_rng(0).normal(5, 2, 2000)
    low, high = stats.interval(values)
    half = 1.96 * values.std(ddof=1) / 2000**0.5
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_mean_interval_covers_the_true_mean_about_95_times_in_100():
    draws = np.random.default_rng(1).binomial(1, 0.7, size=(200, 100))
    bounds = [stats.interval(row, resamples=300) for row in draws]
    covered = sum(low <= 0.7 <= high for low, high in bounds)
    assert 180 <= covered <= 199


def test_same_seed_same_interval_and_another_seed_another():
    values = np.random.default_rng(2).random(50)
    first = stats.interval(values, seed=1)
    assert stats.interval(values, seed=1) == first != stats.interval(values, seed=2)


def test_no_interval_from_one_example():
    assert stats.interval([0.5]) is None
    assert stats.interval_of_sums([[1, 2]], sum) is None
    assert stats.f1_intervals([[1, 0, 0], [0, 0, 0]]) == {"macro": None, "per_class": [None, None]}


def test_interval_of_sums_agrees_with_the_mean_interval():
    values = np.random.default_rng(4).random(400)
    rows = [[value, 1] for value in values]
    ratio = stats.interval_of_sums(rows, lambda sums: sums[0] / sums[1], resamples=4000)
    assert ratio == pytest.approx(stats.interval(values, resamples=4000), abs=0.004)


def test_macro_f1_interval_agrees_with_resampling_examples_through_scikit_learn(predictions):
    gold, predicted = (np.array(column) for column in predictions)
    counts = confusion_matrix(gold, predicted, labels=[*LABELS, "perhaps"])[:-1]
    slow = []
    for drawn in np.random.default_rng(0).integers(600, size=(300, 600)):
        sample = gold[drawn], predicted[drawn]
        slow.append(f1_score(*sample, labels=LABELS, average=None, zero_division=0))
    by_examples = np.array(slow)
    macro = np.percentile(by_examples.mean(axis=1), [2.5, 97.5])
    intervals = stats.f1_intervals(counts, resamples=5000)
    assert intervals["macro"] == pytest.approx(macro, abs=0.01)
    for interval, values in zip(intervals["per_class"], by_examples.T, strict=True):
        assert interval == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=0.02)


def test_macro_f1_interval_of_a_seed_stays_what_it_was():
    counts = [[40, 5, 3, 2], [6, 20, 4, 0], [1, 7, 12, 0]]
    assert stats.f1_intervals(counts)["macro"] == pytest.approx(
        [0.5928155152839869, 0.7833659301840153]
    )


def test_interval_over_many_classes_needs_one_table_at_a_time():
    tracemalloc.start()
    intervals = stats.f1_intervals(np.eye(300, 301, dtype=int), resamples=100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(intervals["per_class"]) == 300
    assert peak < 10 * 8 * 300 * 301  # bytes: a few tables, not a hundred


def test_class_that_never_occurs_has_f1_zero_not_nan():
    assert stats.f1_intervals([[5, 0, 0], [0, 0, 0]])["per_class"] == [[1.0, 1.0], [0.0, 0.0]]


def test_thousand_macro_f1_resamples_take_under_a_second():
    began = time.perf_counter()
    stats.f1_intervals(np.full((6, 7), 15), resamples=1000)
    assert time.perf_counter() - began < 1


def test_holm_multiplies_by_rank_and_stays_ordered():
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([]) == []


def test_seeds_give_the_t_interval():
    values = [60.1, 60.9, 60.6]
    over_seeds = stats.over_seeds(values)
    low, high = scipy.stats.t.interval(0.95, 2, loc=np.mean(values), scale=scipy.stats.sem(values))
    assert over_seeds["interval"] == pytest.approx([low, high])
    assert (over_seeds["n"], over_seeds["sd"]) == (3, pytest.approx(np.std(values, ddof=1)))


def test_one_seed_has_a_mean_but_no_spread_and_equal_seeds_a_point():
    assert stats.over_seeds([0.5]) == {"n": 1, "mean": 0.5, "sd": None, "interval": None}
    assert stats.over_seeds([0.5, 0.5])["interval"] == [0.5, 0.5]
    with pytest.raises(R2DError, match="at least one finished run"):
        stats.over_seeds([])
