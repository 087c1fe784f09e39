"""What was trained, used: predictions, rationales under each label, and the command line."""

import csv
import json
import subprocess
import sys

import pytest
import torch
import yaml

import r2d
from r2d import __main__, data
from r2d.deploy import demo, predict
from r2d.errors import R2DError
from r2d.evaluation import calibration
from r2d.experiments import run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Finished tiny runs of several methods, and a home for them."""
    from conftest import TINY, new_home

    from r2d import recipes

    home = new_home(tmp_path_factory.mktemp("use") / "home")
    recipe = recipes.load("smoke", TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("R2D_HOME", str(home))
        names = ("majority", "stage1-full", "sft-full", "r2d-full")
        folders = {name: run.execute(recipe, "triage", name, 1) for name in names}
    return recipe, folders


@pytest.fixture(scope="module")
def model(made):
    return r2d.load(made[1]["r2d-full"])


@pytest.fixture(scope="module")
def notes(made):
    return [record.question for record in data.load("triage", made[0].datasets["triage"]).test]


def test_importing_the_package_imports_no_torch():
    code = "import sys, r2d; r2d.load; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_probabilities_are_the_softmax_of_exact_label_likelihoods(model, notes):
    scores = model.scores(notes)
    found = model.predict(notes, explain=False)
    for row, each in zip(scores, found, strict=True):
        assert list(each.probabilities) == list(model.labels) and sum(
            each.probabilities.values()
        ) == pytest.approx(1)
        assert list(each.probabilities.values()) == pytest.approx(
            torch.softmax(row, 0).tolist(), abs=1e-5
        )
        assert each.label == model.labels[row.argmax()] and each.confidence == max(
            each.probabilities.values()
        )
    alone = model.predict(notes[:1], explain=False)[0]  # padding changes nothing
    assert alone.probabilities == pytest.approx(found[0].probabilities, abs=1e-5)


def test_the_rationale_is_the_one_for_the_predicted_label(model, notes):
    (found,) = model.predict(notes[:1])
    under = model.explain_under(notes[0])
    assert list(under) == list(model.labels) and under[found.label] == found.rationale
    assert model.predict(notes[:1], explain=False)[0].rationale is None


def test_a_case_less_sure_than_asked_is_marked(model, notes):
    found = model.predict(notes, explain=False)
    middle = sorted(p.confidence for p in found)[len(found) // 2]
    marked = [p.abstained for p in model.predict(notes, explain=False, abstain_below=middle)]
    assert marked == [p.confidence < middle for p in found] and 0 < sum(marked) < len(found)
    assert not any(p.abstained for p in found)


@pytest.mark.parametrize(
    ("texts", "below", "said"),
    [
        ("a note", None, "Give a list"),
        (["a", " "], None, "Text 2 is empty"),
        ([None], None, "Text 1"),
        (["a"], 60, "between 0 and 1"),
    ],
)
def test_bad_input_is_one_sentence(model, texts, below, said):
    with pytest.raises(R2DError, match=said):
        model.predict(texts, abstain_below=below)


def test_no_cases_give_no_predictions(model):
    assert model.predict([]) == []


def test_sft_gives_labels_without_rationales(made, notes):
    model = r2d.load(made[1]["sft-full"])
    assert model.predict(notes[:1])[0].rationale is None
    with pytest.raises(R2DError, match="SFT writes no rationale for a given label"):
        model.explain_under(notes[0])


@pytest.mark.parametrize(
    ("name", "said"), [("majority", "sanity row"), ("stage1-full", "can't decide")]
)
def test_a_run_that_cannot_decide_says_so(made, name, said):
    with pytest.raises(R2DError, match=said):
        r2d.load(made[1][name])


def test_an_absent_run_says_so(tmp_path):
    with pytest.raises(R2DError, match="no finished run"):
        r2d.load(tmp_path / "nothing")


def test_the_run_folder_is_enough(made, notes, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *_: pytest.fail("the dataset was read"))
    assert r2d.load(made[1]["r2d-full"]).labels == tuple(
        json.loads((made[1]["r2d-full"] / "metrics.json").read_text())["labels"]
    )


def test_calibrating_a_run_writes_what_loading_it_uses(made, notes, monkeypatch):
    folder = made[1]["sft-full"]
    plain = r2d.load(folder).predict(notes, explain=False)
    found = calibration.calibrate(folder)
    assert json.loads((folder / calibration.FILE).read_text()) == json.loads(json.dumps(found))
    assert not list(folder.glob("*.part"))
    assert found["validation"]["n"] == found["test"]["n"] == 8
    assert found["validation"]["nll_after"] <= found["validation"]["nll_before"]
    model = r2d.load(folder)
    after = model.predict(notes, explain=False)
    assert model.temperature == found["temperature"] != 1
    assert [p.label for p in plain] == [p.label for p in after] and plain[0].confidence != after[
        0
    ].confidence
    golds = [record.label for record in data.load("triage", made[0].datasets["triage"]).test]
    right = sum(p.label == gold for p, gold in zip(after, golds, strict=True))
    assert found["test"]["accuracy"] == pytest.approx(right / len(golds))


def test_a_changed_dataset_is_not_calibrated_on(made, tmp_path):
    import shutil

    folder = shutil.copytree(made[1]["r2d-full"], tmp_path / "run")
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    settings["dataset"]["seed"] = 77
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(R2DError, match="has changed since that run"):
        calibration.calibrate(folder)


def test_the_form_answers_with_every_label_and_escapes_what_is_typed(model):
    page = demo.page(model, "<script>chest pain</script>", abstain_below=1.0)
    assert (
        all(label in page for label in model.labels)
        and "<script>" not in page
        and "leave this case to a person" in page
    )
    text, button, shown = demo.form(model).children
    button.click()
    assert "is empty" in shown.value
    text.value = "sore throat"
    button.click()
    assert model.predict(["sore throat"], explain=False)[0].label in shown.value


def test_the_command_line_shows_labels_but_no_text_unless_asked(made, capsys):
    folder = str(made[1]["r2d-full"])
    assert __main__.main(["predict", folder, "--text", "zebra crossing pain", "--json"]) == 0
    printed = capsys.readouterr().out
    assert "zebra" not in printed and set(json.loads(printed)) == {
        "case",
        *predict.Prediction.__dataclass_fields__,
    }
    assert (
        __main__.main(
            ["predict", folder, "--text", "zebra crossing pain", "--show-text", "--no-rationale"]
        )
        == 0
    )
    assert "zebra crossing pain" in capsys.readouterr().out


def test_the_command_line_reads_a_file_and_writes_one(made, notes, tmp_path, capsys):
    cases = tmp_path / "cases.csv"
    with cases.open("w", newline="") as file:
        csv.writer(file).writerows([["note"], *([note] for note in notes)])
    asked = [
        "predict",
        str(made[1]["sft-full"]),
        "--file",
        str(cases),
        "--question-column",
        "note",
        "--abstain-below",
        "1",
    ]
    assert __main__.main([*asked, "--out", str(tmp_path / "out.csv")]) == 0
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(notes) and all(row["abstained"] == "True" for row in rows)
    assert all(float(row[f"p({row['label']})"]) == float(row["confidence"]) for row in rows)
    assert not any(note in (tmp_path / "out.csv").read_text() for note in notes)
    assert __main__.main([*asked, "--out", str(tmp_path / "out.jsonl")]) == 0
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["label"] for line in lines] == [row["label"] for row in rows]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--question-column", "nte"], "has no column 'nte', only 'note'"),
        (["--file", "absent.csv"], "absent.csv is not there"),
        (["--out", "here.xlsx"], "name it .csv or .jsonl"),
    ],
)
def test_mistakes_on_the_command_line_end_with_2_and_a_sentence(
    made, tmp_path, capsys, changed, said
):
    (tmp_path / "cases.csv").write_text("note\nsore throat\n")
    asked = [
        "predict",
        str(made[1]["sft-full"]),
        "--question-column",
        "note",
        "--file",
        str(tmp_path / "cases.csv"),
        *changed,
    ]
    assert __main__.main(asked) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_an_empty_case_is_named_by_its_number(made, tmp_path, capsys):
    (tmp_path / "cases.jsonl").write_text('{"question": "sore throat"}\n{"question": " "}\n')
    assert (
        __main__.main(
            ["predict", str(made[1]["sft-full"]), "--file", str(tmp_path / "cases.jsonl")]
        )
        == 2
    )
    assert "case 2 has no text" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_predicted(
    made, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("r2d.load", lambda folder: pytest.fail("the model was loaded"))
    for out in (tmp_path / "out.txt", tmp_path / "nowhere" / "out.csv"):
        assert (
            __main__.main(
                ["predict", str(made[1]["r2d-full"]), "--text", "a case", "--out", str(out)]
            )
            == 2
        )
        assert out.name in capsys.readouterr().err
