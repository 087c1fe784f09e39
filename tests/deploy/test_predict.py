"""What was trained, used: predictions, and rationales under each label."""

import json
import subprocess
import sys

import pytest
import torch

import r2d
from r2d import data
from r2d.errors import R2DError


def test_importing_the_package_imports_no_torch():
    code = "import sys, r2d; r2d.load; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_probabilities_are_the_softmax_of_exact_label_likelihoods(model, notes):
    scores = model.scores(notes)
    predictions = model.predict(notes, explain=False)
    for row, each in zip(scores, predictions, strict=True):
        shares = each.probabilities
        assert list(shares) == list(model.labels) and sum(shares.values()) == pytest.approx(1)
        assert list(shares.values()) == pytest.approx(torch.softmax(row, 0).tolist(), abs=1e-5)
        assert each.label == model.labels[row.argmax()]
        assert each.confidence == max(shares.values())
    (alone,) = model.predict(notes[:1], explain=False)  # padding changes nothing
    assert alone.probabilities == pytest.approx(predictions[0].probabilities, abs=1e-5)


def test_the_rationale_is_the_one_for_the_predicted_label(model, notes):
    (prediction,) = model.predict(notes[:1])
    under = model.explain_under(notes[0])
    assert list(under) == list(model.labels)
    assert under[prediction.label] == prediction.rationale
    assert model.predict(notes[:1], explain=False)[0].rationale is None


def test_a_case_less_sure_than_asked_is_marked(model, notes):
    predictions = model.predict(notes, explain=False)
    middle = sorted(p.confidence for p in predictions)[len(predictions) // 2]
    marked = [p.abstained for p in model.predict(notes, explain=False, abstain_below=middle)]
    assert marked == [p.confidence < middle for p in predictions]
    assert 0 < sum(marked) < len(predictions)
    assert not any(p.abstained for p in predictions)


@pytest.mark.parametrize(
    ("texts", "below", "sentence"),
    [
        ("a note", None, "Give a list"),
        (["a", " "], None, "Text 2 is empty"),
        ([None], None, "Text 1"),
        (["a"], 60, "between 0 and 1"),
    ],
)
def test_bad_input_is_one_sentence(model, texts, below, sentence):
    with pytest.raises(R2DError, match=sentence):
        model.predict(texts, abstain_below=below)


def test_no_cases_give_no_predictions(model):
    assert model.predict([]) == []


def test_sft_gives_labels_without_rationales(finished, notes):
    model = r2d.load(finished("sft-full"))
    assert model.predict(notes[:1])[0].rationale is None
    with pytest.raises(R2DError, match="SFT writes no rationale for a given label"):
        model.explain_under(notes[0])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("majority", "sanity row"),
        ("stage1-full", "can't decide"),
        ("reader-full", "T5 as reader of rationales reads rationales and knows no case"),
    ],
)
def test_a_run_that_cannot_decide_says_so(finished, name, sentence):
    with pytest.raises(R2DError, match=sentence):
        r2d.load(finished(name))


def test_an_absent_run_says_so(tmp_path):
    with pytest.raises(R2DError, match="no finished run"):
        r2d.load(tmp_path / "nothing")


def test_the_run_folder_is_enough(finished, monkeypatch):
    folder = finished("r2d-full")
    monkeypatch.setattr(data, "load", lambda *_: pytest.fail("the dataset was read"))
    labels = json.loads((folder / "metrics.json").read_text())["labels"]
    assert r2d.load(folder).labels == tuple(labels)
