"""Comparisons of methods, seeds and examples random, hold in simulations and by statsmodels."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.formula.api as smf
from sklearn.metrics import f1_score

from r2d.errors import R2DError
from r2d.evaluation import comparison

LABELS = ("a", "b", "c")


def simulated(rng, runs, cases=120, seeds=0.04, examples=0.1, better=0.0):
    """Correctness of two methods that differ by `better`, (runs, cases) each.

    `seeds` is the deviation of a run's accuracy, `examples` that of a method's on an example.
    """
    easy = rng.beta(4, 1, cases)
    hits = []
    for n, gain in zip(runs, (better, 0.0), strict=True):
        method = np.clip(easy + rng.normal(0, examples, cases), 0, 1)
        chances = np.clip(method + rng.normal(gain, seeds, (n, 1)), 0, 1)
        hits.append((rng.random((n, cases)) < chances).astype(float))
    return hits


def labelled(rng, hits):
    """Gold labels, and each run's answers where it hits and where it does not."""
    gold = rng.integers(len(LABELS), size=hits.shape[1])
    wrong = (gold + rng.integers(1, len(LABELS), size=hits.shape)) % len(LABELS)
    return np.take(LABELS, gold), np.take(LABELS, np.where(hits == 1, gold, wrong))


def compare_means(ours, theirs, resamples=300):
    drawn = comparison.resample(ours.shape[1], resamples)
    scores = (comparison.mean_scores(values, drawn) for values in (ours, theirs))
    return comparison.compare(*scores, ours.shape[1])


@pytest.mark.parametrize("runs, seeds", [((3, 3), 0.0), ((3, 3), 0.05), ((3, 4), 0.04)])
def test_equal_methods_are_told_apart_in_five_of_a_hundred_experiments(runs, seeds):
    rng = np.random.default_rng(0)
    drawn = [simulated(rng, runs, seeds=seeds) for _ in range(500)]
    rate = np.mean([compare_means(*hits)["p"] < 0.05 for hits in drawn])
    assert 0.015 <= rate <= 0.08
    if seeds:  # a paired test of the runs' means over examples alone is wrong far more often
        paired = [scipy.stats.ttest_rel(*(x.mean(axis=0) for x in hits)).pvalue for hits in drawn]
        assert np.mean(np.array(paired) < 0.05) > 0.15


def test_macro_f1_of_equal_methods_is_told_apart_as_rarely():
    rng = np.random.default_rng(1)
    drawn, found = comparison.resample(120, 200), 0
    for _ in range(250):
        hits = np.vstack(simulated(rng, (3, 3)))
        gold, answers = labelled(rng, hits)
        ours, theirs = (
            comparison.macro_f1_scores(gold, part, LABELS, drawn)
            for part in (answers[:3], answers[3:])
        )
        found += comparison.compare(ours, theirs, 120)["p"] < 0.05
    assert found / 250 <= 0.09


def test_macro_f1_and_its_resamples_are_scikit_learns():
    rng = np.random.default_rng(2)
    gold, answers = labelled(rng, np.vstack(simulated(rng, (1, 1), cases=40)))
    answers = answers.astype(object)
    answers[0, :5] = None  # invalid labels
    drawn = comparison.resample(40, 5)
    scores = comparison.macro_f1_scores(gold, answers, LABELS, drawn)

    def expected(run, places):
        texts = [answer or "invalid" for answer in answers[run, places]]
        return f1_score(gold[places], texts, labels=LABELS, average="macro", zero_division=0)

    for run in (0, 1):
        assert scores.by_run[run] == pytest.approx(expected(run, np.arange(40)))
        for k, counts in enumerate(drawn):
            places = np.repeat(np.arange(40), counts)
            assert scores.resampled[k, run] == pytest.approx(expected(run, places))


def test_means_leave_out_the_examples_without_a_value():
    drawn = comparison.resample(3, 50)
    scores = comparison.mean_scores([[1.0, None, 0.0], [1.0, 1.0, None]], drawn)
    assert scores.by_run.tolist() == [0.5, 1.0]
    assert scores.resampled[:, 0].tolist() == pytest.approx(
        [d[0] / max(1, d[0] + d[2]) for d in drawn.tolist()]
    )


def test_the_standard_error_is_that_of_statsmodels_mixed_model():
    rng = np.random.default_rng(3)
    cases, runs = 30, 4
    noise = rng.normal(0, 1.0, (2, runs, cases))  # normal, as the mixed model has it
    values = noise + rng.normal(0, 0.5, (2, runs, 1)) + rng.normal(0, 0.8, (2, 1, cases))
    values += rng.normal(0, 1.0, cases)
    test = compare_means(*values, resamples=4000)
    rows = [
        {"y": values[m, s, i], "method": m, "run": f"{m}-{s}", "case": i, "both": f"{m}-{i}"}
        for m in range(2)
        for s in range(runs)
        for i in range(cases)
    ]
    parts = {name: f"0 + C({name})" for name in ("run", "case", "both")}
    frame = pd.DataFrame(rows).assign(all=1)
    model = smf.mixedlm("y ~ method", frame, groups="all", vc_formula=parts)
    fitted = model.fit(reml=True)
    assert test["difference"] == pytest.approx(-fitted.params["method"], abs=1e-6)
    assert test["se"] == pytest.approx(fitted.bse["method"], rel=0.1)


def test_with_one_example_too_few_nothing_is_compared():
    with pytest.raises(R2DError, match="needs the same two or more examples"):
        comparison.resample(1)


def test_one_run_each_is_a_test_of_two_models_over_examples():
    rng = np.random.default_rng(4)
    ours, theirs = simulated(rng, (1, 1), cases=400)
    test = compare_means(ours, theirs, resamples=3000)
    paired = scipy.stats.ttest_rel(ours[0], theirs[0])
    assert test["p"] == pytest.approx(paired.pvalue, abs=0.02)
    assert test["parts"].seeds == (0.0, 0.0) and test["parts"].runs == (1, 1)


def test_runs_that_do_not_vary_leave_the_examples_variance():
    rng = np.random.default_rng(5)
    ours, theirs = simulated(rng, (1, 1), cases=300)
    once, thrice = (
        compare_means(ours, theirs),
        compare_means(*(np.tile(x, (3, 1)) for x in (ours, theirs))),
    )
    assert thrice["se"] == pytest.approx(once["se"]) and thrice["df"] == pytest.approx(299)
    same = compare_means(ours, ours)
    assert (same["difference"], same["p"]) == (0.0, 1.0)


def test_corrected_interval_and_p_never_disagree():
    rng = np.random.default_rng(6)
    for _ in range(20):
        tests = []
        for _ in range(rng.integers(1, 7)):
            gain = rng.choice([0.0, 0.1, 0.2])
            tests.append(compare_means(*simulated(rng, (3, 3), better=gain), resamples=100))
        for test in comparison.corrected(tests):
            assert (test["p_holm"] < 0.05) == (test["low"] > 0 or test["high"] < 0)
            assert test["low"] <= test["difference"] <= test["high"]
            assert test["p_holm"] >= test["p"]
    (alone,) = comparison.corrected(tests[:1])
    half = scipy.stats.t.ppf(0.975, alone["df"]) * alone["se"]
    assert alone["high"] - alone["difference"] == pytest.approx(half)


def test_same_cases_same_numbers():
    rng = np.random.default_rng(7)
    hits = simulated(rng, (3, 3))
    assert compare_means(*hits) == compare_means(*hits)


def test_power_is_what_simulated_experiments_show():
    rng = np.random.default_rng(8)
    tests = [compare_means(*simulated(rng, (4, 4), better=0.08), 200) for _ in range(300)]
    found = np.mean([test["p"] < 0.05 for test in tests])
    difference = np.mean([test["difference"] for test in tests])
    parts = [test["parts"] for test in tests]
    seeds = tuple(np.mean([part.seeds for part in parts], axis=0))
    examples = np.mean([part.examples for part in parts])
    average = comparison.Parts(seeds, examples, (4, 4), 120)
    assert comparison.power(average, difference, 4, 1) == pytest.approx(found, abs=0.1)
    more = comparison.power(average, difference, 12, 1)
    assert (
        comparison.power(average, difference, 4, 5) < comparison.power(average, 0.08, 4, 1) < more
    )
    assert comparison.power(average, 0.0, 4, 1) < 0.08
