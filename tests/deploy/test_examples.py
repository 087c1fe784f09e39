"""The README's examples: a run's own answers, and how sure its calibrated model is of them."""

import json
import shutil

import pytest

import r2d
from r2d.data import load_card
from r2d.deploy import examples
from r2d.errors import R2DError
from r2d.reporting import manifest, readme


def test_they_are_the_runs_own_answers_with_its_calibrated_confidence(
    finished, dataset, tmp_path, monkeypatch
):
    finished("r2d-full")
    monkeypatch.setenv("R2D_HOME", str(shutil.copytree(finished.home, tmp_path / "home")))
    file = examples.write(finished.recipe)
    made = json.loads(file.read_text())
    folder = tmp_path / "home" / made["run"]
    predictions = [json.loads(line) for line in (folder / "predictions.jsonl").open()]
    written = {(row["gold"], row["label"], row["rationale"]) for row in predictions}
    assert 1 <= len(made["examples"]) <= 2
    for each in made["examples"]:
        assert (each["gold"], each["label"], each["rationale"]) in written
        assert each["note"] in {record.question for record in dataset.test}
        (answer,) = r2d.load(folder).predict([each["note"]], abstain_below=made["abstain_below"])
        assert each["confidence"] == pytest.approx(answer.probabilities.get(each["label"], 0.0))
        assert each["abstained"] == answer.abstained
        assert (each["outcome"] == "right") == (each["label"] == each["gold"])
    assert (
        made["temperature"] == json.loads((folder / "calibration.json").read_text())["temperature"]
    )
    inputs = manifest.read(file.parent)[file.name]["inputs"]
    assert set(inputs) == {
        f"{made['run']}/{name}" for name in ("predictions.jsonl", "calibration.json")
    }
    assert "*Sure* is the label's probability" in readme.examples(file.parent)


def test_cases_that_are_not_synthetic_are_never_shown(finished, monkeypatch):
    real = load_card("pubmedqa")
    monkeypatch.setattr(examples, "load_card", lambda name: real)
    with pytest.raises(R2DError, match="no run of r2d-full on synthetic cases"):
        examples.write(finished.recipe)
