"""Labels, candidates and fingerprints of records."""

import pytest
from notes import load, rows, settings, write

from r2d import data
from r2d.data.record import listed, options

LONG = " ".join(["a long answer"] * 10)  # 30 words


def test_a_label_is_the_same_but_for_case_and_outer_blanks():
    assert data.canonical("  go TO ed now\n", ("Call 911", "Go to ED now")) == "Go to ED now"
    assert data.canonical("Go to ED", ("Call 911", "Go to ED now")) is None


def test_names_for_a_message_are_few_and_no_notes():
    assert listed(["a", LONG]) == "'a', (too long for a name)"
    assert listed(map(str, range(20))).endswith("'11', ...")


@pytest.mark.parametrize(
    ("cell", "candidates"),
    [
        (["a", " b "], ("a", "b")),
        ("a| b |c", ("a", "b", "c")),
        ([1, 2.5], ("1", "2.5")),
        (f"{LONG}|no", (LONG, "no")),
        ("a", None),
        ("a|A", None),
        ("a||b", None),
        (["a", None], None),
        (None, None),
        (3, None),
        (list("ab") * 26, None),
    ],
)
def test_candidates_are_two_or_more_different_texts(cell, candidates):
    assert options(cell) == candidates


def test_fingerprints_follow_content_only(tmp_path):
    first = data.load("one", settings(path=str(write(tmp_path / "a.json", rows()))))
    again = data.load("two", settings(path=str(write(tmp_path / "b.csv", rows()))))
    assert first.fingerprint == again.fingerprint and len(first.fingerprint) == 12
    changed = rows()
    changed[7]["rationale"] += "!"
    assert load(write(tmp_path / "a.json", changed)).fingerprint != first.fingerprint
