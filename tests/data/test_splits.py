"""Splits: seeded, stratified, of the sizes asked for, and without a question in two of them."""

from collections import Counter
from dataclasses import replace

import pytest
from notes import SECRET, assert_disjoint, complaint, load, questions, rows, write

from r2d import data
from r2d.errors import R2DError


def test_splits_keep_the_label_proportions_and_the_sizes_asked_for(tmp_path):
    path = write(tmp_path / "notes.json", rows(200, labels=("a", "a", "a", "b")))
    dataset = load(path, test=40, validation=20, train=100)
    sizes = {name: len(split) for name, split in dataset.splits.items()}
    assert sizes == {"train": 100, "validation": 20, "test": 40}
    assert Counter(record.label for record in dataset.test) == {"a": 30, "b": 10}
    assert Counter(record.label for record in dataset.validation) == {"a": 15, "b": 5}
    assert "records are wanted for train" in complaint(path=str(path), train=1000)


def test_a_longer_train_split_keeps_the_test_records(tmp_path):
    path = write(tmp_path / "notes.json", rows(200))
    short, long = load(path, test=40, train=20), load(path, test=40, train=100)
    assert short.test == long.test and short.train == long.train[:20]
    assert questions(load(path, test=40, seed=1).test) != questions(long.test)


def test_equal_questions_share_a_split(tmp_path):
    doubled = [
        row | {"id": f"{row['id']}{twin}", "question": row["question"].upper() + " " * twin}
        for row in rows()
        for twin in (0, 1)
    ]
    dataset = load(write(tmp_path / "notes.csv", doubled), test=20, validation=10)
    assert_disjoint(dataset)
    assert len(dataset.test) == 20 and len(questions(dataset.test)) == 10


def test_a_test_file_is_kept_whole_and_apart(tmp_path):
    train = write(tmp_path / "train.csv", rows()[:50])
    test = write(tmp_path / "test.jsonl", rows()[50:])
    dataset = load(train, test_path=str(test))
    assert [record.id for record in dataset.test] == [f"n{i}" for i in range(50, 60)]
    assert len(dataset.train) + len(dataset.validation) == 50
    write(test, rows()[49:])
    message = complaint(path=str(train), test_path=str(test))
    assert "train.csv, row 51: its question is also in the test data" in message
    dropped = load(train, test_path=str(test), on_bad_rows="drop")
    assert dropped.dropped == 1 and len(dropped.test) == 11
    assert_disjoint(dropped)


def test_a_leak_made_by_hand_is_found(tmp_path):
    dataset = load(write(tmp_path / "notes.json", rows()))
    twin = replace(dataset.test[0], id="twin", question=f"  {dataset.test[0].question.upper()}")
    leaking = replace(dataset, splits=dataset.splits | {"train": [*dataset.train, twin]})
    with pytest.raises(R2DError, match="question is also in train") as caught:
        data.check(leaking)
    assert SECRET not in str(caught.value)
