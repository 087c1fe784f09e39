"""Figures carry their profile's note and draw the numbers of their tables."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from r2d.evaluation import calibration
from r2d.reporting import collect, figures, theme


@pytest.fixture(autouse=True)
def closed():
    yield
    assert pyplot.get_fignums() == []  # one left open would show twice in a notebook


def stamped(figure, recipe):
    return any(recipe.note in text.get_text() for text in figure.texts)


def test_every_figure_of_runs_carries_its_profiles_note(recipe, runs):
    frame = collect.runs(runs)
    entry = {"label_weight": 0.7, "sampling_probability": 0.1, "dataset": "triage", "seed": 1}
    log = pd.DataFrame(
        [
            entry | {"step": step, "loss": 2.0 / step, "method": method, "validation": 0.5}
            for method in ("dss-full", "r2d-full")
            for step in (1, 2)
        ]
    )
    drawn = [
        figures.main_result(frame, recipe, "triage"),
        figures.per_class(collect.per_class(runs), recipe, "triage"),
        figures.confusion(collect.confusion(runs[-1]), recipe, "a title"),
        figures.training(log, recipe, "triage"),
    ]
    assert all(stamped(figure, recipe) for figure in drawn)


def test_a_dot_is_a_seed_and_a_bar_the_mean(recipe, runs):
    frame = collect.runs(runs)
    axis = figures.main_result(frame, recipe, "triage").axes[0]
    rows = frame[frame["method"] == "r2d-full"]
    place = [label.get_text() for label in axis.get_yticklabels()].index("R2D")
    green = [line for line in axis.lines if line.get_color() == theme.colour("r2d-full")]
    dots = [line.get_xdata()[0] for line in green if line.get_marker() == "o"]
    assert sorted(dots) == pytest.approx(sorted(rows["macro_f1"]))
    assert all(abs(line.get_ydata()[0] - place) < 0.5 for line in green)
    (bar,) = [line for line in green if line.get_linewidth() == 2.5]
    assert bar.get_xdata()[0] == pytest.approx(rows["macro_f1"].mean())


def test_published_numbers_are_hollow_marked_and_said_not_to_compare(recipe, runs):
    axis = figures.main_result(collect.runs(runs), recipe, "triage").axes[0]
    *_, published = [label.get_text() for label in axis.get_yticklabels()]
    assert published == "R2D, T5-Large, published [2nd]\n(other data: not comparable)"
    (hollow,) = [line for line in axis.lines if line.get_marker() == "D"]
    assert hollow.get_markerfacecolor() == "white"
    assert hollow.get_xdata().tolist() == pytest.approx([0.6058])


def test_adapters_and_families_have_colours_of_their_own():
    names = ("majority", "tfidf", "sft-full", "dss-full", "r2d-full", "r2d-lora", "r2d-qlora")
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
