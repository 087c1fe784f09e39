"""Learning curves: tests by size and noise, notes saved, caps, and what all that advises."""

import numpy as np
import pandas as pd
import pytest

from r2d import paths, recipes
from r2d.errors import R2DError
from r2d.evaluation import metrics
from r2d.experiments import grid
from r2d.experiments.run import Run
from r2d.reporting import collect, learning_curves

CASES = 60
ENTRIES = ["n0250", "n1000", "n0250-noise20"]
METHODS = ["sft-matched", "r2d-full-no-sampling", "r2d-full"]


@pytest.fixture
def study():
    def load(entries=ENTRIES, methods=METHODS, seeds=(1, 2, 3)):
        grid = {"datasets": entries, "methods": methods, "seeds": list(seeds)}
        return recipes.load("study", {f"experiments.E9.{key}": grid[key] for key in grid})

    return load


@pytest.fixture
def decided(finish):
    """`decided(recipe, right)`: finished runs of E9; `right(run)` of 60 cases are."""

    def make(recipe, right) -> list[Run]:
        runs = grid.runs(recipe, ["E9"])
        for run in runs:
            number = right(run)
            rows = []
            for i in range(CASES):
                gold = "ab"[i % 2]
                wrong = "ba"[i % 2]
                rows.append(
                    {
                        "id": str(i),
                        "gold": gold,
                        "label": gold if i < number else wrong,
                        "valid": True,
                        "rationale": "",
                        "rationale_gold": "x",
                    }
                )
            finish(run, rows, {"test_cases": CASES, "test_seconds": 1.0, "probe_seconds": 0.0})
        return runs

    return make


def rises(run) -> int:
    """R2D is better than SFT with few notes; the seed moves both a little."""
    few = {"sft-matched": 24, "r2d-full-no-sampling": 44, "r2d-full": 44}
    size = few[run.method] if run.dataset == "n0250" else 46
    return size + run.seed % 2


def test_a_curve_is_straight_over_log_size_and_first_reaches_its_target_there():
    assert learning_curves.crossing([100, 400], [0.5, 0.7], 0.6) == pytest.approx(200)
    assert learning_curves.crossing([100, 400, 800], [0.5, 0.4, 0.6], 0.5) == 100
    assert learning_curves.crossing([100, 400, 800], [0.5, 0.4, 0.6], 0.6) == pytest.approx(800)
    assert learning_curves.crossing([100, 400], [0.5, 0.7], 0.71) == np.inf


def test_methods_are_told_apart_by_size_and_noise_and_corrected_for_all_of_them(study, decided):
    recipe = study()
    found = learning_curves.tests(recipe, decided(recipe, rises))
    rows = learning_curves.family(found, "triage", "rationales").set_index("entry")
    assert list(rows.index) == ENTRIES
    assert rows["notes"].tolist() == [250, 1000, 250] and rows["noise"].tolist() == [0, 0, 0.2]
    assert rows["difference"].tolist() == pytest.approx([1 / 3, 0, 0], abs=0.01)
    up, down = learning_curves.told_apart(rows)
    assert list(up.index) == ["n0250"] and down.empty
    assert rows.loc["n0250", "p_holm"] == pytest.approx(3 * rows.loc["n0250", "p"])
    first, second = learning_curves.sentences(recipe, found, pd.DataFrame(), pd.DataFrame())
    assert first == (
        "Rationales: R2D minus SFT with R2D's compute, macro-F1 in points (3 runs each): higher at "
        "250 (+33.3), not told apart at 1,000 (+0.0) notes with no label wrong; not told apart at "
        "250 (+0.0) notes with 20% of labels wrong."
    )
    assert second.startswith("Scheduled sampling: R2D minus R2D without sampling, macro-F1 in ")
    assert "higher" not in second and "not told apart at 250, 1,000 (+0.0) notes" in second


def test_one_run_each_says_nothing_about_methods(study, decided):
    recipe = study(seeds=[1])
    found = learning_curves.tests(recipe, decided(recipe, rises))
    first, _ = learning_curves.sentences(recipe, found, pd.DataFrame(), pd.DataFrame())
    assert "points of one run each, which says nothing of the methods" in first
    assert "one run each" in learning_curves.advised(found, 250)[0]


def test_notes_saved_are_where_the_mean_curve_reaches_all_of_sfts(study, decided):
    recipe = study()
    runs = decided(recipe, rises)
    frame = learning_curves.with_sizes(recipe, collect.runs(runs))
    assert set(frame["dataset"]) == {"triage"} and list(frame["notes"].unique()) == [250, 1000]
    saved = learning_curves.savings(recipe, frame).set_index("method")
    assert set(saved["noise"]) == {0.0}  # one size with noise is no curve
    row = saved.loc["r2d-full"]
    assert row["sft_notes"] == 1000 and 250 < row["low"] <= row["needed"] == pytest.approx(1000)
    assert pd.isna(row["high"])  # of other seeds it may not get there
    text = learning_curves.sentences(recipe, pd.DataFrame(), saved.reset_index(), pd.DataFrame())
    assert text[0].startswith("Notes saved: with no label wrong, SFT's macro-F1 of 1,000 notes (7")
    never = row.to_dict() | {"needed": None}
    assert learning_curves.needs(pd.Series(never)) == "more than were given (not reached)"
    enough = row.to_dict() | {"needed": 250, "low": 250, "high": None}
    assert learning_curves.needs(pd.Series(enough)) == "at most 250 notes [250, not reached]"


def test_notes_saved_are_told_of_the_largest_size_of_sft_that_another_reaches():
    shared = {"noise": 0.0, "title": "R2D", "seeds": 1, "smallest": 250}
    sizes = ((1000, 0.7, 800.0), (4000, 0.8, None))
    rows = [
        shared | {"sft_notes": notes, "target": target, "needed": needed}
        for notes, target, needed in sizes
    ]
    (text,) = learning_curves.sentences(
        recipes.load("study"), pd.DataFrame(), pd.DataFrame(rows), pd.DataFrame()
    )
    assert text == (
        "Notes saved: with no label wrong, none reaches SFT's macro-F1 of 4,000 notes (80.0); "
        "SFT's macro-F1 of 1,000 notes (70.0) takes R2D 800 notes (one run)."
    )


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
    assert {run.dataset for run in capped} == {"n2000"} and len(capped) == 6 * 3
    assert learning_curves.of_caps(recipe, [run for run in runs if run.dataset == "n0500"]) == []


@pytest.fixture
def told(monkeypatch, decided):
    """`told(recipe, own, follows)`: runs whose wrong decisions are explained so, by method.

    Told the gold label, every rationale names the true reason.
    """

    def make(recipe, own: dict, follows: dict) -> list[Run]:
        evaluate, listed = metrics.evaluate, iter(grid.runs(recipe, ["E9"]))

        def with_rationales(*given):
            result, run = evaluate(*given), next(listed)
            examples = result["per_example"]
            named = [own[run.method] if not right else 1 for right in examples["correct"]]
            examples |= {"names_reason": named, "names_reason_given_gold": [1] * CASES}
            followed = [follows[run.method] + 0.01 * (i % 2) for i in range(CASES)]
            examples["follows_label"] = followed
            return result

        monkeypatch.setattr(metrics, "evaluate", with_rationales)
        runs = decided(recipe, lambda run: 40 + run.seed)
        monkeypatch.setattr(metrics, "evaluate", evaluate)
        return runs

    return make


def test_a_cap_has_to_close_the_gap_and_leave_the_rationale_listening(study, told):
    methods = ["r2d-full-no-sampling", "r2d-full-cap50", "r2d-full"]
    recipe = study(["n2000"], methods)
    own = dict(zip(methods, (0, 1, 1), strict=True))
    runs = told(recipe, own, dict(zip(methods, (0.9, 0.9, 0.2), strict=True)))
    capped = learning_curves.of_caps(recipe, runs)
    frame = learning_curves.with_sizes(recipe, collect.runs(runs))
    scores = learning_curves.cap_scores(recipe, frame, capped)
    assert scores.groupby("cap")["gap"].mean().to_dict() == {0.0: -1.0, 0.5: 0.0, 0.9: 0.0}
    found = learning_curves.cap_tests(recipe, capped)
    loses = found.set_index(["measure", "cap"])["loses"].to_dict()
    assert loses == {
        ("gap", 0.0): "yes",
        ("gap", 0.5): "no",
        ("gap", 0.9): "no",
        ("follows_label", 0.5): "no",
        ("follows_label", 0.9): "yes",
    }
    assert learning_curves.verdict(found).endswith("the label is still followed at cap 0.5")
    assert learning_curves.cap_tests(recipe, []).empty


def cap_table(*loses) -> pd.DataFrame:
    """Tests of caps 0, 0.5, ...: (gap, following) of each, as `loses` says."""
    rows = []
    for place, (gap, follows) in enumerate(loses):
        shared = {"dataset": "triage", "cap": place / 2, "notes": 2000, "runs": 5}
        shared |= {"difference": -0.1, "low": -0.2, "high": 0.0}
        rows.append(shared | {"measure": "gap", "loses": gap})
        if follows:
            rows.append(shared | {"measure": "follows_label", "loses": follows})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("table", "answer"),
    [
        ([("no", None), ("no", "no")], "there is none of 5 points to close, even at cap 0"),
        ([("yes", None), ("yes", "no"), ("no", "no")], "closed to within 5 points .* at cap 1$"),
        (
            [("yes", None), ("no", "yes"), ("yes", "no")],
            "no cap closes it while the label is followed as before$",
        ),
        ([("yes", None), ("no", "yes"), ("unclear", "no")], "do not tell"),
    ],
)
def test_the_verdict_on_caps_asks_for_a_closed_gap_and_a_rationale_that_listens(table, answer):
    found = cap_table(*table)
    assert pd.Series([learning_curves.verdict(found)]).str.contains(answer).all()
    (sentence,) = learning_curves.sentences(None, pd.DataFrame(), pd.DataFrame(), found)
    assert sentence.startswith("Exposure gap at 2,000 notes, caps of p(t) from 0 to ")
    assert "0: gap (-10.0 [-20.0, +0.0]); 0.5: gap (" in sentence


def test_advice_is_of_the_nearest_size_and_says_when_the_study_is_not_there(
    study, decided, tmp_path, monkeypatch
):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (nothing,) = learning_curves.advice(400)
    assert nothing == (
        "How much rationales help with 400 cases is a question for `./run_all.sh study`, which has "
        "not been run."
    )
    recipe = study()
    found = learning_curves.tests(recipe, decided(recipe, rises))
    folder = paths.committed("study")
    folder.mkdir(parents=True)
    found.to_csv(folder / f"{learning_curves.SOURCE}_triage.csv", index=False)
    clean, noisy = learning_curves.advice(400)
    assert clean.startswith(
        "For 400 cases, by 250 synthetic notes of the study, with no label wrong: "
    )
    assert "Reason2Decide minus SFT (+33.3 [" in clean and "take Reason2Decide;" in clean
    assert clean.endswith("not told apart: for the labels either will do.")
    assert "with 20% of labels wrong: Reason2Decide minus SFT (+0.0" in noisy
    assert "SFT will do unless you want to read rationales" in noisy
    (most,) = learning_curves.advice(9000)
    assert "by 1,000 synthetic notes of the study (which tried 250 to 1,000), with no label" in most


def test_a_profile_without_the_experiment_names_the_one_that_has_it():
    recipe = recipes.load("mini")
    with pytest.raises(R2DError, match="E9 is not among those chosen of profile mini.*study"):
        learning_curves.chosen(recipe, list(recipe.experiments))
