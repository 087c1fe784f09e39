"""Sanity rows: what they answer."""

import pytest

from r2d.data import triage
from r2d.data.record import Record
from r2d.errors import R2DError
from r2d.models.sanity import SANITY

TRAIN = [
    Record("1", "fever and cough", "see", "r"),
    Record("2", "chest pain", "call", "r"),
    Record("3", "cough for a week", "see", "r"),
]
TEST = [Record("4", "chest pain since noon", "call", "r"), Record("5", "a cough", "call", "r")]


def test_the_majority_row_answers_the_most_frequent_training_label():
    assert SANITY["majority"](TRAIN, TEST, 0) == ["see", "see"]


def test_the_bag_of_words_row_answers_by_the_words():
    assert SANITY["tfidf"](TRAIN, TEST, 0) == ["call", "see"]


def test_the_rule_rows_decide_by_the_generators_record():
    """Whole, the rule is always right; without a part, wrong where that part has to be read."""
    notes = [Record(**note) for note in triage.generate(300, seed=2, difficulty=0.6)]
    missed = {"rule": set(), "rule-no-negation": {"negation", "relative"}}
    missed["rule-no-modifiers"] = {"modifier"}
    for row, kinds in missed.items():
        for note, label in zip(notes, SANITY[row]([], notes, 0), strict=True):
            assert (label != note.label) == (note.kind in kinds)


def test_other_data_have_no_rule():
    with pytest.raises(R2DError, match="Only the synthetic notes have a rule"):
        SANITY["rule"](TRAIN, TEST, 0)
