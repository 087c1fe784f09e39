"""Exposure bias: agreement first, gaps by decision, and what is told from zero."""

import pandas as pd
import pytest

from r2d.evaluation import metrics
from r2d.evaluation.support import JUDGE
from r2d.experiments.run import Run
from r2d.reporting import exposure

REASON, NONE = "it is the fever that decides", "nothing in particular decides"
ENV = {"test_cases": 20, "test_seconds": 2.0, "probe_seconds": 5.0}


@pytest.fixture
def decided(recipe, finish):
    """A run of 20 cases, the first `wrong` decided wrongly.

    Its rationales name the reason where `good(i)` says so.
    """

    def make(method, wrong, good, good_given_gold=None, seed=1) -> Run:
        predictions = []
        for i in range(20):
            row = {
                "id": str(i),
                "gold": "a",
                "label": "b" if i < wrong else "a",
                "valid": True,
                "reason": "fever",
                "rationale_gold": REASON,
                "rationale": REASON if good(i) else NONE,
                "label_from_rationale": "a",
            }
            if good_given_gold:
                row["rationale_given_gold"] = REASON if good_given_gold(i) else NONE
            predictions.append(row)
        return finish(Run(recipe, "triage", method, seed), predictions, ENV)

    return make


@pytest.fixture
def supported(monkeypatch, decided):
    """A run whose `metrics.json` also says what its rationales support."""

    def make(method, seed, agreement, wrong=0.4, follows=0.3) -> Run:
        share = {"interval": [0.0, 1.0], "n": 20, "chance": 0.25}
        more = {
            "agreement": share | {"value": agreement},
            "agreement_wrong": share | {"value": wrong, "n": 4},
            "degenerate": share | {"value": 0.0},
        }
        if follows is not None:
            more["follows_label"] = share | {"value": follows}
        evaluate = metrics.evaluate

        def with_support(*given):
            result = evaluate(*given)
            result["metrics"] |= more
            return result | {"reader": {"name": JUDGE, "gold": 0.9, "chance": 0.4, "n": 20}}

        monkeypatch.setattr(metrics, "evaluate", with_support)
        run = decided(method, 4, lambda i: i % 2, None, seed)
        monkeypatch.setattr(metrics, "evaluate", evaluate)
        return run

    return make


def test_scores_are_split_by_whether_the_decision_was_right(decided):
    runs = [
        decided("r2d-full", 8, lambda i: i >= 8, lambda i: i >= 2),
        decided("dss-full", 4, lambda i: True),
    ]
    table = exposure.scores(runs)
    named = table[table["measure"] == "names_reason"].set_index(["method", "decision"])
    wrong = named.loc[("r2d-full", "wrong")]
    assert (wrong["n"], wrong["own"], wrong["gold"], wrong["gap"]) == (8, 0.0, 0.75, -0.75)
    assert wrong["gap_high"] < 0 and named.loc[("r2d-full", "right"), "gap"] == 0
    other = named.loc[("dss-full", "wrong")]
    assert (other["n"], other["own"]) == (4, 1.0)
    assert named.loc["dss-full", "gold"].isna().all()  # its rationale prompt carries no label


def test_a_methods_interval_is_wider_than_one_runs_where_seeds_differ(decided):
    runs = [decided("r2d-full", 10, lambda i, s=s: i < s, lambda i: i < 5, s) for s in (1, 5, 9)]
    table = exposure.scores(runs)
    wrong = table[(table["measure"] == "names_reason") & (table["decision"] == "wrong")]
    assert wrong["own"].tolist() == pytest.approx([0.1, 0.5, 0.9])
    assert wrong["own_method_low"].nunique() == wrong["own_method_high"].nunique() == 1
    first = wrong.iloc[0]
    assert first["own_method_low"] == 0 and first["own_method_high"] == 1
    assert 0 < first["gold_method_low"] < 0.5 < first["gold_method_high"] < 1  # seeds alike: cases
    alone = exposure.scores([decided("dss-full", 10, lambda i: True)])
    assert "gold_method_low" not in alone


def test_a_methods_gap_is_told_from_zero_over_seeds_and_cases(recipe, decided):
    runs = [decided("r2d-full", 12, lambda i: False, lambda i, s=s: i >= s, s) for s in (1, 2, 3)]
    runs += [decided("r2d-qlora", 8, lambda i: i % 2, lambda i: i % 2, s) for s in (1, 2, 3)]
    table = exposure.gaps(runs)
    named = table[table["measure"] == "names_reason"].set_index("method")
    assert named.loc["r2d-full", "difference"] == pytest.approx(-(11 + 10 + 9) / 36)
    assert named.loc["r2d-full", "high"] < 0 and named.loc["r2d-full", "p_holm"] < 0.05
    assert named.loc["r2d-qlora", "difference"] == 0 and named.loc["r2d-qlora", "p"] == 1
    first, *_ = exposure.gaps_told_apart(recipe, table)
    (rest,) = exposure.gaps_left(recipe, table)
    assert first.startswith("In wrongly decided cases of triage the own label told instead of the")
    assert "changes Names the true reason: R2D -83.3 [" in first
    assert rest.startswith("Not told from zero on triage") and "R2D (QLoRA)" in rest
    assert "one run" not in rest
    assert table["p_holm"].ge(table["p"]).all()


def test_a_gap_of_one_run_is_never_told_from_zero(recipe, decided):
    table = exposure.gaps([decided("r2d-full", 12, lambda i: False, lambda i: True)])
    assert table["p_holm"].min() < 0.05
    (rest,) = exposure.gaps_left(recipe, table)
    assert exposure.gaps_told_apart(recipe, table) == []
    assert rest.startswith("Not told from zero") and "(one run)" in rest


def test_without_a_gold_label_in_any_prompt_there_are_no_gaps(recipe, decided):
    table = exposure.gaps([decided("dss-full", 4, lambda i: True)])
    assert table.empty
    assert exposure.gaps_told_apart(recipe, table) == exposure.gaps_left(recipe, table) == []


def test_support_is_told_a_sentence_a_method_with_chance_and_reader(supported):
    runs = [supported("r2d-full", 1, 0.8), supported("r2d-full", 2, 0.9, wrong=0.6)]
    runs.append(supported("dss-full", 1, 0.7, follows=None))
    table = exposure.support(runs)
    assert table["agreement"].tolist() == [0.8, 0.9, 0.7]
    assert set(table["probe_label"]) == {"a"} and set(table["probe_share"]) == {1.0}
    ours, dss, reader, consistent = exposure.support_sentences(table)
    assert ours == (
        "R2D on triage (2 runs): the rationale supports the decided label in 85.0% of cases (by "
        "chance 25.0%), in 50.0% of the 4 that it decided wrongly (by chance 25.0%); told each "
        "label in turn, it supports 30.0% of them (25.0% at most if it did not listen)."
    )
    assert dss.startswith("DSS on triage (one run)") and "told each label" not in dss
    alone, *_ = exposure.support_sentences(exposure.support(runs[2:]))
    assert alone == dss
    assert reader == (
        f"On triage rationales are read by {JUDGE}: 90.0% of the gold ones are read as their label "
        "(by chance 40.0%)."
    )
    assert consistent == (  # 16 of 20 were decided "a", which is what every rationale gives back
        "On triage the network itself reads the decided label back from the rationale alone "
        "(consistency, Reason2Decide-C; by chance): R2D 80.0% (80.0%), DSS 80.0% (80.0%)."
    )


def test_runs_whose_rationales_can_not_be_read_are_left_out(decided):
    assert exposure.support([decided("r2d-full", 4, lambda i: True)]).empty
    assert exposure.support_sentences(pd.DataFrame()) == []
