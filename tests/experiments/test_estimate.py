"""The expected length of a plan: minutes from records, GPU hours from arithmetic, said as such."""

import json
import re
import subprocess
import sys

import pytest
from workflow_logs import log

from r2d import paths, recipes
from r2d.errors import R2DError
from r2d.experiments import durations, estimate
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
def nothing_shipped(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "DURATIONS", tmp_path)


@pytest.fixture
def record(home):
    """Leaves what `env.json` says of a run: its seconds of training and test."""

    def write(dataset, method, seed, steps=100, step=3.0, test=60.0, profile="smoke"):
        folder = paths.run(profile, dataset, method, seed)
        folder.mkdir(parents=True)
        made = {"training": {"seconds": steps * step}, "test_seconds": test}
        (folder / "env.json").write_text(json.dumps(made))

    return write


def logged(seconds, profile="smoke"):
    """Leaves the log of a workflow, in which these jobs took so many seconds."""
    path = paths.runs(profile) / "logs" / "run-20260101-000000.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(log(seconds))


def expected(plan=PLAN, profile="smoke", overrides=None):
    jobs = estimate.planned(recipes.load(profile, overrides), plan)
    return [(job.name, job.seconds, job.source) for job in jobs]


@pytest.mark.usefixtures("nothing_shipped")
def test_jobs_without_a_record_are_listed_as_such(home):
    assert expected() == [
        ("triage r2d-full seed 1", None, "no record"),
        ("06_automatic_metrics", None, "no record"),
    ]
    shown = estimate.table(estimate.planned(recipes.load("smoke"), PLAN), 2)
    assert shown.count("no record") == 2 and "GPU" not in shown
    assert "2 notebooks would run: 2 of unknown length." in shown


def test_a_run_counts_training_and_test_or_its_notebook_where_that_took_longer(record):
    record("triage", "r2d-full", 1)
    logged({"triage r2d-full seed 1": 8, "06_automatic_metrics": 90})
    assert expected() == [
        ("triage r2d-full seed 1", 360, "earlier run"),
        ("06_automatic_metrics", 90, "earlier run"),
    ]
    logged({"triage r2d-full seed 1": 600})
    assert expected()[0] == ("triage r2d-full seed 1", 600, "earlier run")


def test_without_its_own_record_a_run_takes_what_the_method_took_elsewhere(record):
    record("pubmedqa", "r2d-full", 1, test=0)
    assert expected()[0][1:] == (300, "earlier run, another dataset")
    record("triage", "r2d-full", 2, test=0, steps=10)
    record("triage", "r2d-full", 3, test=0, steps=30)
    record("triage", "sft-full", 1, test=0, steps=1000)
    assert expected()[0][1:] == (60, "earlier run, other seeds")


def test_a_changed_profile_may_use_the_records_of_the_shipped_one(record):
    record("triage", "r2d-full", 1)
    assert expected(overrides={"train.common.lr": 0.01})[0][1:] == (360, "earlier run")


def test_a_run_that_is_finished_under_these_settings_costs_its_notebook_alone(record):
    run = Run(recipes.load("smoke"), "triage", "majority", 1)
    run.execute()
    logged({"triage majority seed 1": 30})
    plan = "Job 1: triage majority seed 1"
    changed = {"train.common.lr": 0.01}  # which a sanity row does not have: it is taken over
    for overrides in (None, changed):
        (job,) = expected(plan, overrides=overrides)
        assert job == ("triage majority seed 1", 10, "earlier run, trained already")
    (run.folder / "predictions.jsonl").write_text("")  # damaged: to be made again
    assert expected(plan)[0][2] == "earlier run"


@pytest.mark.usefixtures("nothing_shipped")
def test_a_damaged_record_is_no_record(record):
    record("triage", "r2d-full", 1)
    (paths.run("smoke", "triage", "r2d-full", 1) / "env.json").write_text("{")
    logged({})
    assert [job[1] for job in expected()] == [None, None]


@pytest.mark.parametrize("profile", ["smoke", "mini"])
def test_a_fresh_clone_estimates_all_of_a_profile_by_what_is_shipped_and_names_the_machine(
    home, project_data, profile
):
    recipe = recipes.load(profile)
    jobs = estimate.whole(recipe, list(recipe.experiments))
    shown = estimate.table(jobs, 2)
    assert len(jobs) > 20 and "unknown" not in shown
    source = f"shipped record ({durations.shipped(profile).machine})"
    total = (
        rf"{len(jobs)} notebooks would run: about \d+ minutes, 2 at a time, by {re.escape(source)}"
    )
    assert re.search(rf"\n{total}\.$", shown) and shown.count(source) == len(jobs) + 1


def test_what_is_newer_than_the_shipped_record_takes_as_long_as_others_of_its_kind(
    home, monkeypatch, tmp_path
):
    monkeypatch.setattr(paths, "DURATIONS", tmp_path)
    seconds = {"triage sft-full seed 1": 60, "triage dss-full seed 1": 80, "01_data other": 7}
    durations.ship("smoke", seconds)
    plan = "Job 1: triage r2d-full seed 1\nJob 2: 01_data triage\nJob 3: 07_llm_judge\n"
    assert [job[1] for job in expected(plan)] == [70, 7, None]


@pytest.mark.usefixtures("nothing_shipped")
def test_a_whole_run_of_this_machine_may_be_shipped_and_nothing_less(home, monkeypatch):
    monkeypatch.setattr("r2d.env.machine", lambda: "1 core of abacus")
    recipe = recipes.load("smoke")
    names = [job.name for job in estimate.whole(recipe, list(recipe.experiments))]
    logged({name: 60 for name in names[1:]})
    with pytest.raises(R2DError, match=rf"no record of {names[0]}: run all of it first"):
        estimate.ship(recipe)
    logged({name: 60 for name in names})
    record = json.loads(estimate.ship(recipe).read_text())
    assert record == {"machine": "1 core of abacus", "seconds": dict.fromkeys(names, 60)}


def test_jobs_fill_the_places_there_are_and_the_last_ones_follow_each_other():
    jobs = [("a", 30), ("b", 50), ("c", 30), ("report", 5), ("08_figures", 7)]
    assert estimate.until_done(jobs, 1) == 122
    assert estimate.until_done(jobs, 2) == 60 + 12
    assert estimate.until_done(jobs, 9) == 50 + 12


def hours(recipe, method):
    return estimate.gpu_hours(Run(recipe, "pubmedqa", method, 1))


def test_gpu_hours_follow_parameters_and_tokens_and_are_marked_as_an_estimate(home):
    recipe = recipes.load("paper")
    full, adapter = hours(recipe, "r2d-full-large"), hours(recipe, "r2d-qlora-large")
    # Both prompts, and the rationale; the label is a few tokens.
    tokens = 30_000 * 64 * (1024 + 1024 + 256)
    assert full == pytest.approx(6 * 7.83e8 / 2 * tokens / 4e13 / 3600)
    assert adapter == pytest.approx(full * 4 / 6)
    assert hours(recipe, "sft-full-large") == pytest.approx(full * 1024 / 2304)
    assert hours(recipe, "tfidf") is None
    shown = estimate.table(estimate.planned(recipe, "Job 1: pubmedqa r2d-full-large seed 123\n"), 1)
    assert f"~{full:.1f} GPU h" in shown and "(an estimate)" in shown and estimate.ASSUMED in shown


def test_every_backbone_of_the_paper_profile_has_an_estimate(home):
    recipe = recipes.load("paper")
    trained = [name for name, method in recipe.methods.items() if method.objective in OBJECTIVES]
    assert trained and all(hours(recipe, name) > 0 for name in trained)


def test_nothing_to_do_is_said():
    assert estimate.table([], 2) == "Nothing to do: everything is up to date."


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
