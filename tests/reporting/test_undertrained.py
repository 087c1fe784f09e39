"""Undertrained: validation climbed up to one of the last evaluations."""

import json

import pandas as pd
import pytest

from r2d.reporting import collect, tables, undertrained


def log(*evaluations: float) -> list[dict]:
    """A log of evaluations with a training step before each."""
    entries = []
    for step, score in enumerate(evaluations, 1):
        entries.append({"step": step, "loss": 1.0})
        entries.append({"step": step, "validation": score, "best": None})
    return entries


@pytest.mark.parametrize(
    ("evaluations", "climbing"),
    [
        ([0.5, 0.6], True),
        ([-2.0, -1.5], True),  # stage 1: minus the loss
        ([0.4, 0.5, 0.6, 0.55], True),  # one dip at the end shows nothing
        ([0.4, 0.6, 0.55, 0.5], False),
        ([0.5, 0.6, 0.55], False),  # of three, the end is the last
        ([0.9, 0.5, 0.6, 0.7], False),  # climbing again, below its best
        ([0.6, 0.5], False),
        ([0.6, 0.6], False),  # an equal score does not replace the first
        ([0.6], False),
        ([], False),
    ],
)
def test_a_run_is_undertrained_if_its_best_evaluation_is_among_the_last(evaluations, climbing):
    entries = log(*evaluations)
    assert undertrained.still_climbing(entries) is climbing
    assert undertrained.sentence(entries).startswith("Undertrained") is climbing
    assert bool(undertrained.sentence(entries)) is (len(evaluations) > 1)


def test_the_sentence_says_where_the_best_evaluation_is_and_what_was_before_it():
    said = undertrained.sentence(log(0.4, 0.5, 0.61, 0.55))
    assert "is the last but one (0.500 to 0.610)" in said
    assert "is the last (2.000 to 1.500)" in undertrained.sentence(log(-2.0, -1.5))


def test_table_1_marks_a_method_by_how_many_of_its_runs_still_climbed(runs, recipe):
    trained = [run for run in runs if run.method == "r2d-full"]
    entries = log(0.5, 0.6)
    (trained[0].folder / "log.jsonl").write_text("\n".join(map(json.dumps, entries)))
    frame = collect.runs(runs)
    assert frame["undertrained"].tolist() == [run == trained[0] for run in runs]
    table = tables.summarise(frame)
    shown = tables.readable(table, recipe)
    assert shown["method"].tolist() == ["Majority class", "DSS", "R2D ‡"]
    (remark,) = [each for each in tables.remarks(table) if undertrained.MARK in each]
    assert "Undertrained on triage" in remark and "R2D 1 of 2 runs" in remark


def test_a_table_of_before_is_shown_without_marks():
    old = pd.DataFrame({"title": ["R2D"], "dataset": ["triage"]})
    assert undertrained.titles(old).tolist() == ["R2D"] and undertrained.remarks(old) == []
