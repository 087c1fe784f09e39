"""CSVs for people hold no formula, numbers stay numbers, and what we read again is what was."""

import csv
import io
import random

import pandas as pd
import pytest

from r2d import __main__, paths
from r2d.deploy import answers
from r2d.deploy.predict import Prediction
from r2d.reporting import spreadsheet, tables

FORMULAS = [
    "=1+1",
    "+49 170 1234",
    "-chest pain",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "  =1+1",
    '=HYPERLINK("http://a.b","x")',
    "=cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "＝1+1",
    "\ufeff=1+1",
    "\tplain",
]
NUMBERS = ["-5", "+3", "-0.5", "-1e-3", "-2,5", "-12 %"]
PLAIN = ["pain -2 days", "a=b", "1+1", "", "'quoted'", "x@y"]


def cells(text: str) -> list[str]:
    return [cell for row in csv.reader(io.StringIO(text)) for cell in row]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_begins_as_a_formula_does_is_marked(text):
    assert spreadsheet.neutral(text) == f"'{text}"
    assert spreadsheet.original(f"'{text}") == text


@pytest.mark.parametrize("text", [*NUMBERS, *PLAIN])
def test_numbers_and_other_texts_are_left_alone(text):
    assert spreadsheet.neutral(text) == spreadsheet.original(text) == text


@pytest.mark.parametrize("value", [-5, -0.5, None, True, float("nan")])
def test_what_is_no_text_is_left_alone(value):
    assert spreadsheet.neutral(value) is value


def test_the_marks_come_off_again_whatever_the_text():
    chosen = random.Random(3)
    for _ in range(5000):
        text = "".join(chosen.choices("'=+-@ \t\na1.,%", k=chosen.randint(0, 6)))
        safe = spreadsheet.neutral(text)
        assert spreadsheet.original(safe) == text
        assert not spreadsheet.FORMULA.match(safe) or spreadsheet.NUMBER.fullmatch(safe)


def test_a_table_of_results_is_written_safe_and_read_as_it_was(tmp_path):
    frame = pd.DataFrame(
        {"label": ["=1+1", "-x", "'=y", "a"], "f1": [-0.5, 1, None, 2], "=n": [1, -2, 3, 4]}
    )
    spreadsheet.write(frame, tmp_path / "table.csv")
    written = cells((tmp_path / "table.csv").read_text())
    assert written[:3] == ["label", "f1", "'=n"]
    assert [written[k] for k in (3, 6, 9, 12)] == ["'=1+1", "'-x", "''=y", "a"]
    assert "-0.5" in written and "-2" in written
    pd.testing.assert_frame_equal(tables.read(tmp_path / "table.csv"), frame, check_dtype=False)


def test_the_committed_tables_and_sources_of_figures_are_written_as_they_are():
    files = sorted((paths.ROOT / "figures" / "mini").glob("*.csv"))
    assert len(files) >= 10
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert [spreadsheet.neutral(cell) for cell in cells(text)] == cells(text), file.name


def prediction(label: str, rationale: str) -> Prediction:
    return Prediction(label, {label: 0.75, "other": 0.25}, rationale, 0.75, False)


def test_predictions_are_safe_in_a_csv_and_verbatim_in_json_lines(tmp_path):
    given = [prediction("=1+1", text) for text in FORMULAS]
    rows = answers.rows(given, ["-text"] * len(given))
    assert answers.write(rows, tmp_path / "out.csv") is True
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [row["rationale"] for row in read] == [f"'{text}" for text in FORMULAS]
    assert {(row["label"], row["text"]) for row in read} == {("'=1+1", "'-text")}
    assert {row["confidence"] for row in read} == {"0.75"} and "p(=1+1)" in read[0]
    assert answers.write(rows, tmp_path / "out.jsonl") is False
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert lines == [answers.as_json(row) for row in rows]


def test_the_command_says_that_it_marked_cells(tmp_path, monkeypatch, capsys):
    class Model:
        labels = ("=1+1", "other")
        takes_candidates = False

        def predict(self, texts, *_):
            return [prediction(texts[0], "because")]

    monkeypatch.setattr("r2d.load", lambda *_: Model())
    out = tmp_path / "out.csv"
    for text, marked in (("=1+1", True), ("other", False)):
        assert __main__.main(["predict", "run", "--text", text, "--out", str(out)]) == 0
        assert (spreadsheet.REMARK in capsys.readouterr().out) == marked
        assert ("'=1+1" in out.read_text()) == marked
