"""The studies' tables and sentences, from runs whose numbers are known."""

import pytest

from r2d.experiments import grid
from r2d.experiments.run import Run
from r2d.reporting import collect, studies

REASON, NONE = "it is the fever that decides", "nothing in particular decides"


@pytest.fixture
def decided(recipe, finish):
    """A run of 20 cases, the first `wrong` decided wrongly.

    Its rationales name the reason where `good(i)` says so.
    """

    def make(method, wrong, good, good_given_gold=None) -> Run:
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
        seconds_per_step = 2.0 if method == "r2d-full" else 1.0
        env = {
            "test_cases": 20,
            "test_seconds": 2.0,
            "probe_seconds": 5.0,
            "parameters": 1000,
            "trainable": 250,
            "peak_memory_mb": 7,
            "training": {
                "steps": 4,
                "best_step": 4,
                "seconds": 8.0,
                "seconds_per_step": seconds_per_step,
            },
        }
        return finish(Run(recipe, "triage", method, 1), predictions, env)

    return make


def about_reasons(recipe, table):
    sentences = studies.exposure_sentences(recipe, table)
    return [sentence for sentence in sentences if "true reason" in sentence]


def test_exposure_is_split_by_whether_the_decision_was_right(recipe, decided):
    runs = [
        decided("r2d-full", 8, lambda i: i >= 8, lambda i: i >= 2),
        decided("dss-full", 4, lambda i: True),
    ]
    table = studies.exposure(runs)
    named = table[table["measure"] == "names_reason"].set_index(["method", "decision"])
    wrong = named.loc[("r2d-full", "wrong")]
    assert (wrong["n"], wrong["own"], wrong["gold"], wrong["gap"]) == (8, 0.0, 0.75, -0.75)
    assert wrong["gap_high"] < 0 and named.loc[("r2d-full", "right"), "gap"] == 0
    other = named.loc[("dss-full", "wrong")]
    assert (other["n"], other["own"]) == (4, 1.0)
    assert named.loc["dss-full", "gold"].isna().all()  # its rationale prompt carries no label
    (sentence,) = about_reasons(recipe, table)
    assert sentence.startswith("R2D on triage, 8 wrongly decided cases")
    assert "0.0 given its own label, 75.0 given the gold" in sentence
    assert "inside its noise" not in sentence


def test_a_gap_inside_its_noise_is_said_to_be(recipe, decided):
    run = decided("r2d-full", 10, lambda i: i % 2 == 0, lambda i: i % 2 == 1)
    (sentence,) = about_reasons(recipe, studies.exposure([run]))
    assert sentence.endswith("The difference is inside its noise.")


def test_without_a_gold_label_in_any_prompt_nothing_is_said(recipe, decided):
    table = studies.exposure([decided("dss-full", 4, lambda i: True)])
    assert len(table) and studies.exposure_sentences(recipe, table) == []


def test_sources_are_named_for_both_stages(recipe, decided):
    methods = ("r2d-full", "r2d-full-nurse", "r2d-full-nurse-only", "r2d-full-no-stage1")
    runs = [decided(method, 1, lambda i: True) for method in methods]
    table = studies.sources(recipe, collect.runs(runs)).set_index("method")
    named = table[["stage1_source", "stage2_source"]]
    assert named.loc["r2d-full"].tolist() == ["rationale_llm"] * 2
    assert named.loc["r2d-full-nurse-only"].tolist() == ["rationale_nurse"] * 2
    assert named.loc["r2d-full-nurse"].tolist() == ["rationale_llm", "rationale_nurse"]
    assert named.loc["r2d-full-no-stage1"].tolist() == ["", "rationale_llm"]


def test_cost_takes_in_stage_1_and_compares_steps(recipe, decided):
    runs = [decided("r2d-full", 1, lambda i: True), decided("sft-full", 1, lambda i: True)]
    decided("stage1-full", 1, lambda i: True)
    table = studies.cost(recipe, collect.runs(grid.with_starts(runs)))
    assert set(table["method"]) == {"r2d-full", "sft-full", "stage1-full"}
    assert (table["trainable_share"] == 0.25).all()
    assert table.set_index("method").loc["sft-full", "seconds_per_case"] == 0.1
    sentences = studies.cost_sentences(recipe, table)
    begins = "A step of R2D takes 2.00 times one of SFT on triage"
    assert any(sentence.startswith(begins) for sentence in sentences)


def test_an_experiment_that_was_not_chosen_has_no_runs(recipe):
    runs, frame = studies.chosen(recipe, "E3", ["E1"])
    assert runs == [] and frame.empty
