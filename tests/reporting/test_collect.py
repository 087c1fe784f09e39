"""Every number of a table comes from a run directory."""

import json

import pytest

from r2d.errors import R2DError
from r2d.experiments import grid
from r2d.experiments.run import Run
from r2d.reporting import collect


def test_a_row_holds_what_the_run_directory_says(runs):
    frame = collect.runs(runs)
    row = frame[(frame["method"] == "r2d-full") & (frame["seed"] == 2)].iloc[0]
    assert row["accuracy"] == 0.8 and row["accuracy_low"] < 0.8 < row["accuracy_high"]
    assert (row["test_cases"], row["seconds_per_case"], row["steps"]) == (40, 0.1, 4)
    assert row["tuning"] == "full" and row["title"] == "R2D"


def test_the_latency_of_a_run_is_its_engines_and_others_are_listed(runs):
    row = collect.runs(runs).iloc[-1]
    assert (row["latency_median"], row["latency_p95"]) == (0.1, 0.2)
    listed = collect.latencies(runs[-1:])
    assert listed["engine"].tolist() == ["torch", "CTranslate2 float32"]
    assert listed["median"].tolist() == [0.3, 0.1] and listed["used"].tolist() == [False, True]
    assert (listed["parameters"] == 10).all() and (listed["method"] == "r2d-full").all()


def test_what_a_run_was_trained_for_takes_in_the_stage_1_of_its_seed(recipe, finish, runs):
    env = {"test_cases": 0, "test_seconds": 0.0, "probe_seconds": 0.0}
    env |= {"parameters": 10, "trainable": 5, "peak_memory_mb": 7}
    for seed, steps in ((1, 3), (2, 2)):  # patience ended the second
        training = {"steps": steps, "target_tokens": 100 * steps}
        finish(Run(recipe, "triage", "stage1-full", seed), [], env | {"training": training})
    for run in runs:
        file = run.folder / "env.json"
        written = json.loads(file.read_text())
        if run.method != "majority":
            written["training"]["target_tokens"] = 1000
        file.write_text(json.dumps(written))
    totals = collect.runs(runs).set_index(["method", "seed"])[
        ["total_steps", "total_target_tokens"]
    ]
    assert totals.loc["r2d-full"].to_numpy().tolist() == [[7, 1300], [6, 1200]]
    assert totals.loc["dss-full"].to_numpy().tolist() == [[4, 1000], [4, 1000]]
    assert totals.loc["majority"].isna().all(axis=None)


def test_where_stage_1_is_not_there_the_total_is_not_known(runs):
    frame = collect.runs(runs).set_index("method")
    assert frame.loc["r2d-full", "total_steps"].isna().all()
    assert frame.loc["r2d-full", "steps"].tolist() == [4, 4]


def test_a_run_without_test_cases_has_no_seconds_a_case(recipe, finish):
    env = {"test_cases": 0, "test_seconds": 0.0, "probe_seconds": 0.0, "training": {"steps": 4}}
    run = Run(recipe, "triage", "stage1-full", 1)
    finish(run, [], env | {"parameters": 10, "trainable": 5, "peak_memory_mb": 7})
    assert collect.runs([run])["seconds_per_case"].isna().all()


def test_a_missing_run_is_named(recipe, runs):
    missing = Run(recipe, "triage", "sft-full", 1)
    with pytest.raises(R2DError, match=r"no finished run at .*sft-full/seed1; run its notebook or"):
        collect.runs([*runs, missing])


def test_f1_by_class_and_confusion_are_those_of_the_runs(recipe, runs):
    classes = collect.per_class(runs)
    assert len(classes) == 12 and set(classes["label"]) == {"a", "b"}
    counts = collect.confusion(Run(recipe, "triage", "r2d-full", 1))
    assert counts.to_numpy().tolist() == [[18, 2, 0], [2, 18, 0]]
    assert list(counts.columns) == ["a", "b", "invalid"]


def test_curves_are_the_logs_with_their_runs(runs):
    curves = collect.curves(runs)
    assert len(curves) == 6 and set(curves["loss"]) == {2.0}
    assert set(curves["method"]) == {"majority", "dss-full", "r2d-full"}


def test_signatures_are_those_that_the_runs_recorded(runs):
    assert "100 resamples" in collect.signatures(runs)["intervals"]


def test_the_runs_of_a_cost_take_in_the_stage_1_that_they_start_from(recipe, runs):
    more = grid.with_starts(runs)
    first = {Run(recipe, "triage", "stage1-full", seed) for seed in (1, 2)}
    assert set(more) - set(runs) == first and len(more) == len(set(more))
