"""Using a run from the command line."""

import csv
import json

import pytest

from r2d import __main__
from r2d.deploy.predict import Prediction

ZEBRA = "zebra crossing pain"


@pytest.fixture
def folder(finished):
    return str(finished("sft-full"))


def test_the_command_line_shows_labels_but_no_text_unless_asked(finished, capsys):
    folder = str(finished("r2d-full"))
    assert __main__.main(["predict", folder, "--text", ZEBRA, "--json"]) == 0
    printed = capsys.readouterr().out
    assert "zebra" not in printed
    assert set(json.loads(printed)) == {"case", *Prediction.__dataclass_fields__}
    shown = ["predict", folder, "--text", ZEBRA, "--show-text", "--no-rationale"]
    assert __main__.main(shown) == 0
    assert ZEBRA in capsys.readouterr().out


def test_the_command_line_reads_a_file_and_writes_one(folder, notes, tmp_path):
    cases = tmp_path / "cases.csv"
    with cases.open("w", newline="") as file:
        csv.writer(file).writerows([["note"], *([note] for note in notes)])
    command = ["predict", folder, "--file", str(cases), "--question-column", "note"]
    command += ["--abstain-below", "1"]
    assert __main__.main([*command, "--out", str(tmp_path / "out.csv")]) == 0
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(notes) and all(row["abstained"] == "True" for row in rows)
    assert all(float(row[f"p({row['label']})"]) == float(row["confidence"]) for row in rows)
    assert not any(note in (tmp_path / "out.csv").read_text() for note in notes)
    assert __main__.main([*command, "--out", str(tmp_path / "out.jsonl")]) == 0
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["label"] for line in lines] == [row["label"] for row in rows]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (["--question-column", "nte"], "has no column 'nte' for the question, only 'note'"),
        (["--file", "absent.csv"], "absent.csv is not there"),
        (["--out", "here.xlsx"], "name it .csv or .jsonl"),
    ],
)
def test_mistakes_on_the_command_line_end_with_2_and_a_sentence(
    folder, tmp_path, capsys, changed, sentence
):
    cases = tmp_path / "cases.csv"
    cases.write_text("note\nsore throat\n")
    command = ["predict", folder, "--question-column", "note", "--file", str(cases), *changed]
    assert __main__.main(command) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_an_empty_case_is_named_by_its_number(folder, tmp_path, capsys):
    cases = tmp_path / "cases.jsonl"
    cases.write_text('{"question": "sore throat"}\n{"question": " "}\n')
    assert __main__.main(["predict", folder, "--file", str(cases)]) == 2
    assert "case 2 has no text" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_predicted(
    folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("r2d.load", lambda folder: pytest.fail("the model was loaded"))
    for out in (tmp_path / "out.txt", tmp_path / "nowhere" / "out.csv"):
        command = ["predict", folder, "--text", "a case", "--out", str(out)]
        assert __main__.main(command) == 2
        assert out.name in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("majority", "Majority class has no model to share"), ("reader-full", "knows no case")],
)
def test_a_run_without_a_model_of_cases_is_not_shared(finished, tmp_path, capsys, name, sentence):
    folder = str(finished(name))
    assert __main__.main(["export", folder, str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
