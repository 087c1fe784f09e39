"""Calibration measures against scikit-learn, hand-computed values and a model whose sureness is known."""

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
    # two cases in (0.6, 0.8] of mean confidence 0.7, one right; two in (0.8, 1] of 0.95, both right
    assert calibration.ece([0.65, 0.75, 0.9, 1.0], [1, 0, 1, 1], bins=5) == pytest.approx(
        0.5 * 0.2 + 0.5 * 0.05
    )
    assert calibration.ece([1.0, 1.0], [1, 1]) == 0


def test_a_calibrated_model_has_a_small_error_and_a_temperature_of_one(answers, scores):
    assert calibration.ece(*answers) < 0.03
    assert calibration.fit_temperature(*scores) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_the_temperature_undoes_a_factor_of_overconfidence(scores, factor):
    logs, gold = scores
    found = calibration.fit_temperature(logs * factor, gold)
    assert found == pytest.approx(factor * calibration.fit_temperature(logs, gold), rel=1e-3)
    assert calibration.nll(logs * factor, gold, found) < calibration.nll(logs * factor, gold)


def test_the_likelihood_is_scikit_learns_log_loss(scores):
    logs, gold = scores
    assert calibration.nll(logs, gold, 2.0) == pytest.approx(
        log_loss(gold, calibration.probabilities(logs, 2.0))
    )


def test_a_temperature_changes_no_label_and_probabilities_sum_to_one(scores):
    logs, _ = scores
    found = calibration.probabilities(logs - 30, 7.0)  # scores of texts are far below zero
    assert np.allclose(found.sum(1), 1) and (found.argmax(1) == logs.argmax(1)).all()


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
    assert kept.mean() == pytest.approx(chosen.coverage) and correct[kept].mean() == pytest.approx(
        chosen.accuracy
    )
    assert (
        chosen.accuracy >= 0.8
        and not (curve[curve["coverage"] > chosen.coverage]["accuracy"] >= 0.8).any()
    )
    with pytest.raises(R2DError, match="No threshold reaches an accuracy of 90% .the best is 50%."):
        calibration.choose_threshold(
            pd.DataFrame({"threshold": [0.1], "coverage": [1.0], "accuracy": [0.5]}), 0.9
        )


def test_no_validation_cases_are_one_sentence():
    with pytest.raises(R2DError, match="validation split"):
        calibration.fit_temperature(np.empty((0, 3)), np.empty(0, dtype=int))


def test_the_figure_shows_both_tables_and_the_profile(answers, tiny):
    table = calibration.reliability(*answers).to_dict("records")
    curve = calibration.coverage(*answers).to_dict("records")
    found = {
        "test": {
            "n": 3,
            "ece_before": 0.5,
            "ece_after": 0.25,
            "reliability_before": table,
            "reliability_after": table,
        }
    }
    made = calibration.figure(found | {"validation": {"n": 7}, "curve": curve}, tiny(), "title")
    left, right = made.axes
    assert [line.get_label() for line in left.lines[1:]] == [
        "before: ECE 0.500",
        "after: ECE 0.250",
    ]
    assert np.allclose(right.lines[0].get_ydata(), calibration.coverage(*answers)["accuracy"])
    assert any("smoke" in text.get_text() for text in made.texts)
