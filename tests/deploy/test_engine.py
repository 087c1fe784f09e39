"""What decodes a finished run on the CPU: CTranslate2, int8 where labels stay, torch if asked."""

import json

import ctranslate2
import pytest
from transformers import AutoTokenizer

import r2d
from r2d import __main__
from r2d.deploy import share
from r2d.errors import R2DError
from r2d.experiments import run
from r2d.models.ctranslate import CTranslate2


@pytest.fixture
def folder(finished):
    return finished("r2d-full")


@pytest.fixture(autouse=True)
def unchecked(finished):
    """No run has been checked for int8 yet."""
    for file in (finished.home / ".cache" / "ctranslate2").glob("*.json"):
        file.unlink()


@pytest.mark.parametrize("method", ["r2d-full", "r2d-qlora"])
def test_ctranslate2_answers_as_torch_does(finished, notes, method):
    fast, slow = (r2d.load(finished(method), engine) for engine in ("ctranslate2", "torch"))
    assert str(fast.decoder.engine) == "CTranslate2 float32" and slow.decoder.engine is None
    for a, b in zip(fast.predict(notes), slow.predict(notes), strict=True):
        assert (a.label, a.rationale) == (b.label, b.rationale)
        assert a.probabilities == pytest.approx(b.probabilities, abs=1e-4)
    assert fast.explain_under(notes[0]) == slow.explain_under(notes[0])


def test_int8_is_used_where_it_keeps_the_labels_and_checked_once(folder, capsys, monkeypatch):
    checked = []
    monkeypatch.setattr(run, "load_dataset", _counting(run.load_dataset, checked))
    sentence = "In int8 8 of 8 validation labels are those of float32: int8 is used."
    for _ in range(2):
        assert str(r2d.load(folder, "int8").decoder.engine) == "CTranslate2 int8"
        assert sentence in capsys.readouterr().err
    assert len(checked) == 1


def test_int8_is_refused_where_labels_change(folder, capsys, monkeypatch):
    score = CTranslate2.score

    def worse(self, rows, choices, size):
        scores = score(self, rows, choices, size)
        if self.precision == "int8":
            scores[0, scores[0].argmax()] -= 100  # another label wins
        return scores

    monkeypatch.setattr(CTranslate2, "score", worse)
    assert str(r2d.load(folder, "int8").decoder.engine) == "CTranslate2 float32"
    printed = capsys.readouterr().err
    assert "In int8 7 of 8 validation labels are those of float32: float32 is used." in printed


def test_int8_without_the_runs_dataset_is_not_used(folder, capsys, monkeypatch):
    def gone(_):
        raise R2DError("The dataset has changed.")

    monkeypatch.setattr(run, "load_dataset", gone)
    assert str(r2d.load(folder, "int8").decoder.engine) == "CTranslate2 float32"
    assert (
        "could not be checked on the run's validation set. The dataset" in capsys.readouterr().err
    )


def test_the_command_line_names_the_engine(folder, notes, capsys):
    answers = []
    for engine in ("ctranslate2", "int8", "torch"):
        command = ["predict", str(folder), "--text", notes[0], "--json", "--engine", engine]
        assert __main__.main(command) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0]["label"] == answers[2]["label"]
    assert answers[0]["rationale"] == answers[2]["rationale"]


@pytest.mark.parametrize("method", ["r2d-full", "r2d-qlora"])
def test_an_export_carries_the_model_for_ctranslate2(finished, notes, tmp_path, method):
    out = share.export(finished(method), tmp_path / "out", ctranslate2=True)
    assert 'ctranslate2.Translator("THIS_FOLDER/ctranslate2")' in (out / "README.md").read_text()
    translator = ctranslate2.Translator(str(out / "ctranslate2"), intra_threads=1)
    tokenizer = AutoTokenizer.from_pretrained(out)
    prompts = tokenizer([f"explain: {note}" for note in notes], truncation=True, max_length=64)
    tokens = [tokenizer.convert_ids_to_tokens(ids) for ids in prompts["input_ids"]]
    written = translator.translate_batch(
        tokens, beam_size=1, min_decoding_length=0, max_decoding_length=24
    )
    ids = [tokenizer.convert_tokens_to_ids(each.hypotheses[0]) for each in written]
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    decoder, _ = run.load_decoder(finished(method))
    assert [text.strip() for text in texts] == decoder.rationales(f"explain: {n}" for n in notes)


def _counting(function, calls: list):
    def counted(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return counted
