"""Figures carry their profile's note and draw the numbers of their tables."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from r2d.evaluation import calibration
from r2d.reporting import collect, comparisons, figures, theme
from r2d.reporting.kinds import ALL


@pytest.fixture(autouse=True)
def closed():
    yield
    assert pyplot.get_fignums() == []  # one left open would show twice in a notebook


def stamped(figure, recipe):
    return any(recipe.note in text.get_text() for text in figure.texts)


def drawn(recipe, runs, kinds=None):
    """Figure 1a of these runs."""
    frame = collect.runs(runs)
    tests = comparisons.with_reference(recipe, frame, runs)
    kinds = pd.DataFrame() if kinds is None else kinds
    return figures.main_result(frame, tests, kinds, recipe, "triage")


def test_every_figure_of_runs_carries_its_profiles_note(recipe, runs):
    entry = {"label_weight": 0.7, "sampling_probability": 0.1, "dataset": "triage", "seed": 1}
    log = pd.DataFrame(
        [
            entry | {"step": step, "loss": 2.0 / step, "method": method, "validation": 0.5}
            for method in ("dss-full", "r2d-full")
            for step in (1, 2)
        ]
    )
    every = [
        drawn(recipe, runs),
        figures.per_class(collect.per_class(runs), recipe, "triage"),
        figures.confusion(collect.confusion(runs[-1]), recipe, "a title"),
        figures.training(log, recipe, "triage"),
    ]
    assert all(stamped(figure, recipe) for figure in every)


def shades(axis, method):
    """The lines of an axis that are a method's."""
    return [line for line in axis.lines if line.get_color() == theme.colour(method)]


def test_a_mark_is_the_mean_small_dots_are_seeds_and_the_bar_is_the_methods_interval(recipe, runs):
    frame = collect.runs(runs)
    axis = drawn(recipe, runs).axes[0]
    rows = frame[frame["method"] == "r2d-full"]
    place = [label.get_text() for label in axis.get_yticklabels()].index("R2D")
    green = shades(axis, "r2d-full")
    seeds = [line.get_xdata()[0] for line in green if line.get_marker() == "o"]
    assert sorted(seeds) == pytest.approx(sorted(rows["macro_f1"]))
    (mean,) = [line for line in green if line.get_marker() == "D"]
    assert mean.get_xdata()[0] == pytest.approx(rows["macro_f1"].mean())
    (bar,) = [line for line in green if line.get_linestyle() == "-"]
    ends = rows[["macro_f1_method_low", "macro_f1_method_high"]].iloc[0].tolist()
    assert list(bar.get_xdata()) == ends and set(bar.get_ydata()) == {place}


def test_beside_levels_stand_differences_with_their_corrected_intervals(recipe, runs):
    tests = comparisons.with_reference(recipe, collect.runs(runs), runs)
    figure = drawn(recipe, runs)
    left, right = figure.axes
    dss = tests[tests["against"] == "dss-full"].iloc[0]
    bar, mark = shades(right, "dss-full")
    assert sorted(bar.get_xdata()) == pytest.approx([-100 * dss["high"], -100 * dss["low"]])
    assert mark.get_xdata()[0] == pytest.approx(-100 * dss["difference"])
    named = [label.get_text() for label in left.get_yticklabels()]
    assert named == ["DSS", "R2D"]  # the majority class is a line
    frame = collect.runs(runs).groupby("method")["macro_f1"].mean()
    lines = [line.get_xdata()[0] for line in left.lines if line.get_linestyle() == ":"]
    assert lines == [pytest.approx(frame["majority"])]
    title = " ".join(figure._suptitle.get_text().split())
    assert title == (
        "By macro-F1 on triage R2D beats Majority class. It can't be told apart from DSS"
    )


def test_a_bound_far_away_does_not_squeeze_the_methods_together(recipe, runs):
    frame = collect.runs(runs)
    learned = frame["method"] != "majority"
    for name, value in (("macro_f1", 0.95), ("macro_f1_method_low", 0.94)):
        frame.loc[learned, name] = value
    frame.loc[learned, "macro_f1_method_high"] = 0.96
    nothing = pd.DataFrame()
    left = figures.main_result(frame, nothing, nothing, recipe, "triage").axes[0]
    assert "← majority 0.33" in [text.get_text() for text in left.texts]
    assert left.get_xlim()[0] > 0.9


def test_a_title_of_one_run_each_speaks_of_models(recipe, runs):
    one = [run for run in runs if run.seed == 1]
    assert "one run each: models, not methods" in drawn(recipe, one)._suptitle.get_text()


def test_kinds_of_cases_stand_beside_the_rest_as_numbers(recipe, runs):
    cells = [
        {"dataset": "triage", "method": method, "kind": kind, "cases": 7, "accuracy": accuracy}
        for method in ("dss-full", "r2d-full")
        for kind, accuracy in (("plain", 0.91), ("negation", 0.28), (ALL, 0.5))
    ]
    _, _, right = drawn(recipe, runs, pd.DataFrame(cells)).axes
    assert [text.get_text() for text in right.texts] == ["91", "28"] * 2
    assert [label.get_text() for label in right.get_xticklabels()] == [
        "plain\n(7)",
        "negation\n(7)",
    ]


def test_where_no_network_learned_there_is_no_figure_and_no_comparison(recipe, runs):
    frame = collect.runs(runs)
    poor = frame.assign(dataset="pubmedqa", accuracy=[0.6, 0.6, 0.5, 0.5, 0.6, 0.6])
    assert figures.is_worth_drawing(frame, recipe) and not figures.is_worth_drawing(poor, recipe)
    better = poor.assign(accuracy=[0.6, 0.6, 0.5, 0.5, 0.6, 0.7])
    assert figures.is_worth_drawing(better, recipe)
    assert comparisons.with_reference(recipe, poor, runs).empty


def test_only_synthetic_data_are_stamped_so(recipe, runs):
    assert any("synthetic: triage" in text.get_text() for text in drawn(recipe, runs).texts)
    other = figures.confusion(collect.confusion(runs[-1]), recipe, "a title", "pubmedqa")
    assert stamped(other, recipe) and not any("synth" in text.get_text() for text in other.texts)


def test_adapters_and_families_have_colours_of_their_own():
    names = ("majority", "tfidf", "rule", "rule-no-negation", "rule-no-modifiers", "sft-full")
    names += ("sft-matched", "dss-full", "r2d-full", "r2dc-full", "r2d-lora", "r2d-qlora")
    assert len({theme.colour(name) for name in names}) == len(names)
    assert theme.colour("r2d-full-cap50") == theme.colour("r2d-full")


def test_the_reliability_figure_shows_both_tables_and_the_profile(recipe):
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1, 2000)
    correct = rng.random(2000) < confidence
    bins = calibration.reliability(confidence, correct).to_dict("records")
    curve = calibration.coverage(confidence, correct)
    calibrated = {
        "test": {
            "n": 3,
            "ece_before": 0.5,
            "ece_after": 0.25,
            "reliability_before": bins,
            "reliability_after": bins,
        },
        "validation": {"n": 7},
        "curve": curve.to_dict("records"),
    }
    figure = figures.reliability(calibrated, recipe, "title")
    left, right = figure.axes
    names = [line.get_label() for line in left.lines[1:]]
    assert names == ["before: ECE 0.500", "after: ECE 0.250"]
    assert np.allclose(right.lines[0].get_ydata(), curve["accuracy"])
    assert stamped(figure, recipe)
