"""Figure 8: bars are the tables' intervals, and a method looks alike in all of its parts."""

import pandas as pd
from study_runs import ENTRIES, cap_table, decided, rises, study, told

from r2d import recipes
from r2d.reporting import collect, figures_curves, learning_curves, savings


def looks(figure) -> dict[str, tuple]:
    """Colour and mark of each name in a figure's legend."""
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    marks = [(line.get_color(), line.get_marker()) for line in legend.legend_handles]
    return dict(zip(names, marks, strict=True))


def bars(axis) -> list[tuple[float, float, float]]:
    """Place and ends of every interval of an axis."""
    segments = [part for lines in axis.collections for part in lines.get_segments()]
    return [(part[0, 0], part[0, 1], part[1, 1]) for part in segments]


def test_a_curves_bars_are_its_methods_intervals_and_no_mark_hides_another(finish):
    recipe = study(ENTRIES + ["n0500"], seeds=(1, 2))
    runs = decided(finish, recipe, rises)
    frame = learning_curves.with_sizes(recipe, collect.runs(runs))
    found = learning_curves.tests(recipe, runs)
    figure = figures_curves.curves(frame, found, recipe, "triage")
    left, right = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["No label noise", "20% of labels wrong"]
    ends = frame[["macro_f1_method_low", "macro_f1_method_high"]].round(9)
    assert {(round(a, 9), round(b, 9)) for axis in figure.axes for _, a, b in bars(axis)} == {
        tuple(row) for row in ends.to_numpy()
    }
    for axis, sizes in ((left, 3), (right, 1)):
        places = [x for line in axis.lines for x in line.get_xdata()]
        assert len(places) == len(set(places)) == 3 * sizes
    low, high = left.get_ylim()
    assert low < ends.min(axis=None) and high > ends.max(axis=None)


def test_a_method_has_one_mark_and_colour_in_every_part_of_figure_8(finish):
    methods = ["sft-matched", "r2d-full-no-sampling", "r2d-full-cap50", "r2d-full"]
    recipe = study(["n2000", "n8000"], methods, seeds=(1, 2))
    shares = dict.fromkeys(methods, 0.5)
    runs = told(finish, recipe, dict.fromkeys(methods, 1), shares)
    frame = learning_curves.with_sizes(recipe, collect.runs(runs))
    found = learning_curves.tests(recipe, runs)
    capped = learning_curves.of_caps(recipe, runs)
    scores = learning_curves.cap_scores(recipe, frame, capped)
    tests = learning_curves.cap_tests(recipe, capped)
    curves = looks(figures_curves.curves(frame, found, recipe, "triage"))
    saved = looks(figures_curves.saved(savings.notes_needed(recipe, runs), recipe, "triage"))
    caps = looks(figures_curves.caps(scores, tests, recipe, "triage"))
    names = ["R2D", "R2D without sampling"]
    for figure in (saved, caps):
        assert [figure[name] for name in names] == [curves[name] for name in names]
    assert len(set(curves.values())) == len(curves) == 3
    gains = figures_curves.gains(found, recipe, "triage")
    for axis, name in zip(
        gains.axes, ("SFT with R2D's compute", "R2D without sampling"), strict=True
    ):
        drawn = {(line.get_color(), line.get_marker()) for line in axis.lines[:-1]}
        assert drawn == {curves[name]}


def test_the_axes_of_caps_are_as_long_as_their_data():
    methods = {0.0: "r2d-full-no-sampling", 0.5: "r2d-full-cap50", 0.9: "r2d-full"}
    shared = {"dataset": "triage", "gap": -0.1, "agreement_wrong": 0.9, "follows_label": 0.85}
    shared |= {"agreement_wrong_chance": 0.2, "follows_label_chance": 0.8}
    for name in ("agreement_wrong", "follows_label"):
        shared |= {f"{name}_method_low": 0.7, f"{name}_method_high": 0.98}
    rows = [shared | {"cap": cap, "method": method} for cap, method in methods.items()]
    found = cap_table(("yes", None), ("yes", "no"), ("yes", "no"))
    recipe = recipes.load("study")
    axes = figures_curves.caps(pd.DataFrame(rows), found, recipe, "triage").axes
    for axis, low, high in zip(axes, (-0.25, 0.65, 0.65), (0.05, 1, 1), strict=True):
        assert low < axis.get_ylim()[0] and axis.get_ylim()[1] < high
    _, agreement, follows = axes
    assert agreement.get_title().endswith("(by chance 0.20)")  # far below what is drawn
    levels = [[line for line in axis.lines if line.get_ls() == "--"] for axis in axes]
    assert [len(lines) for lines in levels] == [1, 0, 1]
    assert {(low, high) for _, low, high in bars(follows)} == {(0.7, 0.98)}
