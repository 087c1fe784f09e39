"""A run is calibrated once, and what loads it then is as sure as it should be."""

import json
import shutil

import pytest
import yaml

import r2d
from r2d.deploy import calibrate
from r2d.errors import R2DError


@pytest.fixture
def folder(finished, tmp_path):
    """A run of one's own, as others are not to be calibrated."""
    return shutil.copytree(finished("sft-full"), tmp_path / "run")


def test_calibrating_a_run_writes_what_loading_it_uses(folder, notes, dataset):
    plain = r2d.load(folder).predict(notes, explain=False)
    result = calibrate.calibrate(folder)
    written = (folder / "calibration.json").read_text()
    assert json.loads(written) == json.loads(json.dumps(result))
    assert not list(folder.glob("*.part"))
    validation, test = result["validation"], result["test"]
    assert validation["n"] == test["n"] == 8
    assert validation["nll_after"] <= validation["nll_before"]
    model = r2d.load(folder)
    calibrated = model.predict(notes, explain=False)
    assert model.temperature == result["temperature"] != 1
    assert [p.label for p in plain] == [p.label for p in calibrated]
    assert plain[0].confidence != calibrated[0].confidence
    pairs = zip(calibrated, dataset.test, strict=True)
    right = sum(each.label == record.label for each, record in pairs)
    assert test["accuracy"] == pytest.approx(right / len(notes))


def test_the_temperature_is_fitted_on_validation_cases_alone(folder, dataset, monkeypatch):
    fitted = []

    def fit(scores, gold):
        fitted.append([dataset.labels[k] for k in gold])
        return 2.0

    monkeypatch.setattr(calibrate.calibration, "fit_temperature", fit)
    assert calibrate.calibrate(folder)["temperature"] == 2.0
    validation, test = ([r.label for r in part] for part in (dataset.validation, dataset.test))
    assert fitted == [validation] and validation != test


def test_the_sentences_carry_their_sample_sizes(folder):
    fitted, error = calibrate.sentences(calibrate.calibrate(folder))
    assert "fitted on 8 validation cases. That is few" in fitted
    assert error.startswith("ECE on 8 test cases: ") and "10 bins of equal width" in error


def test_a_changed_dataset_is_not_calibrated_on(folder):
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    settings["dataset"]["seed"] = 77
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / "sha256.json").unlink()  # it is changed on purpose
    with pytest.raises(R2DError, match="has changed since that run"):
        calibrate.calibrate(folder)
