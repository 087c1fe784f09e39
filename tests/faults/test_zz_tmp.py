"""Whatever is in a table: it is read, or refused by a sentence without a cell.

And what holds of every label and every cut.
"""

import io
import json
import os
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from notes import rows, settings

from r2d import data
from r2d.data import inline_options, tables
from r2d.data.files import find
from r2d.data.record import canonical, content_key, folded, same_label
from r2d.data.splits import SPLITS
from r2d.errors import R2DError
from r2d.experiments import your_data

FEW = bounded(
    max_examples=1500,
    deadline=None,
    derandomize=False,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ENDINGS = ("csv", "tsv", "json", "jsonl", "parquet")
COLUMNS = ["question", "label", "rationale", "candidates", "id", "Question", "note", ""]
# A text that no message may hold: its letters are in no sentence of ours.
CANARY = "ǂ†ǂ"
CELLS = st.one_of(
    st.text(max_size=30).map(lambda text: f"{CANARY}{text}"),
    st.sampled_from([f"{CANARY}|{CANARY}b", CANARY * 9, f'"{CANARY}', f"{CANARY}\0", ""]),
)
VALUES = st.one_of(
    CELLS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.lists(CELLS, max_size=3),
    st.dictionaries(CELLS, CELLS, max_size=2),
)


@st.composite
def contents(draw) -> tuple[str, bytes]:
    """An ending, and a table of that kind, with names or without, its records spoilt anywhere."""
    ending = draw(st.sampled_from(ENDINGS))
    names = draw(st.lists(draw(st.sampled_from([st.sampled_from(COLUMNS), CELLS])), max_size=5))
    records = draw(st.lists(st.lists(VALUES, max_size=6), max_size=4))
    content = bytearray(_written(ending, names, records))
    first = content.find(b"\n") + 1  # a header's names are names
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(first, max(first, len(content) - 1)))
        content[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return ending, bytes(content)


def _written(ending: str, names: list[str], records: list[list]) -> bytes:
    if ending == "parquet":
        columns = [[str(part) for part in record] for record in zip(*records, strict=False)]
        fitting = dict(zip(names, columns, strict=False)) or {"question": [CANARY]}
        file = io.BytesIO()
        pq.write_table(pa.table(_storable(fitting)), file)
        return file.getvalue()
    mark = "\t" if ending == "tsv" else ","
    if ending in ("csv", "tsv"):
        lines = [names, *([str(value) for value in record] for record in records)]
        return "\n".join(mark.join(line) for line in lines).encode("utf-8", "surrogatepass")
    rows = [dict(zip(names, record, strict=False)) for record in records]
    text = json.dumps(rows) if ending == "json" else "\n".join(map(json.dumps, rows))
    return text.encode()


def _storable(columns: dict[str, list]) -> dict[str, list]:
    return {
        name.encode("utf-8", "replace").decode(): [
            value.encode("utf-8", "replace").decode() for value in values
        ]
        for name, values in columns.items()
    }


def expect_a_sentence(call, *arguments, **options) -> None:
    try:
        call(*arguments, **options)
    except R2DError as error:
        said = str(error)
        assert "ǂ" not in said and "†" not in said
        assert said.endswith((".", "?")) and "\n" not in said


def each_reading(path) -> None:
    """All that reads a user's file."""
    columns = {"id": "id", "question": "question", "label": "label", "candidates": "candidates"}
    expect_a_sentence(tables.read, find(str(path)), columns, ["question", "label"])
    expect_a_sentence(tables.cases, path, "question")
    expect_a_sentence(tables.cases, path, "a {note} and {label}")
    expect_a_sentence(your_data.read_table, str(path))
    expect_a_sentence(your_data.read_table, str(path), options_from=":", rationale="")
    for more in ({}, {"on_bad_rows": "drop"}, {"labels": "open"}, {"options_from": "A"}):
        expect_a_sentence(data.load, "mine", settings(path=str(path), **more))
    test = {"path": str(path), "test_path": str(path.with_name("test.json"))}
    expect_a_sentence(data.load, "mine", settings(**test))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "test.json").write_text(json.dumps(rows(6)), encoding="utf-8")
    return tmp_path


@FEW
@given(contents())
def test_a_table_is_read_or_refused_without_showing_a_cell(folder, content):
    ending, written = content
    path = folder / f"notes.{ending}"
    path.write_bytes(written)
    each_reading(path)


@FEW
@given(st.sampled_from(ENDINGS), st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(folder, ending, written):
    path = folder / f"notes.{ending}"
    path.write_bytes(written)
    each_reading(path)


@bounded(FEW, max_examples=600)
@given(st.data())
def test_a_parquet_file_flipped_anywhere_is_read_or_refused(folder, draws):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows()), file, compression="snappy")
    content = bytearray(file.getvalue())
    place = draws.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << draws.draw(st.integers(0, 7))
    path = folder / "notes.parquet"
    path.write_bytes(bytes(content))
    each_reading(path)


LABELS = st.text(min_size=1, max_size=12)


@FEW
@given(LABELS, st.lists(LABELS, max_size=6))
def test_a_label_in_the_spelling_of_its_set_stays_so(text, labels):
    known = canonical(text, labels)
    assert known is None or (known in labels and canonical(known, labels) == known)
    assert folded(folded(text)) == folded(text)
    for form in ("NFC", "NFD"):
        assert same_label(f" {unicodedata.normalize(form, text)}\n", text)


@FEW
@given(st.lists(st.tuples(st.text("ab é\u0301", min_size=1), st.sampled_from("xyz")), min_size=6))
def test_no_question_is_in_two_splits(folder, pairs):
    records = [
        {"question": f"{question}{i % 7}", "label": label, "rationale": "r"}
        for i, (question, label) in enumerate(pairs)
    ]
    path = folder / "pairs.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    try:
        loaded = data.load("mine", settings(path=str(path)))
    except R2DError:
        return
    keys = [{content_key(r.question) for r in loaded.splits[split]} for split in SPLITS]
    assert sum(map(len, keys)) == len(set.union(*keys))
    assert sum(map(len, loaded.splits.values())) == len(records)


@FEW
@given(st.lists(st.text("abAB. \n", min_size=1), min_size=1, max_size=5), st.text(max_size=9))
def test_options_that_are_read_out_of_a_question_stand_in_it(options, stem):
    listed = " ".join(f"{chr(65 + i)}. {text}" for i, text in enumerate(options))
    question = f"{stem} Choices: {listed}"
    rest, found = inline_options.split(question, "choices:")
    assert (rest, found) == (question, ()) or all(text and text in question for text in found)
    assert all(inline_options.option_of(text, found) == text for text in found)


def test_a_pipe_of_any_kind_is_never_read(folder):
    for ending in ENDINGS:
        os.mkfifo(folder / f"pipe.{ending}")
        each_reading(folder / f"pipe.{ending}")
