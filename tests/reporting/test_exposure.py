"""Exposure bias: agreement first, and scores by whether the decision was right."""

import pandas as pd
import pytest

from r2d.evaluation import metrics
from r2d.evaluation.support import JUDGE
from r2d.experiments.run import Run
from r2d.reporting import exposure


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
