"""Comparisons: which way round they are, what the sample is, and what is said of noise."""

import pytest

from r2d.errors import R2DError
from r2d.reporting import collect, comparisons


def test_a_difference_inside_its_noise_is_said_not_to_be_one(recipe, runs):
    table = comparisons.compare(runs, "triage", ["majority", "dss-full"], "r2d-full")
    assert table["difference"].tolist() == pytest.approx([0.35, -0.025])
    assert all(table["p_holm"] >= table["p"])
    clear, unclear = comparisons.sentences(recipe, table)
    assert clear.startswith(
        "R2D beats Majority class on triage (2 seeds): +35.0 points of accuracy"
    )
    assert unclear.startswith("R2D and DSS can't be told apart on triage (2 seeds): -2.5 points")
    assert unclear.endswith(".")


def test_a_loss_is_said_to_be_one(recipe, runs):
    table = comparisons.compare(runs, "triage", ["r2d-full"], "majority")
    (behind,) = comparisons.sentences(recipe, table)
    assert behind.startswith("Majority class is beaten by R2D on triage (2 seeds): -35.0 points")


def test_the_reference_is_compared_with_every_other_method_of_a_dataset(recipe, runs):
    tests = comparisons.with_reference(recipe, collect.runs(runs), runs)
    assert tests["against"].tolist() == ["majority", "dss-full"]
    assert set(tests["method"]) == {recipe.reference}
    without = [run for run in runs if run.method != recipe.reference]
    assert comparisons.with_reference(recipe, collect.runs(without), without).empty


def test_seeds_are_averaged_before_the_test_so_examples_stay_the_sample(runs):
    one = [run for run in runs if run.seed == 1]
    doubled = comparisons.compare(runs, "triage", ["majority"], "dss-full").iloc[0]
    single = comparisons.compare(one, "triage", ["majority"], "dss-full").iloc[0]
    # equal seeds add no evidence
    assert doubled["p"] == single["p"] and doubled["low"] == single["low"]


def test_a_method_without_a_run_is_named(runs):
    with pytest.raises(R2DError, match="no run of sft-full on triage to compare"):
        comparisons.compare(runs, "triage", ["sft-full"], "r2d-full")
