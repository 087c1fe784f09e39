"""The exposure gap: told from zero, one method's beside another's, and the side that it is from."""

import pandas as pd
import pytest

from r2d import recipes
from r2d.reporting import exposure_gaps


def test_a_methods_gap_is_told_from_zero_over_seeds_and_cases(recipe, decided):
    runs = [decided("r2d-full", 12, lambda i: False, lambda i, s=s: i >= s, s) for s in (1, 2, 3)]
    runs += [decided("r2d-qlora", 8, lambda i: i % 2, lambda i: i % 2, s) for s in (1, 2, 3)]
    table = exposure_gaps.gaps(runs)
    named = table[table["measure"] == "names_reason"].set_index("method")
    assert named.loc["r2d-full", "difference"] == pytest.approx(-(11 + 10 + 9) / 36)
    assert named.loc["r2d-full", "high"] < 0 and named.loc["r2d-full", "p_holm"] < 0.05
    assert named.loc["r2d-qlora", "difference"] == 0 and named.loc["r2d-qlora", "p"] == 1
    first, *_ = exposure_gaps.told_from_zero(recipe, table)
    (rest,) = exposure_gaps.left(recipe, table)
    assert first.startswith("In wrongly decided cases of triage the own label told instead of the")
    assert "changes Names the true reason: R2D -83.3 [" in first
    assert rest.startswith("Not told from zero on triage") and "R2D (QLoRA)" in rest
    assert "one run" not in rest
    assert table["p_holm"].ge(table["p"]).all()


def test_a_gap_of_one_run_is_never_told_from_zero(recipe, decided):
    table = exposure_gaps.gaps([decided("r2d-full", 12, lambda i: False, lambda i: True)])
    assert table["p_holm"].min() < 0.05
    (rest,) = exposure_gaps.left(recipe, table)
    assert exposure_gaps.told_from_zero(recipe, table) == []
    assert rest.startswith("One run each on triage, own label minus gold one in wrongly decided")
    assert "says nothing about the methods" in rest and "R2D Names the true reason -100.0" in rest


def test_without_a_gold_label_in_any_prompt_there_are_no_gaps(recipe, decided):
    table = exposure_gaps.gaps([decided("dss-full", 4, lambda i: True)])
    assert table.empty
    assert exposure_gaps.told_from_zero(recipe, table) == exposure_gaps.left(recipe, table) == []


def test_a_gap_of_degenerate_rationales_says_so(recipe, decided):
    table = exposure_gaps.gaps([decided("r2d-full", 12, lambda i: False, lambda i: True)])
    assert table["degenerate"].eq(1).all()  # one text for all
    (rest,) = exposure_gaps.left(recipe, table)
    assert "-100.0 [-100.0, -100.0] (100% degenerate rationales)" in rest
    (honest,) = exposure_gaps.left(recipe, table.assign(degenerate=0.05))
    assert "degenerate" not in honest


@pytest.fixture
def pair(decided):
    """Three runs of R2D and of it without sampling: how many of 12 wrong cases name the reason.

    `ours` and `theirs` are told the own label, to which a seed adds its number, and told gold.
    """

    def make(ours, theirs):
        runs = []
        for method, (own, gold) in (("r2d-full", ours), ("r2d-full-no-sampling", theirs)):
            for seed in (1, 2, 3):
                named = range(own + seed), range(gold)
                runs.append(decided(method, 12, *(part.__contains__ for part in named), seed))
        return runs

    return make


@pytest.fixture
def smoke():
    return recipes.load("smoke")


def test_each_method_is_judged_by_the_cases_that_it_decides_wrongly_itself(smoke, decided):
    """12 wrong cases against 6, by hand: the union or the cases in common would give others."""
    runs = [
        decided("r2d-full", 12, lambda i: i < 3, lambda i: i < 9, 1),
        decided("r2d-full-no-sampling", 6, lambda i: i < 3, lambda i: True, 1),
    ]
    found = exposure_gaps.differences(smoke, runs).set_index("measure")
    assert found["ours"].tolist() == pytest.approx([-6 / 12, 3 / 12, 9 / 12])
    assert found["theirs"].tolist() == pytest.approx([-3 / 6, 3 / 6, 6 / 6])
    assert found["cases"].eq(12).all()  # of 20: the others no run decides wrongly


def test_where_no_reasons_are_known_the_gap_is_of_the_next_score(smoke, decided, monkeypatch):
    monkeypatch.setattr(exposure_gaps, "QUALITY", ("no_such_measure", "sentence_bleu"))
    runs = [
        decided("r2d-full", 12, lambda i: i < 3, lambda i: i < 9),
        decided("r2d-full-no-sampling", 12, lambda i: i < 3, lambda i: True),
    ]
    assert set(exposure_gaps.differences(smoke, runs)["quality"]) == {"sentence_bleu"}


def test_a_method_without_a_wrong_decision_in_some_run_has_no_gap(smoke, decided):
    runs = [decided("r2d-full", 12, lambda i: i < 3, lambda i: i < 9, seed) for seed in (1, 2)]
    other = "r2d-full-no-sampling"
    runs += [decided(other, wrong, lambda i: i < 3, lambda i: True, wrong) for wrong in (0, 3)]
    assert exposure_gaps.differences(smoke, runs).empty
    assert set(exposure_gaps.gaps(runs)["method"]) == {"r2d-full"}
    assert exposure_gaps.gaps([decided("r2d-qlora", 1, lambda i: i < 3, lambda i: True)]).empty


def test_what_decides_between_two_gaps_is_named_only_where_it_pulls_that_way(smoke, pair):
    table = exposure_gaps.differences(smoke, pair((0, 4), (0, 12)))
    low, high = {"difference": -0.5, "p_holm": 0.001}, {"difference": 0.5, "p_holm": 0.001}
    unclear = {"difference": -0.1, "p_holm": 0.5}

    def said(gap, own, gold):
        pairs = zip(table.to_dict("records"), (gap, own, gold), strict=True)
        rows = [row | part for row, part in pairs]
        changed = pd.DataFrame(rows)
        found = exposure_gaps.told_apart(smoke, changed)
        return (found + exposure_gaps.not_told_apart(smoke, changed))[0].partition(" So ")[2]

    assert said(high, high, low) == "its own label harms less and the gold label helps less."
    assert said(high, unclear, low) == "the gold label helps less."  # own pulls the other way
    assert said(low, low, low) == "its own label harms more."
    assert said(unclear, high, low) == ""


@pytest.mark.parametrize(
    ("ours", "own", "gold", "because"),
    [
        ((8, 12), 8, 0, "its own label harms less."),
        ((0, 4), 0, -8, "the gold label helps less."),
    ],
)
def test_a_smaller_gap_is_told_with_the_side_that_it_is_from(smoke, pair, ours, own, gold, because):
    table = exposure_gaps.differences(smoke, pair(ours, (0, 12)))
    found = table.set_index("measure")
    assert list(found.index) == list(exposure_gaps.SIDES) and found["runs"].eq(3).all()
    assert found.loc["gap", "theirs"] == pytest.approx(-10 / 12)
    assert found.loc["gap", "ours"] == pytest.approx(-2 / 12)
    assert found.loc["told_own", "difference"] == pytest.approx(own / 12)
    assert found.loc["told_gold", "difference"] == pytest.approx(gold / 12)
    (said,) = exposure_gaps.told_apart(smoke, table)
    assert exposure_gaps.not_told_apart(smoke, table) == []
    assert "the gap of R2D in 'Names the true reason', own label told minus gold one, is" in said
    assert "is -16.7, that of R2D without sampling -83.3: +66.7 [" in said
    assert said.endswith(f"So {because}")


def test_methods_alike_are_not_told_apart_and_single_runs_never(smoke, pair):
    runs = pair((4, 12), (4, 12))
    table = exposure_gaps.differences(smoke, runs)
    assert exposure_gaps.told_apart(smoke, table) == []
    (said,) = exposure_gaps.not_told_apart(smoke, table)
    assert "+0.0 [" in said and "not told apart, corrected p = 1" in said and "So" not in said


def test_gaps_of_single_runs_are_of_models(smoke, pair):
    first, _, _, other, _, _ = pair((0, 4), (0, 12))
    table = exposure_gaps.differences(smoke, [first, other])
    assert table.loc[0, "p_holm"] < 0.05
    assert exposure_gaps.told_apart(smoke, table) == []
    (said,) = exposure_gaps.not_told_apart(smoke, table)
    assert "one run each, which says nothing about the methods" in said and "So" not in said


def test_what_is_told_no_label_or_has_no_reference_is_not_compared(smoke, decided):
    ours = decided("r2d-full", 12, lambda i: False, lambda i: True)
    dss = decided("dss-full", 12, lambda i: True)
    assert exposure_gaps.differences(smoke, [ours, dss]).empty
    assert exposure_gaps.differences(smoke, [dss]).empty
