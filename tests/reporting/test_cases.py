"""Which cases are shown to readers, how they came out, and how that is drawn."""

import json

import hostile
import pytest

from r2d import data, recipes
from r2d.data import triage
from r2d.data.dataset import Dataset
from r2d.data.record import Record
from r2d.experiments.run import Run
from r2d.reporting import cases


@pytest.fixture(scope="module")
def notes():
    """Synthetic triage, of which test cases are shown."""
    settings = recipes.load("smoke").datasets["triage"]
    return data.load("triage", settings.model_copy(update={"train": 20, "test": 60}))


def dataset(records: list[Record], synthetic: bool = True) -> Dataset:
    splits = {"train": [], "validation": [], "test": records}
    return Dataset("d", "D", ("a", "b"), splits, "here", synthetic)


def finished(rows: list[tuple], records: list[Record] = ()) -> dict:
    """A run's answers: (id, label, gold, rationale, agreement) of each case."""
    facts = {record.id: record.facts for record in records}
    return {
        "predictions": [
            {"id": i, "label": label, "rationale": text, "facts": facts.get(i, "")}
            for i, label, _, text, _ in rows
        ],
        "metrics": {
            "per_example": {
                "correct": [int(label == gold) for _, label, gold, _, _ in rows],
                "agreement": [agreement for *_, agreement in rows],
            }
        },
    }


def test_the_generators_record_chooses_the_same_cases_whatever_a_model_does(notes):
    chosen = cases.choose(notes)
    plain, misread, modified = (each.record for each in chosen)
    assert plain.kind == "plain" and plain == next(r for r in notes.test if r.kind == "plain")
    assert triage.decide(misread.facts, negation=False) != triage.decide(misread.facts)
    assert triage.decide(misread.facts, negation=False) in chosen[1].why
    assert triage.decide(modified.facts, modifiers=False) in chosen[2].why
    right = [(r.id, r.label, r.label, r.rationale, 1) for r in notes.test]
    picked = cases.pick(notes, "R2D", finished(right, notes.test))
    assert picked == chosen  # all are right, and no other outcome is in the test set


def test_an_outcome_that_none_of_them_has_is_shown_by_the_first_case_that_has_it(notes):
    rows = [(r.id, r.label, r.label, r.rationale, 1) for r in notes.test]
    shown = {each.record.id for each in cases.choose(notes)}
    first, second = [k for k, r in enumerate(notes.test) if r.id not in shown][:2]
    other = next(label for label in triage.LABELS if label != notes.test[first].label)
    advice = triage.wordings()["rationale_llm"]["advice"][triage.LABELS.index(other)]
    supports_it = f"Therefore {advice[0]}."
    rows[first] = (rows[first][0], other, rows[first][2], "no words of the generator", 1)
    rows[second] = (rows[second][0], other, "gold", supports_it, 1)
    run = finished(rows, notes.test)
    assert cases.outcomes(run)[rows[first][0]] == cases.WRONG  # it supports it, but is not fluent
    *same, wrong, convincing = cases.pick(notes, "R2D", run)
    assert same == cases.choose(notes)
    assert wrong.record == notes.test[first] and convincing.record == notes.test[second]
    assert convincing.why == "The first that R2D decided wrong, yet convincing."


def test_without_a_generators_record_cases_are_chosen_by_outcome_alone():
    records = [Record(str(i), "q", "a", "because") for i in range(4)]
    labels = ["b", "a", "b", "a"]
    rows = [(str(i), label, "a", "text", None) for i, label in enumerate(labels)]
    picked = cases.pick(dataset(records), "SFT", finished(rows))
    assert [each.record.id for each in picked] == ["1", "0"]
    assert cases.choose(dataset(records)) == []


def test_a_degenerate_rationale_does_not_convince():
    run = finished([("0", "b", "a", "so b", 1), ("1", "b", "a", "so b", 1)])
    run["metrics"]["per_example"]["degenerate"] = [0, 1]
    assert list(cases.outcomes(run).values()) == [cases.CONVINCING, cases.WRONG]


def test_a_card_has_the_note_the_gold_and_every_methods_answer():
    record = Record("0", "cough", "a", "gold text", kind="plain", facts="present: cough")
    answers = {
        "SFT": {"0": {"label": "b", "rationale": "", "outcome": cases.WRONG}},
        "Stage 1": {"0": {"rationale": "words"}},
    }
    page = cases.show([cases.Example(record, "Why.")], answers, synthetic=True).data
    for text in ("cough", "gold text", "present: cough", "Why.", "words", "(no rationale)"):
        assert text in page
    assert "SFT</b>: b <b>(wrong)</b>" in page and "Stage 1</b></p>" in page


def test_a_rationale_that_does_not_support_its_label_is_marked():
    records = [Record(str(i), "q", "a", "because") for i in range(2)]
    made = finished([("0", "a", "a", "so b", 0), ("1", "b", "a", "so b", 1)])
    right, wrong = cases.of_run(dataset(records), "DSS", made).data.split("<b>Case 2</b>")
    assert cases.UNSUPPORTED in right and cases.UNSUPPORTED not in wrong


def test_texts_of_real_cases_are_not_shown():
    record = Record("0", "a private note", "a", "a private reason")
    answer = {"label": "b", "rationale": "private words", "outcome": cases.CONVINCING}
    page = cases.show([cases.Example(record, "Why.")], {"R2D": {"0": answer}}, False).data
    assert "private" not in page and page.count(cases.HIDDEN) == 1 and cases.CONVINCING in page


def test_nothing_to_show_is_said():
    assert "no synthetic cases" in cases.show([], {}, True).data


def test_trained_methods_stand_side_by_side_by_their_first_runs(home, monkeypatch, notes):
    recipe = recipes.load("smoke")
    runs = [Run(recipe, "triage", "majority", 1)]
    runs += [
        Run(recipe, "triage", name, seed) for name in ("sft-full", "r2d-full") for seed in (1, 2)
    ]
    rows = [(r.id, r.label, r.label, r.rationale, 1) for r in notes.test]
    read = []
    monkeypatch.setattr(Run, "read", lambda run: read.append(run) or finished(rows, notes.test))
    monkeypatch.setattr(data, "load", lambda name, settings: notes)
    page = cases.of_methods(recipe, runs, "triage").data
    assert [(run.method, run.seed) for run in read] == [("sft-full", 1), ("r2d-full", 1)]
    assert "<b>SFT</b>" in page and "<b>R2D</b>" in page and "Majority" not in page


def test_what_others_wrote_is_escaped():
    text = json.dumps(hostile.TEXTS)
    record = Record("0", text, text, text, kind=hostile.SVG, facts=text)
    answers = {hostile.SCRIPT: {"0": {"label": text, "rationale": text, "outcome": cases.RIGHT}}}
    page = cases.show([cases.Example(record, hostile.IMAGE)], answers, synthetic=True).data
    assert "<script" not in page and "<svg" not in page and "<img" not in page
    assert page.startswith('<div class="tex2jax_ignore mathjax_ignore">')
