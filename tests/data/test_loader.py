"""The synthetic dataset: cut from one stream of distinct notes."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from notes import assert_disjoint, complaint, settings

from r2d import data
from r2d.data import triage
from r2d.errors import R2DError


@pytest.fixture
def stream(monkeypatch):
    """A stand-in generator that repeats every third note and tells how many were taken from it."""
    labels = data.load_card("triage").labels
    counter = SimpleNamespace(taken=0)

    def generate(n, seed, difficulty, noise, topics):
        for i in range(n):
            counter.taken += 1
            repeats = i % 3 == 2
            note = f"NOTE {seed} {i - 1}" if repeats else f"note {seed} {i}"
            sources = {
                f"rationale{end}": f"why{end} {i}" for end in ("", "_nurse", "_nurse_post", "_llm")
            }
            level = (i + (noise > 0)) % 6
            record = {"id": str(i), "question": note, "label": labels[level], "reason": "fever"}
            yield record | sources

    monkeypatch.setattr(triage, "generate", generate)
    return counter


def load(**values) -> data.Dataset:
    return data.load("triage", settings("triage", **values))


def test_triage_is_cut_from_one_stream_of_distinct_notes(stream):
    asked = {"train": 60, "validation": 20, "test": 20, "seed": 3}
    dataset = load(**asked)
    assert [len(dataset.splits[split]) for split in ("train", "validation", "test")] == [60, 20, 20]
    assert_disjoint(dataset)
    assert dataset.synthetic and dataset.labels[0] == "Call 911"
    assert dataset.test[0].reason == "fever"
    assert stream.taken <= 180  # test notes twice: once without noise
    assert dataset.fingerprint == load(**asked).fingerprint
    assert dataset.test == load(**asked | {"train": 10}).test
    assert dataset.fingerprint != load(**asked | {"seed": 4}).fingerprint


def test_the_rationale_source_of_triage_can_be_chosen(stream):
    usual = load(train=9, validation=3, test=3)
    nurse = load(train=9, validation=3, test=3, rationale="rationale_nurse")
    assert all(record.rationale == record.rationale_llm != "" for record in usual.train)
    assert all(record.rationale == record.rationale_nurse != "" for record in nurse.train)
    assert usual.fingerprint != nurse.fingerprint


def test_a_reader_is_given_the_rationale_in_the_questions_place(stream):
    asked = {"train": 9, "validation": 3, "test": 3}
    usual, read = load(**asked), load(**asked, reads="rationale")
    for split, records in usual.splits.items():
        pairs = zip(records, read.splits[split], strict=True)
        assert all(b == replace(a, question=a.rationale_llm) for a, b in pairs)
    assert (read.labels, read.fingerprint == usual.fingerprint) == (usual.labels, False)


def test_a_case_without_a_rationale_gives_a_reader_nothing(stream):
    usual = load(train=9, validation=3, test=3)
    silent = [replace(record, rationale="") for record in usual.train]
    partly = replace(usual, splits=usual.splits | {"train": [*silent, *usual.validation]})
    assert [case.id for case in partly.of_rationales().train] == [r.id for r in usual.validation]
    with pytest.raises(R2DError, match="Dataset triage: train has no rationale to read; give some"):
        replace(usual, splits=usual.splits | {"train": silent}).of_rationales()


def test_a_generator_that_runs_dry_is_said(monkeypatch):
    monkeypatch.setattr(triage, "generate", lambda *given: iter(()))
    message = complaint(card="triage", train=5, validation=5, test=5)
    assert "too few distinct notes for test" in message


def test_noise_is_in_what_is_learned_from_and_not_in_test(stream):
    clean, noisy = (load(train=60, validation=20, test=20, noise=noise) for noise in (0.0, 1.0))
    assert noisy.test == clean.test
    for split in ("train", "validation"):
        pairs = list(zip(clean.splits[split], noisy.splits[split], strict=True))
        assert all(a.question == b.question and a.label != b.label for a, b in pairs)


def test_settings_of_the_notes_are_for_no_other_card(tmp_path):
    for key, value in (("difficulty", 0.9), ("noise", 0.1), ("topics", 3)):
        message = complaint(path=str(tmp_path / "absent.csv"), **{key: value})
        assert f"`{key}` is not for card table; remove it or use card triage." in message


def test_the_real_generator_fits_its_card():
    assert triage.LABELS == data.load_card("triage").labels
    dataset = load(train=300, validation=50, test=100)
    assert {record.label for record in dataset.train} == set(triage.LABELS)
    assert_disjoint(dataset)
