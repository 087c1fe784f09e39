"""Rows that bring their own candidates: read, checked, and counted by position."""

import pytest
from notes import load, riddles, sentence, write

from r2d.data.record import category, positions, raw_category
from r2d.data.validate import Validator


def test_a_list_and_a_text_with_bars_are_the_same_candidates(tmp_path):
    rows = riddles()
    bars = [row | {"candidates": " | ".join(row["candidates"])} for row in rows]
    loaded = load(write(tmp_path / "riddles.json", rows))
    again = load(write(tmp_path / "riddles.csv", bars))
    assert loaded.splits == again.splits
    assert loaded.labels == () and loaded.categories[0] == "option 1"
    record = loaded.train[0]
    assert record.label in record.candidates
    assert record.category == f"option {record.candidates.index(record.label) + 1}"
    assert record.text == f"options: {' | '.join(record.candidates)}; case: {record.question}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"candidates": ["one"]},
            "its candidates (column 'candidates') are not 2 to 50 different texts",
        ),
        ({"label": "the moon"}, "its label is not one of its own candidates"),
    ],
)
def test_a_row_whose_candidates_are_wrong_stops_with_a_sentence_or_is_dropped(change, said):
    rows = [(i, {"id": str(i), **each}) for i, each in enumerate(riddles(3), 1)]
    rows[1][1].update(change)
    strict = Validator((), own_candidates=True)
    message = sentence(lambda: list(strict.records("riddles.json", rows)))
    assert f"riddles.json, row 2: {said}" in message and "moon" not in message
    lenient = Validator((), own_candidates=True, drop=True)
    assert len(list(lenient.records("riddles.json", rows))) == 2 and lenient.dropped == 1


def test_test_rows_must_bring_candidates_where_training_rows_do(tmp_path):
    train = write(tmp_path / "train.json", riddles())
    bare = [{k: v for k, v in row.items() if k != "candidates"} for row in riddles(5)]
    test = write(tmp_path / "test.json", bare)
    message = sentence(load, train, test_path=str(test))
    assert "test.json has no column 'candidates' for the candidates" in message


def test_a_label_s_class_is_its_position_among_its_candidates():
    assert category("b", ("a", "b")) == "option 2" and category("c", ("a", "b")) == "c"
    assert positions([("a", "b"), ("a", "b", "c")]) == ("option 1", "option 2", "option 3")
    assert raw_category({"label": " B", "candidates": ("a", "b")}) == "option 2"
    assert raw_category({"label": "c", "candidates": ("a", "b")}) == ""
    assert raw_category({"label": "c"}) == "c"
