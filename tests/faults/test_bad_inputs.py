"""Hostile tables, paths and settings: one exact sentence each, and no cell in it."""

import io
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from notes import DROP, SECRET, complaint, rows, sentence, settings, write

from r2d import cli, data
from r2d.data import files, tables
from r2d.data.record import LONGEST_CELL
from r2d.errors import R2DError
from r2d.experiments import your_data

HEADER = "question,label,rationale\n"
LONG = SECRET + "x" * LONGEST_CELL
ROW = f'{{"question": "{SECRET}", "label": "a", "rationale": "{SECRET}"}}'
UTF8 = "save it as UTF-8, or convert it, e.g. `iconv -f {} -t UTF-8 {} > new-{}`."
HIDDEN = (
    "; those it has may be the cells of a first record, so they are not shown: add a header row if "
    "there is none. Set `columns.question` to the right one."
)


def json_of(question: str) -> str:
    """A list of one record with a question."""
    return json.dumps([{"question": question, "label": "a", "rationale": SECRET}])


def parquet(columns=None, spoil=None) -> bytes:
    """A table in Parquet without compression, its bytes spoilt at a place found by a text."""
    part = pa.table([[row[name] for row in rows()] for name in rows()[0]], names=list(rows()[0]))
    if columns:
        part = pa.table([[SECRET], ["a"], ["b"]], names=columns)
    file = io.BytesIO()
    pq.write_table(part, file, compression="none", use_dictionary=False, write_statistics=False)
    content = bytearray(file.getvalue())
    if spoil:
        place = content.index(spoil)
        content[place - 8 : place + 8] = b"\xff" * 16
    return bytes(content)


def deep(levels: int = 100_000) -> str:
    return f'[{{"question": {"[" * levels}{"]" * levels}}}]'


# File -> what is in it, and the whole sentence.
FILES = {
    "empty.csv": ("", "empty.csv is empty: get or write it again."),
    "blank.jsonl": ("\ufeff \n", "blank.jsonl is empty: get or write it again."),
    "header.csv": (
        HEADER,
        "header.csv has a header but no records: give it at least one row.",
    ),
    "quote.csv": (
        f'{HEADER}a,b,c\n"{SECRET},b,c\n',
        "quote.csv, after row 2: not CSV (unexpected end of data); mend the quotes there.",
    ),
    "first.csv": (
        f'"{SECRET}"x,label\n',
        "first.csv, row 1: not CSV (',' expected after '\"'); mend the quotes there.",
    ),
    "twins.csv": (
        f"question,label,label\n{SECRET},a,b\n",
        "twins.csv: two columns have the same name; rename one.",
    ),
    "ragged.csv": (
        f"{HEADER}{SECRET},a\n",
        "ragged.csv, row 2: it is not a whole record; give it the fields the other rows have"
        + DROP,
    ),
    "long.csv": (
        f"{HEADER}{LONG},a,b\n",
        f"long.csv, after row 1: not CSV (field larger than field limit ({LONGEST_CELL})); mend "
        "the quotes there.",
    ),
    "nul.csv": (
        f"{HEADER}{SECRET}\0,a,b\n",
        f"nul.csv has a NUL byte at byte offset {len(HEADER + SECRET)}: "
        + UTF8.format("WINDOWS-1252", "nul.csv", "nul.csv"),
    ),
    "wide.csv": (
        f"{HEADER}{SECRET},a,b\n".encode("utf-16-le"),
        "wide.csv has a NUL byte at byte offset 1: "
        + UTF8.format("UTF-16", "wide.csv", "wide.csv"),
    ),
    "latin.csv": (
        f"{HEADER}{SECRET} na\u00efve,a,b\n".encode("latin-1"),
        f"latin.csv is not UTF-8 at byte offset {len(HEADER + SECRET) + 3}: "
        + UTF8.format("WINDOWS-1252", "latin.csv", "latin.csv"),
    ),
    "headless.csv": (
        f"{SECRET},home,since\nfever,ED,so\n",
        "headless.csv has no column 'question' for the question" + HIDDEN,
    ),
    "keys.json": (
        json.dumps([{SECRET: "home"}]),
        "keys.json has no column 'question' for the question" + HIDDEN,
    ),
    "near.csv": (
        f"questions,{SECRET}\na,b\n",
        "near.csv has no column 'question' for the question; did you mean 'questions'? Set "
        "`columns.question` to the right one.",
    ),
    "cut.json": (
        json_of(SECRET)[:30],
        "cut.json, line 1, column 15: not JSON (Unterminated string starting at), perhaps cut "
        "short; get the whole file again.",
    ),
    "lines.json": (
        f"{ROW}\n{ROW}\n",
        "lines.json, line 2, column 1: a second JSON value begins; if each line is a record, name "
        "it .jsonl.",
    ),
    "object.json": (
        ROW,
        "object.json is not a list of records: write `[{...}, {...}]`, one object a record.",
    ),
    "numbers.json": (
        "[1, 2]",
        "numbers.json has no objects: write one a record, its keys the columns.",
    ),
    "none.json": ("[]", "none.json has no records: get or write it again."),
    "list.jsonl": (
        f"[{ROW},\n{ROW}]",
        "list.jsonl begins with a list: name it .json if it is one list of records, or write one "
        "object a line.",
    ),
    "array.jsonl": (
        f'{ROW}\n["{SECRET}"]\n',
        "array.jsonl, row 2: it is not a whole record; give it the fields the other rows have"
        + DROP,
    ),
    "twins.jsonl": (
        f'{ROW}\n{{"question": "{SECRET}", "question": "b"}}\n',
        "twins.jsonl, line 2: a record has the same key twice; rename or remove one.",
    ),
    "twins.json": (
        f'[\n{{"{SECRET}": 1, "{SECRET}": 2}}]',
        "twins.json: a record has the same key twice; rename or remove one.",
    ),
    "deep.json": (
        deep(),
        "deep.json, line 1: lists or objects are nested too deeply; write records of plain values.",
    ),
    "digits.jsonl": (
        f'{ROW}\n{{"question": {"7" * 5000}}}',
        "digits.jsonl, line 2: a number has more than 4,300 digits; write it as text, in quotes.",
    ),
    "half.json": (
        json_of(f"{SECRET} \ud800"),
        "half.json, row 1: it has half of a character (a lone surrogate); write the row again as "
        "UTF-8" + DROP,
    ),
    "nul.json": (
        json_of(f"{SECRET} \0"),
        "nul.json, row 1: it has a NUL byte; write the row again without it" + DROP,
    ),
    "long.json": (
        json_of(LONG),
        "long.json, row 1: it has a text of more than 2,000,000 characters; close the quote that "
        "was left open, or shorten it" + DROP,
    ),
    "nested.json": (
        json.dumps([{"question": [SECRET], "label": "a", "rationale": "b"}]),
        "nested.json, row 1: its question (column 'question') is not text; write it as one text"
        + DROP,
    ),
    "cut.parquet": (
        parquet()[:-40],
        "cut.parquet is not a whole Parquet file: get or write it again.",
    ),
    "middle.parquet": (
        parquet(spoil=SECRET.encode()),
        "middle.parquet is not a whole Parquet file: get or write it again.",
    ),
    "twins.parquet": (
        parquet(["question", "label", "label"]),
        "twins.parquet: two columns have the same name; rename one.",
    ),
    "headless.parquet": (
        parquet([SECRET, "home", "since"]),
        "headless.parquet has no column 'question' for the question" + HIDDEN,
    ),
    "sheet.xlsx": (
        "x",
        "sheet.xlsx has an unknown ending: expected one of .csv, .tsv, .json, .jsonl, .ndjson, "
        ".parquet.",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_table_that_is_no_table_is_one_sentence(tmp_path, name):
    content, said = FILES[name]
    assert complaint(path=str(write(tmp_path / name, content))) == said


@pytest.mark.parametrize("name", FILES)
def test_predict_and_your_data_say_the_same_without_a_cell(tmp_path, name):
    path = str(write(tmp_path / name, FILES[name][0]))
    for read in (tables.cases, your_data.read_table):
        try:
            read(path, *["question"] * (read is tables.cases))
        except R2DError as error:
            assert SECRET[:10] not in str(error) and str(error).endswith((".", "?"))


def test_a_pipe_and_a_device_are_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", "/dev/zero"):
        said = f"{path} is a pipe or a device: save what comes from it as a file."
        assert complaint(path=str(path)) == said
        assert sentence(tables.cases, path, "question") == said
        assert sentence(your_data.read_table, str(path)) == said


HOME = "~nobody-of-that-name/notes.csv"
UNKNOWN = f"{HOME} begins with a home folder that is not known here: write the folder in full."
PATHS = {
    HOME: UNKNOWN,
    f"notes{chr(0)}.csv": "A path holds a NUL byte: take it out.",
    "notes\ud800.csv": "A path holds half of a character: write it again as UTF-8.",
}


@pytest.mark.parametrize("path", PATHS, ids=["user", "nul", "half"])
def test_a_path_that_no_file_system_has_is_one_sentence(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    said = PATHS[path]
    assert complaint(path=path) == said
    assert complaint(card="bioasq", path=path) == said
    assert sentence(your_data.read_table, path) == said
    assert sentence(files.located, path) == said
    if path == HOME:  # the others no command line can hold
        assert cli.main(["predict", "RUN", "--file", path]) == 2
        assert capsys.readouterr().err == f"{said}\n"
        assert cli.main(["predict", path, "--text", "a case"]) == 2
        assert capsys.readouterr().err == f"{said}\n"


@pytest.mark.parametrize("name", ["R2D_HOME", "R2D_DATA", "R2D_ASSETS"])
def test_a_folder_of_an_unknown_user_is_one_sentence(name, monkeypatch, capsys):
    monkeypatch.setenv(name, HOME)
    assert cli.main(["your-data", "--train", "notes.csv"]) == 2
    assert capsys.readouterr().err == f"{UNKNOWN}\n"


def test_a_name_that_is_too_long_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "n" * 300 + ".csv"
    said = f"{tmp_path / name} can't be looked at (File name too long): mend its permissions or its"
    assert complaint(path=name) == f"{said} name."


def test_a_bad_row_shows_no_cell_whatever_is_wrong_with_it(tmp_path):
    for field in ("id", "question", "label", "rationale"):
        for value in (None, "", [SECRET], {SECRET: 1}, SECRET + "\0", SECRET, float("nan")):
            broken = rows()
            broken[6] |= {field: value}
            path = write(tmp_path / "notes.json", broken)
            try:
                data.load("mine", settings(path=str(path)))
            except R2DError as error:
                assert SECRET[:10] not in str(error)
