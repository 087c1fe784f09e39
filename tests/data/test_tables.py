"""The one reader of tables: every format, every name of a column, and what is wrong with a file."""

import json

import pandas
import pytest
from notes import SECRET, assert_disjoint, complaint, everything, load, rows, sentence, write

from r2d.data import files, tables

TABLE = {"id": "id", "question": "question", "label": "label", "rationale": "rationale"}


def test_a_table_is_the_same_dataset_in_every_format(tmp_path):
    endings = ("csv", "json", "jsonl", "parquet")
    loaded = [load(write(tmp_path / f"notes.{ending}", rows())) for ending in endings]
    assert all(each.splits == loaded[0].splits for each in loaded)
    assert all(each.labels == ("ED", "None", "home") for each in loaded)
    assert len({each.fingerprint for each in loaded}) == 1
    read = {record.id: record.question for record in everything(loaded[0])}
    assert read == {row["id"]: row["question"] for row in rows()}
    assert_disjoint(loaded[0])


def test_semicolons_tabs_and_a_byte_order_mark_are_read(tmp_path):
    plain = load(write(tmp_path / "a.json", rows()))
    for name, mark in (("b.csv", ";"), ("c.tsv", "\t")):
        pandas.DataFrame(rows()).to_csv(
            tmp_path / name, sep=mark, index=False, encoding="utf-8-sig"
        )
        assert load(tmp_path / name).fingerprint == plain.fingerprint


@pytest.mark.parametrize("text", ["None", "nan", "NA", "null", "0"])
@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "parquet"])
def test_labels_that_look_like_missing_values_stay_text(tmp_path, text, ending):
    dataset = load(write(tmp_path / f"notes.{ending}", rows(labels=(text, "other"))))
    assert set(dataset.labels) == {text, "other"}
    assert {record.label for record in dataset.test} == {text, "other"}


def test_columns_can_have_other_names_and_ids_can_be_absent(tmp_path):
    renamed = [
        {"note": row["question"], "plan": row["label"], "nurse": row["rationale"]} for row in rows()
    ]
    path = write(tmp_path / "notes.csv", renamed)
    columns = {"question": "note", "label": "plan", "rationale_nurse": "nurse"}
    record = load(path, columns=columns, rationale="rationale_nurse").train[0]
    assert record.rationale == record.rationale_nurse == rows()[int(record.id) - 1]["rationale"]


def test_a_note_of_100000_words_is_read(tmp_path):
    long = rows()
    long[3]["question"] = " ".join(["word"] * 100_000)
    for ending in ("csv", "json"):
        dataset = load(write(tmp_path / f"notes.{ending}", long))
        words = [len(record.question.split()) for record in everything(dataset)]
        assert max(words) == 100_000


def test_an_empty_cell_leaves_a_composed_text_empty():
    given = [(1, {"a": "x ", "b": None}), (2, {"a": "{b}", "b": 3}), (3, None)]
    columns, filled = tables.composed(["a", "b"], given, ["{a}-{b}", "{c}"])
    assert columns == ["a", "b", "{a}-{b}"]
    assert [values and values["{a}-{b}"] for _, values in filled] == ["", "{b}-3", None]


def test_a_list_of_texts_is_joined_in_a_composed_text():
    _, filled = tables.composed(["a"], [(1, {"a": ["It is.", "So."]})], ["facts: {a}"])
    assert [values["facts: {a}"] for _, values in filled] == ["facts: It is. So."]


def test_a_wrong_column_names_those_that_are_there(tmp_path):
    path = write(tmp_path / "notes.csv", rows())
    message = complaint(path=str(path), columns={"label": "labels"})
    assert "no column 'labels' for the label" in message and "'question', 'label'" in message
    assert "did you mean 'label'? Set `columns.label` to the right one." in message
    assert "`columns` maps 'lable'" in complaint(path=str(path), columns={"lable": "label"})


def test_a_wrong_column_in_a_composed_text_is_named_alone(tmp_path):
    path = write(tmp_path / "notes.csv", rows())
    message = complaint(path=str(path), columns={"question": "given {questoin} and also {label}"})
    assert "no column 'questoin' for the question" in message
    assert "did you mean 'question'?" in message


def test_the_first_record_of_a_file_without_a_header_row_is_not_quoted(tmp_path):
    path = tmp_path / "notes.csv"
    headless = [list(row.values()) for row in rows()]
    pandas.DataFrame(headless).to_csv(path, index=False, header=False)
    messages = [
        complaint(path=str(path)),
        sentence(tables.cases, path, "note"),
        sentence(tables.read, files.find(str(path)), TABLE, ["question"]),
    ]
    assert all("add a header row" in message for message in messages)


def test_cases_are_texts_and_what_each_chooses_from(tmp_path):
    given = [{"note": " sore throat\n", "candidates": "a|b"}, {"note": 3, "candidates": ""}]
    assert tables.cases(write(tmp_path / "a.csv", given), "note") == (
        ["sore throat", "3"],
        ["a|b", ()],
    )
    plain = write(tmp_path / "b.jsonl", [{"note": "cough"}])
    assert tables.cases(plain, "note") == (["cough"], [()])
    assert tables.cases(str(plain), "a {note}") == (["a cough"], [()])


def test_a_case_without_a_text_and_a_wrong_column_are_one_sentence(tmp_path):
    blank = write(tmp_path / "a.jsonl", [{"note": SECRET}, {"note": " "}])
    assert sentence(tables.cases, blank, "note").startswith("a.jsonl: case 2 has no text in column")
    assert "no column 'nte' for the question, only 'note'; did you mean 'note'? Name it with" in (
        sentence(tables.cases, blank, "nte")
    )
    empty = write(tmp_path / "b.csv", "note\n")
    assert "has a header but no records" in sentence(tables.cases, empty, "note")


def test_a_broken_file_is_named_with_place_and_cure(tmp_path):
    def of(name, content):
        return complaint(path=str(write(tmp_path / name, content)))

    whole = json.dumps(rows(), indent=1)
    cut_short = whole[: whole.index("because 5")]
    assert f"a.json, line {cut_short.count(chr(10)) + 1}, column" in of("a.json", cut_short)
    lines = "".join(json.dumps(row) + "\n" for row in rows(5))
    assert "b.jsonl, line 5, column" in of("b.jsonl", lines[:-9])
    assert "name it .jsonl" in of("c.json", lines)
    latin = f"question,label,rationale\nna\u00efve,a,{SECRET}\n".encode("latin-1")
    message = of("d.csv", latin)
    assert f"not UTF-8 at byte offset {latin.index(0xEF)}" in message
    assert "iconv -f WINDOWS-1252" in message
    assert "iconv -f UTF-16" in of("e.csv", "question,label\n".encode("utf-16"))
    unclosed = f'question,label,rationale\na,b,c\n"{SECRET},b,c\n'
    assert "after row 2: not CSV" in of("f.csv", unclosed)
    assert "is not a whole Parquet file" in of("g.parquet", b"PAR1 cut short")
    assert "is empty" in of("h.csv", "\ufeff\n")
    assert "is empty" in of("i.parquet", b"")
    assert "no records" in of("j.csv", "question,label,rationale\n")
    assert "no records" in of("k.json", "[]")
    assert "not a list of records" in of("l.json", '{"a": 1}')
    assert "unknown ending" in of("m.xlsx", "x")
    assert "two columns have the same name" in of("n.csv", "question,label,label\n1,2,3\n")


def test_absent_files_and_folders_are_said(tmp_path):
    assert "nowhere.csv is not there" in complaint(path=str(tmp_path / "nowhere.csv"))
    write(tmp_path / "tickets.csv", rows())
    near = complaint(path=str(tmp_path / "tickts.csv"))
    assert "is not there: did you mean 'tickets.csv'?" in near
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in complaint(path=str(tmp_path / "folder.csv"))
    assert "is a folder" in complaint(path=str(tmp_path))
    assert "Set `path`" in complaint()
