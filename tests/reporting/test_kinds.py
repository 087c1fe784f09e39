"""Errors by kind of case: the numbers of runs made by hand, and the sentences that follow them."""

import pytest

from r2d import recipes
from r2d.data import triage
from r2d.experiments.run import Run
from r2d.reporting import kinds

HOME, ED = triage.LABELS[5], triage.LABELS[1]


def advising(label: str) -> str:
    """A rationale that advises this label, in the generator's words."""
    return (
        f"Therefore {triage.wordings()['rationale_llm']['advice'][triage.LABELS.index(label)][0]}."
    )


def finished(rows: list[tuple]) -> dict:
    """A run's answers: (kind, decided label, advised label) of cases whose gold label is `HOME`."""
    predictions = [
        {"id": str(i), "kind": kind, "gold": HOME, "label": label, "rationale": advising(advised)}
        for i, (kind, label, advised) in enumerate(rows)
    ]
    per_example = {
        "correct": [int(label == HOME) for _, label, _ in rows],
        "agreement": [int(label == advised) for _, label, advised in rows],
    }
    return {"predictions": predictions, "metrics": {"per_example": per_example}}


@pytest.fixture
def table(monkeypatch):
    """Two seeds of R2D and one of SFT, which writes nothing, on 2 plain and 2 negation cases."""
    recipe = recipes.load("smoke")
    answers = {
        ("r2d-full", 1): [("plain", HOME, HOME)] * 2
        + [("negation", ED, ED), ("negation", ED, HOME)],
        ("r2d-full", 2): [("plain", HOME, HOME)] * 2
        + [("negation", HOME, ED), ("negation", ED, ED)],
        ("sft-full", 1): [("plain", HOME, HOME)] * 2 + [("negation", ED, ED)] * 2,
    }

    def read(run: Run) -> dict:
        made = finished(answers[run.method, run.seed])
        if run.method == "sft-full":
            del made["metrics"]["per_example"]["agreement"]
        return made

    monkeypatch.setattr(Run, "read", read)
    return kinds.by_kind([Run(recipe, "triage", *names) for names in answers])


def cell(table, method: str, kind: str):
    (row,) = table[(table["method"] == method) & (table["kind"] == kind)].to_dict("records")
    return row


def test_accuracy_agreement_and_disagreements_are_means_over_runs(table):
    plain, negation = (cell(table, "r2d-full", kind) for kind in ("plain", "negation"))
    assert (plain["cases"], plain["runs"], plain["accuracy"], plain["agreement"]) == (2, 2, 1, 1)
    assert negation["accuracy"] == 0.25 and negation["agreement"] == 0.5
    # One disagreement a run: once the label is right, once the rationale.
    assert negation["disagreements"] == 1
    assert negation["label_right"] == negation["rationale_right"] == 0.5
    whole = cell(table, "r2d-full", kinds.ALL)
    assert (whole["cases"], whole["accuracy"], whole["agreement"]) == (4, 0.625, 0.75)
    assert set(table["kind"]) == {"plain", "negation", kinds.ALL}


def test_people_read_accuracy_and_agreement_in_one_cell(table):
    shown = kinds.table(table).set_index("method")
    assert list(shown.columns) == ["plain (2)", "negation (2)", "all (4)"]
    assert list(shown.loc["R2D"]) == ["100 / 100", "25 / 50", "62 / 75"]
    assert list(shown.loc["SFT"]) == ["100 / –", "0 / –", "50 / –"]


def test_the_sentences_say_what_the_numbers_are(table):
    worst, shares, apart = kinds.sentences(recipes.load("smoke"), table)
    assert worst.startswith(
        "On triage R2D decides 25.0% of the 2 cases of kind 'negation' right, its worst, and "
        "100.0% of the 2 of kind 'plain', its best"
    )
    assert shares == "Label and rationale disagree on triage in these shares: R2D 25.0%."
    assert apart == (
        "Where label and rationale of R2D disagree (1 cases a run, most often of kind 'negation'), "
        "the label is right in 50%, and the rationale supports the gold label in 50%."
    )


def test_cases_without_a_kind_have_no_table_and_no_sentence(monkeypatch):
    made = finished([("", HOME, HOME)])
    del made["predictions"][0]["kind"]
    monkeypatch.setattr(Run, "read", lambda run: made)
    recipe = recipes.load("smoke")
    none = kinds.by_kind([Run(recipe, "pubmedqa", "r2d-qlora", 1)])
    assert none.empty and kinds.table(none).empty and kinds.sentences(recipe, none) == []
