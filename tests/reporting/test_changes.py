"""Before and after a change: which runs are compared, by what test, what is said without one."""

import json

import pytest
import yaml

from r2d import paths, recipes
from r2d.experiments import directory
from r2d.experiments.run import Run
from r2d.reporting import changes, collect, gallery, overview, spreadsheet, tables

SMALL = {"experiments.E1.datasets": ["triage"], "experiments.E1.methods": ["majority", "r2d-full"]}
CAP = SMALL | {"methods.r2d-full.objective_overrides.cap": 0.3}
SEEDS = {"experiments.E1.seeds": [1, 2]}


@pytest.fixture
def shipped(home):
    return recipes.load("smoke")


@pytest.fixture
def changed(home):
    """One seed of the reference under another cap."""
    return recipes.load("smoke", CAP)


@pytest.fixture
def made(finish):
    """`made(run, wrong)` writes a whole run that errs on the first `wrong` of 40 cases."""

    def write(run: Run, wrong: int) -> Run:
        rows = [
            {"id": str(i), "gold": "ab"[i % 2], "label": "ab"[(i + (i < wrong)) % 2], "valid": True}
            for i in range(40)
        ]
        finish(run, rows, {"test_cases": 40, "test_seconds": 1.0, "probe_seconds": 1.0})
        settings = yaml.safe_dump(run.settings, sort_keys=False)
        (run.folder / directory.CONFIG).write_text(settings)
        metrics = json.loads((run.folder / directory.METRICS).read_text())
        (run.folder / directory.METRICS).write_text(json.dumps(metrics | {"key": run.key}))
        directory.record(run.folder)
        return run

    return write


def reference(recipe, seed: int = 1) -> Run:
    return Run(recipe, "triage", "r2d-full", seed)


def compared(recipe) -> tuple[str, list[dict]]:
    """What is written of E1: the text, and the table's rows."""
    text = changes.write(recipe, ["E1"])
    return text, tables.read(tables.folder(recipe) / changes.TABLE).to_dict("records")


def test_only_the_runs_that_the_change_reaches_are_compared(shipped, made):
    changed = recipes.load("smoke", CAP | SEEDS)
    for seed, before, after in ((1, 20, 4), (2, 20, 5)):
        made(reference(shipped, seed), before)
        made(reference(changed, seed), after)
    text, (row,) = compared(changed)  # majority is as it was
    assert (row["method"], row["measure"], row["origin"]) == ("r2d-full", "macro_f1", "runs")
    assert row["difference"] == pytest.approx(row["after"] - row["before"])
    assert 0 < row["low"] < row["difference"] < row["high"] and row["p_holm"] < 0.05
    assert "`methods.r2d-full.objective_overrides.cap` is `0.3` instead of `0.9`" in text
    assert "| R2D " in text and "| yes (p \\< 0.0001" in text and "50.0 (2)" in text
    assert "the runs of profile smoke here" in text and "The other 2 of 4 runs" in text


def test_a_change_by_chance_is_not_told_apart_and_one_run_each_is_two_models(
    shipped, changed, made
):
    made(reference(shipped), 6)
    made(reference(changed), 5)
    text, (row,) = compared(changed)
    assert row["low"] < 0 < row["high"] and row["runs_before"] == row["runs_after"] == 1
    assert "| no, of two models (p = " in text and "about two models, not about methods" in text


def test_without_the_shipped_runs_the_committed_scores_are_shown_untested(
    shipped, changed, made, monkeypatch, tmp_path
):
    made(reference(changed), 4)
    monkeypatch.setattr(paths, "committed", lambda profile: tmp_path / "committed")
    text, (unknown,) = compared(changed)
    assert unknown["untested"] == "not run"
    assert "Nothing is known of R2D before: `./run_all.sh smoke` makes" in text

    row = collect.runs([reference(changed)]).assign(macro_f1=0.25)
    (tmp_path / "committed").mkdir()
    spreadsheet.write(row, tmp_path / "committed" / "fig1a_main_triage.csv")
    manifest = tmp_path / "committed" / "manifest.json"
    entry = {"sha256": "x", "inputs": {}, "recipe": shipped.fingerprint()}
    manifest.write_text(json.dumps({"fig1a_main_triage": entry}))
    text, (known,) = compared(changed)
    assert (known["before"], known["origin"]) == (0.25, "figures")
    assert "| not tested: no predictions" in text

    manifest.write_text(json.dumps({"fig1a_main_triage": entry | {"recipe": "another"}}))
    _, (earlier,) = compared(changed)
    assert earlier["untested"] == "not run"


@pytest.mark.parametrize(
    ("setting", "untested"), [({"difficulty": 0.9}, "other test cases"), ({"noise": 0.2}, None)]
)
def test_other_test_cases_are_never_tested_in_pairs(shipped, made, setting, untested):
    settings = {f"datasets.triage.{name}": value for name, value in setting.items()}
    methods = {"experiments.E1.methods": ["majority"]}
    other = recipes.load("smoke", SMALL | methods | settings)
    for recipe in (shipped, other):
        made(Run(recipe, "triage", "majority", 1), 9)
    _, (row,) = compared(other)
    assert (row["untested"] == untested) if untested else row["p"] == 1


def test_what_leaves_every_run_as_it_was_is_nothing_to_compare(shipped):
    measured = recipes.load("smoke", SMALL | {"metrics.resamples": 100})
    text, rows = compared(measured)
    assert rows == [] and "Nothing to compare: these settings change none of the 2 runs" in text
    assert "`metrics.resamples` is `100` instead of `200`" in text
    assert "there is no before and after" in changes.write(shipped, ["E1"])
    assert not (tables.folder(shipped) / changes.TEXT).exists()


def test_the_overview_and_the_figures_folder_have_the_table(changed, made):
    made(reference(changed), 4)
    text, _ = compared(changed)
    results, kept = tables.folder(changed), paths.figures(changed.profile)
    for name in (*gallery.TABLES, gallery.FINDINGS, "runs.csv", "e7_runs.csv"):
        (results / name).write_text("dataset\n")
    kept.mkdir(parents=True)
    gallery.copy_tables(changed, ["E1"])
    gallery.tidy(changed, ["E1"])
    assert (kept / changes.TEXT).read_text() == f"{text}\n" and (kept / changes.TABLE).is_file()
    assert overview.findings(changed).startswith("**Before and after**")
    assert changes.written(changed) == text
