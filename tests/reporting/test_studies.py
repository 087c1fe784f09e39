"""The studies' tables and sentences, from runs whose numbers are known."""

import pandas as pd
import pytest

from r2d.experiments import grid
from r2d.experiments.run import Run
from r2d.reporting import collect, studies


@pytest.fixture
def finished(recipe, finish):
    """`finished(method)` is a run of 20 cases; a step of r2d-full takes longest."""

    def make(method) -> Run:
        rows = [{"id": str(i), "gold": "a", "label": "a", "rationale_gold": ""} for i in range(20)]
        longest = method == "r2d-full"
        training = {"steps": 4, "best_step": 4, "seconds": 8.0}
        training["seconds_per_step"] = 2.0 if longest else 1.0
        training["cpu_seconds_per_step"] = 3.0 if longest else 0.75
        env = {"test_cases": 20, "test_seconds": 2.0, "probe_seconds": 5.0, "kind": "cpu"}
        env |= {"parameters": 1000, "trainable": 250, "peak_memory_mb": 7, "training": training}
        return finish(Run(recipe, "triage", method, 1), rows, env)

    return make


def test_sources_are_named_for_both_stages(recipe, finished):
    methods = ("r2d-full", "r2d-full-nurse", "r2d-full-nurse-only", "r2d-full-no-stage1")
    runs = [finished(method) for method in methods]
    table = studies.sources(recipe, collect.runs(runs)).set_index("method")
    named = table[["stage1_source", "stage2_source"]]
    assert named.loc["r2d-full"].tolist() == ["rationale_llm"] * 2
    assert named.loc["r2d-full-nurse-only"].tolist() == ["rationale_nurse"] * 2
    assert named.loc["r2d-full-nurse"].tolist() == ["rationale_llm", "rationale_nurse"]
    assert named.loc["r2d-full-no-stage1"].tolist() == ["", "rationale_llm"]


def test_cost_takes_in_stage_1(recipe, finished):
    runs = [finished("r2d-full"), finished("sft-full")]
    finished("stage1-full")
    table = studies.cost(recipe, collect.runs(grid.with_starts(runs)))
    assert set(table["method"]) == {"r2d-full", "sft-full", "stage1-full"}
    assert (table["trainable_share"] == 0.25).all()
    assert table.set_index("method").loc["sft-full", "seconds_per_case"] == 0.1


def test_two_number_formats_never_share_a_row_of_costs(recipe, finished):
    frame = collect.runs([finished("r2d-full"), finished("sft-full")]).assign(method="r2d-full")
    frame = frame.assign(title="R2D", precision=["fp32", "bf16"])
    table = studies.cost(recipe, frame).set_index("precision")
    assert table["cpu_seconds_per_step"].to_dict() == {"fp32": 3.0, "bf16": 0.75}


def test_steps_are_compared_by_cpu_seconds_seed_by_seed_with_their_range(recipe, finished):
    frame = collect.runs([finished("r2d-full"), finished("sft-full")])
    assert studies.cost_sentences(recipe, frame) == []  # of one seed a ratio has no spread
    again = frame.assign(seed=2, cpu_seconds_per_step=frame["cpu_seconds_per_step"] * [1.0, 0.5])
    (sentence,) = studies.cost_sentences(recipe, pd.concat([frame, again]))
    assert sentence == (
        "A step of R2D on triage takes, of CPU time, 6.00 times SFT's (4.00 to 8.00 over 2 seeds)."
    )
    both = pd.concat([frame, again]).assign(device="cuda")
    (sentence,) = studies.cost_sentences(recipe, both)
    assert "takes, by the clock, 2.00 times SFT's (2.00 to 2.00" in sentence


def test_an_experiment_that_was_not_chosen_has_no_runs(recipe):
    runs, frame = studies.chosen(recipe, "E3", ["E1"])
    assert runs == [] and frame.empty
