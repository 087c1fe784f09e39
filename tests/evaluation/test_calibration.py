"""Calibration measures agree with scikit-learn, with hand-computed values and with known odds."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from r2d.errors import R2DError
from r2d.evaluation import calibration


@pytest.fixture
def answers():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1, 2000)
    return confidence, rng.random(2000) < confidence


@pytest.fixture
def scores():
    """Log-probabilities of 4 labels, and labels drawn from them: perfectly calibrated."""
    rng = np.random.default_rng(1)
    logs = log_softmax(rng.normal(0, 2, (5000, 4)), axis=1)
    gold = np.array([rng.choice(4, p=row) for row in np.exp(logs)])
    return logs, gold


def test_the_reliability_table_is_scikit_learns_calibration_curve(answers):
    confidence, correct = answers
    table = calibration.reliability(confidence, correct, 10)
    true, stated = calibration_curve(correct, confidence, n_bins=10, strategy="uniform")
    assert np.allclose(table["accuracy"], true) and np.allclose(table["confidence"], stated)
    assert table["n"].sum() == len(confidence)
    assert ((table["low"] < table["confidence"]) & (table["confidence"] <= table["high"])).all()


def test_the_expected_calibration_error_is_the_one_computed_by_hand():
    # In (0.6, 0.8] two cases of mean confidence 0.7, one right; in (0.8, 1] two of 0.95, right.
    error = calibration.ece([0.65, 0.75, 0.9, 1.0], [1, 0, 1, 1], bins=5)
    assert error == pytest.approx(0.5 * 0.2 + 0.5 * 0.05)
    assert calibration.ece([1.0, 1.0], [1, 1]) == 0


def test_a_calibrated_model_has_a_small_error_and_a_temperature_of_one(answers, scores):
    assert calibration.ece(*answers) < 0.03
    assert calibration.fit_temperature(*scores) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_the_temperature_undoes_a_factor_of_overconfidence(scores, factor):
    logs, gold = scores
    sure = logs * factor
    temperature = calibration.fit_temperature(sure, gold)
    alone = calibration.fit_temperature(logs, gold)
    assert temperature == pytest.approx(factor * alone, rel=1e-3)
    assert calibration.nll(sure, gold, temperature) < calibration.nll(sure, gold)


def test_the_likelihood_is_scikit_learns_log_loss(scores):
    logs, gold = scores
    expected = log_loss(gold, calibration.probabilities(logs, 2.0))
    assert calibration.nll(logs, gold, 2.0) == pytest.approx(expected)


def test_a_temperature_changes_no_label_and_probabilities_sum_to_one(scores):
    logs, _ = scores
    shares = calibration.probabilities(logs - 30, 7.0)  # scores of texts are far below zero
    assert np.allclose(shares.sum(1), 1) and (shares.argmax(1) == logs.argmax(1)).all()


def test_the_curve_answers_the_surest_first():
    curve = calibration.coverage([0.9, 0.5, 0.5, 0.7], [1, 0, 1, 1])
    assert curve.to_dict("list") == {
        "threshold": [0.5, 0.7, 0.9],
        "coverage": [1, 0.5, 0.25],
        "accuracy": [0.75, 1, 1],
    }


def test_the_threshold_answers_most_cases_at_the_accuracy_asked_for(answers):
    confidence, correct = answers
    curve = calibration.coverage(confidence, correct)
    chosen = calibration.choose_threshold(curve, 0.8)
    kept = confidence >= chosen.threshold
    assert kept.mean() == pytest.approx(chosen.coverage)
    assert correct[kept].mean() == pytest.approx(chosen.accuracy)
    wider = curve[curve["coverage"] > chosen.coverage]
    assert chosen.accuracy >= 0.8 and not (wider["accuracy"] >= 0.8).any()
    low = pd.DataFrame({"threshold": [0.1], "coverage": [1.0], "accuracy": [0.5]})
    with pytest.raises(R2DError, match="No threshold reaches an accuracy of 90% .the best is 50%."):
        calibration.choose_threshold(low, 0.9)


def test_before_and_after_differ_by_the_temperature_alone(scores):
    logs, gold = scores
    measures = calibration.before_and_after(3 * logs, gold, 3.0)
    confidence, correct = calibration.confidence_and_hits(logs, gold, 1.0)
    assert measures["accuracy"] == pytest.approx(correct.mean()) and measures["n"] == len(gold)
    assert measures["ece_after"] == pytest.approx(calibration.ece(confidence, correct))
    assert measures["nll_after"] == pytest.approx(calibration.nll(logs, gold))
    assert measures["ece_after"] < measures["ece_before"]
    cases = [row["n"] for row in measures["reliability_before"]]
    assert sum(cases) == len(gold)


def test_no_validation_cases_are_one_sentence():
    with pytest.raises(R2DError, match="validation split"):
        calibration.fit_temperature(np.empty((0, 3)), np.empty(0, dtype=int))
