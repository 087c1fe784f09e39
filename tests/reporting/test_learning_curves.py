"""Learning curves: tests by size and noise, and the caps of p(t)."""

import pytest
from study_runs import ENTRIES, NOTHING, decided, rises, study, told

from r2d import recipes
from r2d.errors import R2DError
from r2d.experiments import grid
from r2d.reporting import (
    collect,
    curves_in_words,
    exposure,
    figures_curves,
    learning_curves,
    savings,
)


def test_methods_are_told_apart_by_size_and_noise_and_corrected_for_all_of_them(finish):
    recipe = study()
    found = learning_curves.tests(recipe, decided(finish, recipe, rises))
    rows = learning_curves.family(found, "triage", "rationales").set_index("entry")
    assert list(rows.index) == ENTRIES
    assert rows["notes"].tolist() == [250, 1000, 250] and rows["noise"].tolist() == [0, 0, 0.2]
    assert rows["difference"].tolist() == pytest.approx([1 / 3, 0, 0], abs=0.01)
    up, down = learning_curves.told_apart(rows)
    assert list(up.index) == ["n0250"] and down.empty
    assert rows.loc["n0250", "p_holm"] == pytest.approx(3 * rows.loc["n0250", "p"])
    first, second, told = curves_in_words.sentences(recipe, found, NOTHING, NOTHING)
    assert first.startswith(
        "Do rationales help? In macro-F1 R2D is above SFT with R2D's compute at 1 of 3 sizes and "
        "noise levels (3 runs each), and elsewhere not told apart: by +0.0 points; "
    )
    assert second.startswith(
        "Does scheduled sampling help? In macro-F1 R2D is not told apart from R2D without sampling "
        "at any of 3 sizes and noise levels (3 runs each): by +0.0 points; "
    )
    assert told.startswith(
        "Told apart, rationales: R2D is above SFT with R2D's compute in macro-F1, in points, at "
        "250 notes (+33.3 ["
    )
    assert told.endswith("]) with no label wrong. Corrected p < 0.0001.")


def test_sampling_is_judged_by_what_it_is_for_and_by_what_it_costs(finish):
    recipe = study(["n2000"], ["r2d-full-no-sampling", "r2d-full"])
    own = {"r2d-full-no-sampling": 0, "r2d-full": 1}
    runs = told(finish, recipe, own, {"r2d-full-no-sampling": 0.9, "r2d-full": 0.2})
    found = learning_curves.tests(recipe, runs).set_index("measure")
    assert set(found["question"]) == {"sampling"} and found.loc["gap", "difference"] == 1.0
    assert list(found.index) == list(learning_curves.MEASURES)
    assert found.loc["follows_label", "difference"] == pytest.approx(-0.7)
    first, *apart = curves_in_words.sentences(recipe, found.reset_index(), NOTHING, NOTHING)
    assert "In following a forced label R2D is below R2D without sampling at 1 of 1 size" in first
    assert "In the exposure gap (own minus gold label) R2D is above R2D without sampling" in first
    assert "in following a forced label, in points, at 2,000 notes (-70.0 [" in apart[0]
    assert (
        "in the exposure gap (own minus gold label), in points, at 2,000 notes (+100.0 ["
        in apart[1]
    )


def test_one_run_each_says_nothing_about_methods(finish):
    recipe = study(seeds=[1])
    runs = decided(finish, recipe, rises)
    found = learning_curves.tests(recipe, runs)
    first, _ = curves_in_words.sentences(recipe, found, NOTHING, NOTHING)
    assert "points of one run each, which says nothing of the methods" in first
    assert "one run each" in curves_in_words.advised(found, 250)[0]
    frame = learning_curves.with_sizes(recipe, collect.runs(runs))
    for figure in (
        figures_curves.curves(frame, found, recipe, "triage"),
        figures_curves.gains(found, recipe, "triage"),
        figures_curves.saved(savings.notes_needed(recipe, runs), recipe, "triage"),
    ):
        assert "one run each" in " ".join(figure.get_suptitle().split())


def test_caps_are_those_of_methods_that_differ_in_nothing_else():
    recipe = recipes.load("study")
    assert learning_curves.caps(recipe, list(recipe.methods)) == {
        "r2d-full-no-sampling": 0.0,
        "r2d-full-cap30": 0.3,
        "r2d-full-cap50": 0.5,
        "r2d-full-cap70": 0.7,
        "r2d-full": 0.9,
        "r2d-full-cap100": 1.0,
    }
    runs = grid.runs(recipe, ["E9"])
    capped = learning_curves.of_caps(recipe, runs)
    assert {run.dataset for run in capped} == {"n2000"}
    assert len(capped) == 6 * len(recipe.experiments["E9"].seeds)
    assert learning_curves.of_caps(recipe, [run for run in runs if run.dataset == "n0500"]) == []


def test_a_cap_has_to_close_the_gap_and_leave_the_rationale_listening(finish):
    methods = ["r2d-full-no-sampling", "r2d-full-cap30", "r2d-full-cap50", "r2d-full"]
    recipe = study(["n2000"], methods)
    own = dict(zip(methods, (0, 1, 1, 1), strict=True))
    runs = told(finish, recipe, own, dict(zip(methods, (0.9, 0.85, 0.9, 0.2), strict=True)))
    capped = learning_curves.of_caps(recipe, runs)
    frame = learning_curves.with_sizes(recipe, collect.runs(runs))
    scores = learning_curves.cap_scores(recipe, frame, capped)
    gaps = scores.groupby("cap")["gap"].mean().to_dict()
    assert gaps == {0.0: -1.0, 0.3: 0.0, 0.5: 0.0, 0.9: 0.0}
    low, high = (scores[f"agreement_wrong_method_{end}"] for end in learning_curves.ENDS)
    assert low.between(0.2, 0.45).all() and high.between(0.55, 0.85).all()  # half of 18 cases
    assert scores["follows_label_method_low"].notna().all()
    found = learning_curves.cap_tests(recipe, capped).set_index(["measure", "cap"])
    assert found["loses"].to_dict() == {
        ("gap", 0.0): "yes",
        ("gap", 0.3): "no",
        ("gap", 0.5): "no",
        ("gap", 0.9): "no",
        ("follows_label", 0.3): "unclear",
        ("follows_label", 0.5): "no",
        ("follows_label", 0.9): "yes",
    }
    assert found.loc[("follows_label", 0.3), "p_holm"] < 0.05  # some loss, not more than 5 points
    assert curves_in_words.verdict(found.reset_index()).endswith("still followed at cap 0.5")
    assert learning_curves.cap_tests(recipe, []).empty


def test_where_agreement_was_not_measured_it_has_no_interval(finish, monkeypatch):
    methods = ["r2d-full-no-sampling", "r2d-full-cap50", "r2d-full"]
    recipe = study(["n2000"], methods)
    shares = dict.fromkeys(methods, 0.5)
    runs = told(finish, recipe, dict.fromkeys(methods, 1), shares)
    frame = learning_curves.with_sizes(recipe, collect.runs(runs))
    measures = [name for name in exposure.RATIONALE_MEASURES if name != "agreement"]
    monkeypatch.setattr(exposure, "RATIONALE_MEASURES", measures)
    scores = learning_curves.cap_scores(recipe, frame, learning_curves.of_caps(recipe, runs))
    assert len(scores) == len(runs) and scores["agreement_wrong_method_low"].isna().all()


def test_a_profile_without_the_experiment_names_the_one_that_has_it():
    recipe = recipes.load("mini")
    with pytest.raises(R2DError, match="E9 is not among those chosen of profile mini.*study"):
        learning_curves.chosen(recipe, list(recipe.experiments))
