"""Bad rows: each stops with file, row number and reason, or is counted."""

import pytest
from notes import SECRET, complaint, everything, load, rows, write

from r2d import data

BAD_ROWS = {
    "empty rationale": (
        {"rationale": "  "},
        "its rationale (column 'rationale') is missing or empty",
    ),
    "no question": ({"question": None}, "its question (column 'question') is missing or empty"),
    "no label": ({"label": ""}, "its label (column 'label') is missing or empty"),
    "no id": ({"id": None}, "its id (column 'id') is missing or empty"),
    "a list": ({"rationale": [SECRET]}, "its rationale (column 'rationale') is not text"),
    "same id": ({"id": "n2"}, "its id is that of row 3"),
    "half a character": ({"question": f"{SECRET} \ud800"}, "half of a character"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_stops_with_file_row_and_reason_or_is_counted(tmp_path, case):
    change, reason = BAD_ROWS[case]
    broken = rows()
    broken[6] |= change
    path = write(tmp_path / "notes.json", broken)
    message = complaint(path=str(path))
    assert message.startswith("notes.json, row 7: ")
    assert reason in message and "on_bad_rows: drop" in message
    dataset = load(path, on_bad_rows="drop")
    assert dataset.dropped == 1 and len(everything(dataset)) == 59


def test_a_row_may_lack_its_rationale_where_the_label_alone_is_to_be_learned(tmp_path):
    sparse = [row | ({"rationale": ""} if i % 3 == 0 else {}) for i, row in enumerate(rows())]
    path = write(tmp_path / "notes.json", sparse)
    assert "or set `missing_rationale: label only`" in complaint(path=str(path))
    dataset = load(path, missing_rationale="label only")
    records = everything(dataset)
    assert len(records) == 60 and dataset.dropped == 0
    assert sum(not record.rationale for record in records) == 20


def test_a_column_of_rationales_may_be_absent_unless_it_is_named(tmp_path):
    unexplained = [{k: v for k, v in row.items() if k != "rationale"} for row in rows()]
    bare = write(tmp_path / "bare.json", unexplained)
    assert len(load(bare, missing_rationale="label only").train) == 42
    message = complaint(
        path=str(bare), missing_rationale="label only", columns={"rationale": "raionale"}
    )
    assert "has no column 'raionale' for the rationale" in message
    message = complaint(card="triage", missing_rationale="label only")
    assert "`missing_rationale` is not for card triage" in message


def test_csv_rows_are_numbered_as_in_a_spreadsheet_and_must_be_whole(tmp_path):
    broken = rows()
    broken[6]["rationale"] = ""
    path = write(tmp_path / "notes.csv", broken)
    assert "notes.csv, row 8: its rationale" in complaint(path=str(path))
    lines = "".join(f"q{i},a,{SECRET}\n" for i in range(9))
    path = write(tmp_path / "notes.csv", f"question,label,rationale\n{lines}q,a,{SECRET},b\n")
    assert "notes.csv, row 11: it is not a whole record" in complaint(path=str(path))


@pytest.mark.parametrize("label", ["call the doctor about everything there is", "cp x2h"])
def test_a_label_outside_the_set_may_be_a_note_and_is_not_quoted(tmp_path, label):
    train = write(tmp_path / "train.json", rows())
    strange = rows()[:5]
    for row in strange:
        row["question"] += " asked again"
    strange[2] |= {"label": label, "question": "new"}
    test = write(tmp_path / "test.json", strange)
    message = complaint(path=str(train), test_path=str(test))
    assert message.startswith("test.json, row 3: its label (column 'label') is not one of the 3 ")
    assert label not in message


def test_a_column_of_notes_is_refused_as_label_without_quoting_it(tmp_path):
    path = write(tmp_path / "notes.csv", rows())
    message = complaint(path=str(path), columns={"label": "question"})
    assert "column 'question' has 60 different labels" in message


def test_labels_that_differ_in_unicode_s_composition_are_one(tmp_path):
    spellings = ("caf\u00e9", "cafe\u0301", "CAFE\u0301 ", "other")
    dataset = load(write(tmp_path / "notes.json", rows(labels=spellings)))
    assert len(dataset.labels) == 2
    assert data.canonical(" CAF\u00c9", dataset.labels) in dataset.labels
    choices = rows(labels=("caf\u00e9",))
    for row in choices:
        row["candidates"] = ["cafe\u0301", "tea"]
    records = everything(load(write(tmp_path / "choices.json", choices)))
    assert all(record.category == "option 1" for record in records)


def test_labels_are_matched_but_for_case_and_blanks(tmp_path):
    path = write(tmp_path / "notes.json", rows(labels=("Yes", "no", "Yes", " yes ", "NO", "no")))
    dataset = load(path)
    assert dataset.labels == ("Yes", "no")
    assert {record.label for record in dataset.train} == {"Yes", "no"}
