"""The studies' tables and sentences, from runs whose numbers are known."""

import json

import pytest
import yaml

from r2d import paths
from r2d.evaluation import metrics
from r2d.experiments import grid
from r2d.recipes.settings import MetricSettings
from r2d.reporting import results, studies

LABELS, SETTINGS = ["a", "b"], MetricSettings(bertscore="minilm", resamples=100)


def finished(recipe, method, wrong, good, good_given_gold=None):
    """A run of 20 cases, the first `wrong` decided wrongly, whose rationales name the reason where `good(i)` says so."""
    rows = []
    for i in range(20):
        text = {True: "it is the fever that decides", False: "nothing in particular decides"}
        row = {"id": str(i), "gold": "a", "label": "b" if i < wrong else "a", "valid": True, "reason": "fever",
               "rationale_gold": text[True], "rationale": text[good(i)], "label_from_rationale": "a"}  # fmt: skip
        rows.append(
            row | ({"rationale_given_gold": text[good_given_gold(i)]} if good_given_gold else {})
        )
    folder = paths.run(recipe.profile, "triage", method, 1)
    folder.mkdir(parents=True)
    env = {
        "test_cases": 20,
        "test_seconds": 2.0,
        "probe_seconds": 5.0,
        "parameters": 1000,
        "trainable": 250,
        "peak_memory_mb": 7,
    }
    env["training"] = {
        "steps": 4,
        "best_step": 4,
        "seconds": 8.0,
        "seconds_per_step": 2.0 if method == "r2d-full" else 1.0,
    }
    (folder / "env.json").write_text(json.dumps(env))
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": 1}))
    (folder / "metrics.json").write_text(
        json.dumps({"key": "k", **metrics.evaluate(rows, LABELS, SETTINGS)})
    )
    return "triage", method, 1


@pytest.fixture
def recipe(tiny, home):
    return tiny()


def test_exposure_is_split_by_whether_the_decision_was_right(recipe):
    runs = [
        finished(recipe, "r2d-full", 8, lambda i: i >= 8, lambda i: i >= 2),
        finished(recipe, "dss-full", 4, lambda i: True),
    ]
    table = studies.exposure(recipe, runs)
    named = table[table["measure"] == "names_reason"].set_index(["method", "decision"])
    wrong = named.loc[("r2d-full", "wrong")]
    assert (wrong["n"], wrong["own"], wrong["gold"], wrong["gap"]) == (8, 0.0, 0.75, -0.75)
    assert wrong["gap_high"] < 0 and named.loc[("r2d-full", "right"), "gap"] == 0
    assert (named.loc[("dss-full", "wrong"), "n"], named.loc[("dss-full", "wrong"), "own"]) == (
        4,
        1.0,
    )
    assert named.loc["dss-full", "gold"].isna().all()  # its rationale prompt carries no label
    (said,) = [line for line in studies.exposure_sentences(recipe, table) if "true reason" in line]
    assert (
        said.startswith("R2D on triage, 8 wrongly decided cases")
        and "0.0 given its own label, 75.0 given the gold" in said
    )
    assert "inside its noise" not in said


def test_a_gap_inside_its_noise_is_said_to_be(recipe):
    table = studies.exposure(
        recipe, [finished(recipe, "r2d-full", 10, lambda i: i % 2 == 0, lambda i: i % 2 == 1)]
    )
    said = [line for line in studies.exposure_sentences(recipe, table) if "true reason" in line]
    assert len(said) == 1 and said[0].endswith("The difference is inside its noise.")


def test_sources_are_named_for_both_stages(recipe):
    methods = ("r2d-full", "r2d-full-nurse", "r2d-full-nurse-only", "r2d-full-no-stage1")
    runs = [finished(recipe, m, 1, lambda i: True) for m in methods]
    frame = results.collect(recipe, runs)
    named = studies.sources(recipe, frame).set_index("method")[["stage1_source", "stage2_source"]]
    assert named.loc["r2d-full"].tolist() == ["rationale_llm"] * 2
    assert named.loc["r2d-full-nurse-only"].tolist() == ["rationale_nurse"] * 2
    assert named.loc["r2d-full-nurse"].tolist() == ["rationale_llm", "rationale_nurse"]
    assert named.loc["r2d-full-no-stage1"].tolist() == ["", "rationale_llm"]


def test_cost_takes_in_stage_1_and_compares_steps(recipe):
    runs = [
        finished(recipe, "r2d-full", 1, lambda i: True),
        finished(recipe, "sft-full", 1, lambda i: True),
    ]
    finished(recipe, "stage1-full", 1, lambda i: True)
    table = studies.cost(recipe, results.collect(recipe, grid.with_starts(recipe, runs))).set_index(
        "method"
    )
    assert set(table.index) == {"r2d-full", "sft-full", "stage1-full"}
    assert (table["trainable_share"] == 0.25).all() and table.loc[
        "sft-full", "seconds_per_case"
    ] == 0.1
    lines = studies.cost_sentences(recipe, table.reset_index())
    assert any(
        line.startswith("A step of R2D takes 2.00 times one of SFT on triage") for line in lines
    )


def test_an_experiment_that_was_not_chosen_has_no_runs(recipe):
    own, frame = studies.chosen(recipe, "E3", ["E1"])
    assert own == [] and frame.empty
