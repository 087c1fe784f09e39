"""A run with a decoder-only backbone is used, calibrated and exported like any other."""

import pytest
import torch

import r2d
from r2d.deploy import calibrate, share
from r2d.experiments.run import Run
from r2d.method import prompts
from r2d.models.decode import Decoder, score
from r2d.models.load import load_model


@pytest.fixture
def decoder_only(llama, tiny, home):
    """A finished tiny R2D run on a decoder-only backbone."""
    run = Run(tiny({"backbone": llama, "decode.labels": "score"}), "triage", "r2d-qlora", 1)
    run.start.execute()
    run.execute()
    return run


def test_a_run_with_a_decoder_only_backbone_is_used_calibrated_and_exported(
    decoder_only, llama, records, tmp_path
):
    from transformers import AutoModelForCausalLM

    folder = decoder_only.folder
    predictor, notes = r2d.load(folder), [record.question for record in records.test]
    labels = [each.label for each in predictor.predict(notes, explain=False)]
    assert labels == [row["label"] for row in decoder_only.read()["predictions"]]
    assert set(predictor.explain_under(notes[0])) == set(records.labels)
    assert calibrate.calibrate(folder)["temperature"] == r2d.load(folder).temperature

    card = (share.export(folder, tmp_path / "adapter") / "README.md").read_text()
    assert "PeftModel.from_pretrained(AutoModelForCausalLM" in card
    assert "A line break ends each prompt" in card

    out = share.export(folder, tmp_path / "merged", merged=True)
    merged = AutoModelForCausalLM.from_pretrained(out)
    adapted = load_model(llama, "lora", decoder_only.recipe.lora, 0.0, folder / "model")
    scores = []
    for model in (merged, adapted):
        decoder = Decoder(model.eval(), predictor.decoder.tokenizer, records.labels, (64, 24))
        rows = decoder.encode([prompts.predict(note) for note in notes])
        scores.append(score(decoder.network, rows, [records.labels] * len(rows), 8))
    assert torch.allclose(*scores, atol=1e-3)
