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


def test_people_see_a_row_a_method_with_mean_deviation_and_runs(recipe, finished):
    one = collect.runs([finished("r2d-full"), finished("r2d-full-nurse-only")])
    one = studies.sources(recipe, one)
    two = one.assign(seed=2)
    frame = pd.concat([one, two], ignore_index=True)
    frame = frame.assign(agreement=[0.9, 0.5, 0.7, 0.5], degenerate=0.0)
    shown = studies.source_means(recipe, frame).set_index("method")
    assert shown["runs"].tolist() == [2, 2]
    assert shown.loc["R2D", "Agreement of label and rationale"] == "80.0 ± 14.1"
    nurse = shown.loc[recipe.methods["r2d-full-nurse-only"].title]
    assert nurse[["stage 1 learned from", "stage 2 learned from"]].tolist() == ["nurse"] * 2
    assert shown.loc["R2D", "stage 2 learned from"] == "LLM-style"
    assert "Names the true reason" not in shown  # of which no run knows
    assert list(studies.means(recipe, frame)["method"]) == list(shown.index)


def support_table():
    """Of two methods with two runs each, DSS's prompt without a label; the reader's texts."""
    shared = {"dataset": "triage", "degenerate": 0.0, "probe_share": 0.5}
    shared |= {"consistency": 0.4, "consistency_chance": 0.175, "names_modifier": None}
    told = {"agreement_method_low": 0.9, "agreement_method_high": 1.0}
    r2d = shared | told | {"method": "r2d-full", "title": "R2D", "follows_label": 0.82}
    r2d |= {"follows_label_method_low": 0.77, "follows_label_method_high": 0.87}
    dss = shared | told | {"method": "dss-full", "title": "DSS", "follows_label": None}
    dss |= {"follows_label_method_low": None, "follows_label_method_high": None}
    rows = [row | {"seed": seed} for row in (dss, r2d) for seed in (1, 2)]
    return pd.DataFrame(rows).assign(agreement=[0.8, 0.9, 0.97, 0.99])


def score(method, measure, decision, own, gold=None):
    names = {"dataset": "triage", "method": method, "measure": measure, "decision": decision}
    row = names | {"n": 10, "own": own, "own_method_low": 0.1, "own_method_high": 0.6}
    ends = {"gold_method_low": 0.3, "gold_method_high": 0.5} if gold else {}
    return row | {"gold": gold} | ends


def test_exposure_has_a_row_a_method_from_agreement_to_gap_to_forced_label():
    scores = [score("dss-full", "agreement", "right", 0.9)]
    scores += [score("dss-full", "names_reason", "wrong", 0.3)]
    scores += [score("r2d-full", "agreement", "wrong", value, 0.95) for value in (0.9, 0.96)]
    scores += [score("r2d-full", "names_reason", "wrong", 0.28, 0.44)]
    scores += [score("r2d-full", "names_reason", "wrong", None) | {"n": 0}]  # none was wrong
    gap = {"dataset": "triage", "method": "r2d-full", "measure": "names_reason"}
    gap |= {"difference": -0.16, "low": -0.256, "high": -0.064}
    other = gap | {"measure": "bertscore_f1", "difference": -0.9}
    table = studies.exposure_means(
        support_table(), pd.DataFrame(scores), pd.DataFrame([other, gap])
    ).set_index("method")
    assert list(table.columns) == [
        "dataset",
        "runs",
        "Agreement",
        "Agreement, decided right",
        "Agreement, decided wrong",
        "True reason, told own label",
        "True reason, told gold label",
        "Exposure gap (own - gold)",
        "Follows a forced label",
    ]
    assert table.loc["R2D"].tolist() == [
        "triage",
        2,
        "98.0 [90, 100]",
        "–",
        "93.0 [10, 60]",
        "28.0 [10, 60]",
        "44.0 [30, 50]",
        "-16.0 [-25.6, -6.4]",
        "82.0 [77, 87]",
    ]
    assert table.loc["DSS"].tolist()[2:] == [
        "85.0 [90, 100]",
        "90.0 [10, 60]",
        "–",
        "30.0 [10, 60]",
        "–",
        "–",
        "–",
    ]


def test_a_method_of_degenerate_rationales_is_marked_and_empty_columns_go():
    support = support_table().assign(degenerate=[0.0, 0.0, 0.1, 0.2])
    table = studies.probe_means(support)
    assert table["method"].tolist() == ["DSS", "R2D †"]
    assert table["Consistency (by chance)"].tolist() == ["40.0 (17.5)"] * 2
    assert "Names the modifier" not in table and "Sufficiency (by chance)" not in table
    nothing = pd.DataFrame()
    scores = pd.DataFrame([score("r2d-full", "agreement", "wrong", 0.9)])
    table = studies.exposure_means(support, scores, nothing)
    assert "Exposure gap (own - gold)" not in table and table["method"].tolist()[1] == "R2D †"
    assert studies.exposure_means(nothing, nothing, nothing).empty


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
