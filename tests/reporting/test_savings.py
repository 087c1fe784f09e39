"""Notes needed for SFT's score: where curves reach it, and what is told of that."""

import numpy as np
import pandas as pd
import pytest
from study_runs import NOTHING, decided, measured, rises, study

from r2d import recipes
from r2d.reporting import collect, curves_in_words, learning_curves, savings

SIZES = {"n0500": 0.6, "n2000": 0.75, "n8000": 0.85}


def test_a_curve_is_straight_over_log_size_and_first_reaches_its_target_there():
    assert savings.crossing([100, 400], [0.5, 0.7], 0.6) == pytest.approx(200)
    assert savings.crossing([100, 400, 800], [0.5, 0.4, 0.6], 0.5) == 100
    assert savings.crossing([100, 400, 800], [0.5, 0.4, 0.6], 0.6) == pytest.approx(800)
    assert savings.crossing([100, 400], [0.5, 0.7], 0.71) == np.inf


def test_notes_saved_are_where_the_mean_curve_reaches_all_of_sfts(finish):
    recipe = study()
    runs = decided(finish, recipe, rises)
    frame = learning_curves.with_sizes(recipe, collect.runs(runs))
    assert set(frame["dataset"]) == {"triage"} and list(frame["notes"].unique()) == [250, 1000]
    saved = savings.notes_needed(recipe, runs).set_index("method")
    assert set(saved["noise"]) == {0.0}  # one size with noise is no curve
    row = saved.loc["r2d-full"]
    assert row["target"] == pytest.approx(frame.query("notes == 1000")["macro_f1"].mean())
    assert set(saved["against"]) == {"sft-matched"}
    assert row["sft_notes"] == 1000 and 250 <= row["low"] <= row["needed"] == pytest.approx(1000)
    assert pd.isna(row["high"])  # it is not told above
    told, where = curves_in_words.sentences(recipe, NOTHING, saved.reset_index(), NOTHING)
    goal = "the macro-F1 of SFT with R2D's compute"
    assert told == (
        f"Notes needed for {goal}, with no label wrong: told fewer than its own: no method."
    )
    assert where.startswith(f"Where mean curves reach {goal} at 1,000 notes (7")
    never = row.to_dict() | {"needed": None}
    assert curves_in_words.needs(pd.Series(never)).startswith("more than were given [")
    enough = row.to_dict() | {"needed": 250, "low": 250, "high": None}
    assert curves_in_words.needs(pd.Series(enough)) == "at most 250 notes [250, not reached]"


def test_fewer_notes_and_more_are_told_where_the_interval_leaves_out_sfts_own_number():
    shared = {"sft_notes": 1000, "seeds": 3, "largest": 4000}
    ends = {"saves": (500, 900), "unclear": (500, 1100), "costs": (1200, None)}
    ends |= {"may": (800, None), "never": (None, None)}
    rows = [
        shared | {"title": name, "low": low, "high": high} for name, (low, high) in ends.items()
    ]
    rows.append(shared | {"title": "not tried", "low": None, "high": None, "largest": 500})
    table = pd.DataFrame(rows)
    fewer, more = savings.told_notes(table)
    assert list(fewer["title"]) == ["saves"] and list(more["title"]) == ["costs", "never"]


def test_an_interval_of_notes_leaves_out_sfts_own_number_only_where_the_test_tells_them_apart():
    recipe = recipes.load("study")
    better = {entry: level + 0.1 for entry, level in SIZES.items()}
    told, within = [], []
    for draw in range(12):
        methods = {"sft-matched": SIZES, "r2d-full": better}
        runs = measured(recipe, methods, seeds=3, cases=150, draw=draw)
        found = learning_curves.family(learning_curves.tests(recipe, runs), "triage", "rationales")
        found = found.set_index("notes")
        for _, row in savings.notes_needed(recipe, runs).iterrows():
            low, high = (np.inf if pd.isna(row[end]) else row[end] for end in ("low", "high"))
            told.append(found.loc[row["sft_notes"], "p_holm"] < 0.05)
            within.append(low <= row["sft_notes"] <= high)
            assert pd.isna(row["needed"]) or low <= row["needed"] <= high
    told, within = np.array(told), np.array(within)
    assert 4 < told.sum() < 20 and within[~told].all()  # it is corrected at least as much
    assert (~within[told]).mean() > 0.5


@pytest.mark.parametrize("fewer", [{"seeds": 3}, {"cases": 100}])
def test_an_interval_of_notes_is_wider_with_fewer_seeds_and_with_fewer_cases(fewer):
    recipe = recipes.load("study")
    methods = {"sft-matched": SIZES, "r2d-full": SIZES}

    def widths(**sizes) -> list[float]:
        """On the logarithmic axis, an end that is not reached at the largest size."""
        rows = []
        for draw in range(6):
            runs = measured(recipe, methods, **sizes, draw=draw)
            rows.append(savings.notes_needed(recipe, runs).iloc[0])
        ends = pd.DataFrame(rows)[["low", "high"]].astype(float).fillna(8000)
        return np.log(ends["high"] / ends["low"])

    many = {"seeds": 8, "cases": 400}
    assert widths(**many | fewer).mean() > 1.3 * widths(**many).mean()


def test_methods_may_have_unequal_runs_and_one_of_single_runs_has_no_interval():
    recipe = recipes.load("study")
    runs = measured(recipe, {"sft-matched": SIZES}, 3, 100)
    runs += measured(recipe, {"r2d-full": SIZES}, 5, 100) + measured(
        recipe, {"dss-full": SIZES}, 1, 100
    )
    saved = savings.notes_needed(recipe, runs).set_index("method")
    assert (saved.loc["r2d-full", "seeds"] == 3).all()
    assert (saved.loc["dss-full", "seeds"] == 1).all()
    assert saved.loc["dss-full", ["low", "high"]].isna().all(axis=None)
    assert savings.notes_needed(recipe, [run for run in runs if run.method == "r2d-full"]).empty
