"""The expected length of a plan: minutes from records, GPU hours from arithmetic, said as such."""

import json
import subprocess
import sys

import pytest

from r2d import paths, recipes
from r2d.experiments import estimate
from r2d.experiments.run import Run
from r2d.method.objective import OBJECTIVES

PLAN = """\
Building DAG
[date]
Job 4: triage r2d-full seed 1
Reason: none
Job 12: 06_automatic_metrics
rule all:
"""


@pytest.fixture
def record(home):
    """Leaves the records of a run: what `env.json` says, and how long its notebook took."""

    def write(
        dataset, method, seed, steps=100, step=3.0, test=60.0, notebook=None, profile="smoke"
    ):
        folder = paths.run(profile, dataset, method, seed)
        folder.mkdir(parents=True)
        made = {"training": {"seconds": steps * step}, "test_seconds": test}
        (folder / "env.json").write_text(json.dumps(made))
        if notebook is not None:
            executed(f"{dataset}-{method}-seed{seed}", notebook, profile)

    return write


def executed(name, seconds, profile="smoke"):
    path = paths.runs(profile) / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": [], "metadata": {"papermill": {"duration": seconds}}}))


def expected(plan=PLAN, profile="smoke", overrides=None):
    jobs = estimate.planned(recipes.load(profile, overrides), plan)
    return [
        (job.name, None if job.minutes is None else round(job.minutes, 2), job.source)
        for job in jobs
    ]


def test_jobs_without_a_record_are_listed_as_such(home):
    assert expected() == [
        ("triage r2d-full seed 1", None, "no record"),
        ("06_automatic_metrics", None, "no record"),
    ]
    shown = estimate.table(estimate.planned(recipes.load("smoke"), PLAN))
    assert shown.count("no record") == 2 and "GPU" not in shown
    assert "2 notebooks would run" in shown and "2 of unknown length" in shown


def test_a_run_counts_training_and_test_and_a_notebook_that_took_longer_counts_longer(record):
    record("triage", "r2d-full", 1)  # five minutes of training, one of test
    executed("06_automatic_metrics", 90)
    assert expected() == [
        ("triage r2d-full seed 1", 6.0, "earlier run"),
        ("06_automatic_metrics", 1.5, "earlier run"),
    ]
    executed("triage-r2d-full-seed1", 600)
    assert expected()[0] == ("triage r2d-full seed 1", 10.0, "earlier run")


def test_without_its_own_record_a_run_takes_what_the_method_took_elsewhere(record):
    record("pubmedqa", "r2d-full", 1, test=0)
    assert expected()[0] == ("triage r2d-full seed 1", 5.0, "another dataset")
    record("triage", "r2d-full", 2, test=0, steps=10)
    record("triage", "r2d-full", 3, test=0, steps=30)
    record("triage", "sft-full", 1, test=0, steps=1000)
    assert expected()[0] == ("triage r2d-full seed 1", 1.0, "other seeds")


def test_a_changed_profile_may_use_the_records_of_the_shipped_one(record):
    record("triage", "r2d-full", 1)
    assert expected(overrides={"train.common.lr": 0.01})[0][1:] == (6.0, "earlier run")


def test_a_damaged_record_is_no_record(record):
    record("triage", "r2d-full", 1)
    (paths.run("smoke", "triage", "r2d-full", 1) / "env.json").write_text("{")
    executed("06_automatic_metrics", None)
    assert [job[1] for job in expected()] == [None, None]


def hours(recipe, method):
    return estimate.gpu_hours(Run(recipe, "pubmedqa", method, 1))


def test_gpu_hours_follow_parameters_and_tokens_and_are_marked_as_an_estimate(home):
    recipe = recipes.load("paper")
    full, adapter = hours(recipe, "r2d-full-large"), hours(recipe, "r2d-qlora-large")
    # Both prompts, and the rationale; the label is a few tokens.
    tokens = 30_000 * 64 * (1024 + 1024 + 256)
    assert full == pytest.approx(6 * 7.83e8 / 2 * tokens / 1e14 / 3600)
    assert adapter == pytest.approx(full * 4 / 6)
    assert hours(recipe, "sft-full-large") == pytest.approx(full * 1024 / 2304)
    assert hours(recipe, "tfidf") is None
    shown = estimate.table(estimate.planned(recipe, "Job 1: pubmedqa r2d-full-large seed 123\n"))
    assert f"~{full:.1f} GPU h" in shown and "(an estimate)" in shown and estimate.ASSUMED in shown


def test_every_backbone_of_the_paper_profile_has_an_estimate(home):
    recipe = recipes.load("paper")
    trained = [name for name, method in recipe.methods.items() if method.objective in OBJECTIVES]
    assert trained and all(hours(recipe, name) > 0 for name in trained)


def test_nothing_to_do_is_said():
    assert estimate.table([]) == "Nothing to do: everything is up to date."


def test_neither_the_estimate_nor_the_workflows_plan_waits_for_torch():
    code = (
        "import sys\n"
        "from r2d.experiments import estimate, grid, run, workflow\n"
        "print({'torch', 'sklearn', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
