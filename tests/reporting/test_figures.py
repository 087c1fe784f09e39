"""Figures carry their profile's note and draw the numbers of their tables."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from r2d.evaluation import calibration
from r2d.reporting import collect, comparisons, figures, figures_studies, theme
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
    marks = [line for line in green if line.get_marker() == theme.marker("r2d-full")]
    *seeds, mean = sorted(marks, key=lambda line: line.get_markersize())
    seeds = [line.get_xdata()[0] for line in seeds]
    assert sorted(seeds) == pytest.approx(sorted(rows["macro_f1"]))
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
    assert list(bar.get_xdata()) == pytest.approx([100 * dss["low"], 100 * dss["high"]])
    # The sign of the sentences: R2D is 2.5 points below DSS here.
    assert mark.get_xdata()[0] == pytest.approx(100 * dss["difference"]) and dss["difference"] < 0
    assert right.get_xlabel() == "Macro-F1:\nR2D minus it, in points"
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


def ablated(measures):
    """Tests of R2D against DSS and the majority class on these measures, DSS told apart."""
    row = {"dataset": "triage", "method": "r2d-full", "runs": 2, "cases": 40, "degenerate": 0.0}
    dss = row | {"against": "dss-full", "difference": -0.2, "low": -0.3, "high": -0.1}
    other = row | {"against": "majority", "difference": 0.1, "low": -0.1, "high": 0.3}
    rows = []
    for measure in measures:
        rows += [dss | {"measure": measure, "p_holm": 0.01}]
        rows += [other | {"measure": measure, "p_holm": 0.4}]
    return pd.DataFrame(rows)


def test_ablations_show_what_following_a_forced_label_differs_by_where_it_was_tested(recipe, runs):
    frame = collect.runs(runs)
    tests = ablated(["macro_f1", "agreement", "follows_label"])
    forced = (tests["measure"] == "follows_label") & (tests["against"] == "dss-full")
    tests.loc[forced, ["difference", "low", "high"]] = -0.5, -0.6, -0.4
    elsewhere = tests.assign(dataset="pubmedqa", difference=0.9)
    both = pd.concat([tests, elsewhere])
    _, labels, right = figures_studies.ablations(frame, both, recipe, "triage").axes
    assert right.get_xlabel() == "Follows a forced label:\nR2D minus it, in points"
    for axis, middle in ((labels, -20), (right, -50)):
        bar, mark = shades(axis, "dss-full")
        assert list(bar.get_xdata()) == pytest.approx([middle - 10, middle + 10])
        assert mark.get_xdata()[0] == pytest.approx(middle)
    without = figures_studies.ablations(frame, ablated(["macro_f1"]), recipe, "triage")
    assert len(without.axes) == 2


def test_titles_tell_of_the_measures_that_their_figures_show(recipe, runs):
    frame = collect.runs(runs).assign(stage1_source="", stage2_source="")
    tests = ablated(["macro_f1", "agreement", "follows_label", "names_reason"])
    nothing = pd.DataFrame()
    labels = (
        "By macro-F1 on triage R2D is beaten by DSS. It can't be told apart from Majority class"
    )
    main = figures.main_result(frame, tests, nothing, recipe, "triage")
    ablations = figures_studies.ablations(frame, tests, recipe, "triage")
    sources = figures_studies.sources(frame, tests, recipe, "triage")
    named = figures_studies.sources(frame.assign(names_reason=0.5), tests, recipe, "triage")
    shown = [
        " ".join(figure.get_suptitle().split()) for figure in (main, ablations, sources, named)
    ]
    assert shown == [
        labels,
        f"{labels}. By agreement, following a forced label and naming the true reason it is "
        "beaten by DSS",
        labels,
        f"{labels}. By naming the true reason it is beaten by DSS",
    ]


def test_where_zero_is_on_the_left_the_rules_remark_is_on_the_right(recipe, runs):
    frame = collect.runs(runs)
    rule = frame[frame["method"] == "dss-full"].assign(method="rule-no-negation")
    frame, nothing = pd.concat([frame, rule]), pd.DataFrame()
    for sign, side in ((1, "left"), (-1, "right")):
        tests = ablated(["macro_f1"]).query("against == 'dss-full'")
        tests[["difference", "low", "high"]] *= sign
        _, right = figures.main_result(frame, tests, nothing, recipe, "triage").axes
        (remark,) = right.texts
        assert remark.get_text() == "not compared" and remark.get_ha() == side


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


def test_every_method_has_one_mark_and_colour_in_all_figures(recipe, runs):
    names = ("tfidf", "rule", "rule-no-negation", "rule-no-modifiers", "sft-full", "sft-matched")
    names += ("dss-full", "r2d-full", "r2d-full-no-stage1", "r2d-full-no-sampling", "r2dc-full")
    names += ("r2d-lora", "r2d-qlora")
    assert len({(theme.marker(name), theme.colour(name)) for name in names}) == len(names)
    assert theme.marker("r2d-full-large-no-sampling") == theme.marker("r2d-full-no-sampling")
    frame = collect.runs(runs)
    tests = comparisons.with_reference(recipe, frame, runs)
    nothing = pd.DataFrame()
    for figure in (
        drawn(recipe, runs),
        figures_studies.ablations(frame, tests, recipe, "triage"),
        figures_studies.exposure(exposures(), nothing, nothing, recipe, "triage"),
    ):
        marks = {line.get_marker() for line in shades(figure.axes[0], "dss-full")}
        assert marks - {"None", "o"} == {theme.marker("dss-full")}  # seeds are small circles


def classes(**f1):
    """Table `per_class` of classes a and b; a method's values are pairs, one a run."""
    return pd.DataFrame(
        [
            {"dataset": "triage", "method": method.replace("_", "-"), "seed": seed}
            | {"label": label, "f1": value}
            for method, by_run in f1.items()
            for seed, pair in enumerate(by_run)
            for label, value in zip("ab", pair, strict=True)
        ]
    )


@pytest.mark.parametrize(
    ("f1", "title"),
    [
        (
            {"tfidf": [(0.7, 0.6)] * 2, "dss_full": [(0.7, 0.6), (0.8, 0.6)]},
            "By F1 the worst class of triage is 'b' for TF-IDF + logistic regression; DSS",
        ),
        (
            {"dss_full": [(0.7, 0.6), (0.5, 0.6)], "r2d_full": [(0.1, 0.2), (0.1, 0.3)]},
            "By F1 the worst class of triage is 'a' for R2D. It changes from run to run for DSS",
        ),
        (
            {"dss_full": [(0.7, 0.6), (0.5, 0.6)]},
            "By F1 the worst class of triage changes from run to run for every method",
        ),
        (
            {"dss_full": [(0.7, 0.6)], "r2d_full": [(0.0, 0.0)]},
            "By F1, one run each, the worst class of triage is 'b' for DSS. It is a tie for R2D",
        ),
    ],
)
def test_the_title_of_classes_names_the_worst_where_it_is_one(recipe, f1, title):
    figure = figures.per_class(classes(majority=[(0.0, 0.3)] * 2, **f1), recipe, "triage")
    assert " ".join(figure.get_suptitle().split()) == title


def test_colours_of_classes_span_what_methods_reach_and_say_so(recipe):
    f1 = {"majority": [(0.0, 0.3)], "rule": [(1.0, 1.0)], "dss_full": [(0.83, 0.88)]}
    axis, bar = figures.per_class(classes(**f1), recipe, "triage").axes
    assert axis.collections[0].get_clim() == (pytest.approx(0.8), pytest.approx(0.9))
    assert bar.get_ylabel() == "F1; colours span 0.80 to 0.90"
    written = [text.get_text() for text in axis.texts]
    assert written == ["0.00", "0.30", "1.00", "1.00", "0.83", "0.88"]


def log(method, validation, seed=1, first=1):
    """The log of a run that was evaluated at every step."""
    entry = {"dataset": "triage", "method": method, "seed": seed, "loss": 1.0}
    entry |= {"label_weight": 0.5, "sampling_probability": 0.5}
    steps = enumerate(validation, first)
    return [entry | {"step": step, "validation": value} for step, value in steps]


def test_stage_2_begins_after_its_stage_1_which_is_seen(recipe):
    table = pd.DataFrame(
        log("r2d-full", [0.1, 0.2]) + log("stage1-full", [-2, -1, -1]) + log("dss-full", [0.1, 0.2])
    )
    _, losses, validation = figures.training(table, recipe, "triage").axes
    lines = {line.get_label(): line for line in losses.lines}
    assert list(lines["R2D"].get_xdata()) == [4, 5] and list(lines["DSS"].get_xdata()) == [1, 2]
    stage_1 = lines["Stage 1"]
    assert list(stage_1.get_xdata()) == [1, 2, 3] and stage_1.get_linestyle() == ":"
    assert stage_1.get_zorder() > max(lines[name].get_zorder() for name in ("R2D", "DSS"))
    assert {line.get_label(): list(line.get_xdata()) for line in validation.lines} == {
        "R2D": [4, 5],
        "DSS": [1, 2],
    }
    assert losses.get_xlabel() == validation.get_xlabel() == "Step, stage 1 included"
    alone = table[table["method"] != "stage1-full"]  # no stage 1 in the table
    _, losses, _ = figures.training(alone, recipe, "triage").axes
    assert losses.get_xlabel() == "Step" and list(losses.lines[0].get_xdata()) == [1, 2]


@pytest.mark.parametrize(
    ("logs", "said"),
    [
        (
            [log("r2d-full", [1, 2, 3, 4, 5]), log("dss-full", [1, 5, 4, 3, 2])],
            "climbed to the end in every run of R2D. It had stopped climbing in every run of DSS",
        ),
        (
            [log("r2d-full", [1, 2, 3, 4, 5]), log("r2d-full", [1, 5, 4, 3, 2], seed=2)],
            "climbed to the end in 1 of 2 runs of R2D",
        ),
        ([log("r2d-full", [1])], "was taken too rarely to say whether it still climbed"),
    ],
)
def test_the_title_of_training_says_where_validation_still_climbed(recipe, logs, said):
    stage_1 = log("stage1-full", [-4, -3, -2, -1])
    table = pd.DataFrame(sum(logs, stage_1))
    figure = figures.training(table, recipe, "triage")
    assert " ".join(figure.get_suptitle().split()) == f"On triage validation macro-F1 {said}"


def exposures(**more):
    """Table `e6_exposure` of one measure and two methods, only one of whose prompts has a label."""
    row = {"dataset": "triage", "measure": "names_reason", "decision": "wrong", "n": 9}
    row |= {"own": 0.4, "own_low": 0.3, "own_high": 0.5}
    dss = [row | {"method": "dss-full", "seed": seed} for seed in (1, 2)]
    told = {"method": "r2d-full", "gold": 0.6, "gold_low": 0.5, "gold_high": 0.7}
    return pd.DataFrame(dss + [row | told | {"seed": seed} | more for seed in (1, 2)])


def test_bars_of_exposure_are_of_methods_and_absent_where_those_are_not_known(recipe):
    nothing = pd.DataFrame()
    ends = {"own_method_low": 0.1, "own_method_high": 0.8}
    figure = figures_studies.exposure(exposures(**ends), nothing, nothing, recipe, "triage")
    axis = figure.axes[0]
    (bar,) = [line for line in axis.lines if line.get_linestyle() == "-" and len(line.get_xdata())]
    assert list(bar.get_xdata()) == [0.1, 0.8] and bar in shades(axis, "r2d-full")


@pytest.mark.parametrize(
    ("tests", "runs", "title"),
    [
        (
            [
                ("r2d-full-no-sampling", 0.36, 0.01, -0.52),
                ("r2d-full-no-stage1", -0.06, 0.04, -0.1),
                ("r2dc-full", 0.1, 0.2, -0.26),
            ],
            3,
            "Told its own wrong label, not gold, R2D changes 'Names the true reason' by -16 "
            "points: nearer zero than R2D without sampling (-52); further from zero than R2D "
            "without stage 1 (-10); not told apart from R2D-C (-26)",
        ),
        (
            [("r2dc-full", -0.5, 0.001, 0.34)],
            3,
            "Told its own wrong label, not gold, R2D changes 'Names the true reason' by -16 "
            "points: nearer zero than R2D-C (+34)",
        ),
        (
            [("r2dc-full", 0.1, 0.001, -0.26)],
            1,
            "Names the true reason on triage, own and gold label, one run each: models, not "
            "methods",
        ),
        ([], 3, "What a wrong label costs rationales on triage: no two methods' gaps to compare"),
    ],
)
def test_the_title_of_exposure_compares_the_gaps(recipe, tests, runs, title):
    names = ("against", "difference", "p_holm", "theirs")
    silent = {"against": "r2d-qlora", "measure": "gap", "degenerate": 0.9, "p_holm": 0.001}
    rows = [
        dict(zip(names, test, strict=True)) | {"measure": "gap", "degenerate": 0.0}
        for test in tests
    ]
    rows += [row | {"measure": "told_own", "difference": 0.5} for row in rows]
    rows += [silent] if rows else []  # of degenerate rationales
    shared = {"dataset": "triage", "method": "r2d-full", "quality": "names_reason"}
    table = pd.DataFrame(rows).assign(**shared, runs=runs, ours=-0.16) if rows else pd.DataFrame()
    figure = figures_studies.exposure(exposures(), pd.DataFrame(), table, recipe, "triage")
    assert " ".join(figure.get_suptitle().split()) == title


def test_a_long_title_is_in_lines_of_about_equal_length(recipe):
    title = " ".join(["word"] * 20)
    figure = figures.confusion(pd.DataFrame([[1]], ["a"], ["a"]), recipe, title)
    lines = figure.get_suptitle().strip().split("\n")
    assert [len(line.split()) for line in lines] == [10, 10]
    long = figures.confusion(pd.DataFrame([[1]], ["a"], ["a"]), recipe, "x" * 120)
    assert max(map(len, long.get_suptitle().split("\n"))) <= theme.TITLE_LETTERS


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
