"""Rationales read by a trained network: what it says of them, beside the exact measure."""

import pandas as pd
import pytest

from r2d.data import triage
from r2d.evaluation import metrics, support
from r2d.experiments import grid
from r2d.experiments.run import Run
from r2d.recipes.settings import MetricSettings
from r2d.reporting import readers

LABELS = ("Go to ED now", "Home care")
SETTINGS = MetricSettings(bertscore="minilm", resamples=100)


@pytest.fixture
def recipe(tiny):
    return tiny({"experiments.E6.methods": ["dss-full"], "experiments.E6.datasets": ["triage"]})


def finished(recipe, monkeypatch, texts, own=None):
    """A run of four cases with these rationales; `own` are what its own measure reads of them."""
    gold = ["Go to ED now", "Home care"] * 2
    rows = [
        {"id": str(i), "gold": label, "label": label, "rationale_gold": label, "rationale": text}
        for i, (label, text) in enumerate(zip(gold, texts, strict=True))
    ]
    measured = metrics.evaluate(rows, LABELS, SETTINGS)
    if own:
        by = support.Reader("a rule", lambda asked: [own.get(text, text) for text in asked])
        metrics.add_reading(measured, rows, by, 100)
    monkeypatch.setattr(Run, "read", lambda run: {"metrics": measured, "predictions": rows})
    return Run(recipe, "triage", "dss-full", 1)


def reader(run):
    """Reads the label that a text begins with, and of a strange text the first one."""

    def labels(texts):
        return [next((x for x in LABELS if text.startswith(x)), LABELS[0]) for text in texts]

    return support.Reader(run.title, labels)


def test_a_reader_stands_beside_the_exact_measure(recipe, monkeypatch):
    monkeypatch.setattr(readers, "trained", reader)
    texts = ["Go to ED now", "Go to ED now", "nonsense", "Home care, rest"]
    run = finished(recipe, monkeypatch, texts, {"nonsense": None, "Home care, rest": "Home care"})
    table = readers.support([run], grid.readers(recipe, ["E6"]))
    (row,) = table.to_dict("records")
    assert (row["agreement"], row["reader_on_gold"], row["reader_chance"]) == (0.75, 1.0, 0.5)
    assert row["same"] == 0.75  # of the nonsense alone the two differ
    (sentence,) = readers.sentences(table)
    assert sentence == (
        "T5 as reader of rationales, trained on gold rationales of triage, reads the label of "
        "100.0% of those of test (by chance 50.0%), and agrees on 75.0% of the models' rationales "
        "with the reading by a rule. By it the rationale supports the decided label: DSS 75.0%."
    )


def test_people_see_a_row_a_method_in_points(recipe, monkeypatch):
    monkeypatch.setattr(readers, "trained", reader)
    texts = ["Go to ED now", "Go to ED now", "nonsense", "Home care, rest"]
    run = finished(recipe, monkeypatch, texts, {"nonsense": None, "Home care, rest": "Home care"})
    table = readers.support([run, run], grid.readers(recipe, ["E6"]))
    table.loc[1, "agreement"] = 0.25
    (row,) = readers.means(table).to_dict("records")
    assert (row["dataset"], row["method"], row["runs"]) == ("triage", "DSS", 2)
    assert row["Agreement of label and rationale"] == 50.0
    assert row["Both readings say the same"] == 75.0
    assert "Follows a forced label" not in row  # of which no run knows
    assert readers.means(table[:0]).empty and "reader" not in row
    both = pd.concat([table, table.assign(reader="another")])
    assert readers.means(both)["reader"].nunique() == 2


def test_a_reader_is_asked_where_there_is_no_other_measure_and_only_of_rationales(
    recipe, monkeypatch
):
    monkeypatch.setattr(readers, "trained", reader)
    run = finished(recipe, monkeypatch, ["Home care"] * 4)
    table = readers.support([run], grid.readers(recipe, ["E6"]))
    assert table["agreement"].tolist() == [0.5] and "same" not in table
    assert "agrees on" not in readers.sentences(table)[0]
    silent = finished(recipe, monkeypatch, [""] * 4)
    table = readers.support([silent], grid.readers(recipe, ["E6"]))
    assert table.empty and readers.sentences(table) == []


def test_where_the_exact_measure_reads_nothing_the_reader_stands_alone(recipe, monkeypatch):
    monkeypatch.setattr(readers, "trained", reader)
    run = finished(recipe, monkeypatch, ["Home care"] * 4, {"Home care": None, "silent": None})
    (row,) = readers.support([run], grid.readers(recipe, ["E6"])).to_dict("records")
    assert row["agreement"] == 0.5 and "same" not in row


def test_a_trained_reader_gives_every_text_but_a_blank_one_a_label_of_the_set(tiny, home):
    recipe = tiny()
    run = Run(recipe, "triage", "reader-full", 1)
    run.execute()
    by = readers.trained(run)
    texts = ["The pain began suddenly.", "  ", "The pain began suddenly.", "Home care is enough."]
    first, blank, again, _ = found = by.labels(texts)
    assert blank is None and first == again
    assert set(found) - {None} <= set(triage.LABELS)
    assert by.labels(texts[3:]) == found[3:]
    cases = run.read()["predictions"]
    assert all(case["rationale_gold"] and not case.get("rationale") for case in cases)
