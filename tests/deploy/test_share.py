"""Exports and pushes: whole, true to the run, and without a path, a case or a pickle."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from r2d import __main__
from r2d.deploy import share
from r2d.errors import R2DError
from r2d.experiments import run
from r2d.models.decode import Decoder, score
from r2d.models.load import load_tokenizer, locate

NOTES = ["predict: cp x 2h", "predict: sore throat"]


def everything(folder: Path) -> str:
    """All text of an export."""
    written = [p for p in folder.rglob("*") if p.suffix in (".json", ".md", ".yaml")]
    return "".join(p.read_text(encoding="utf-8") for p in written)


@pytest.fixture
def label_scores(finished, dataset):
    """Log-probabilities of the labels under a model, for two notes."""

    def scores(model) -> torch.Tensor:
        limits = finished.recipe.limits("triage")
        decoder = Decoder(model.eval(), load_tokenizer("mini-base"), dataset.labels, limits)
        return score(decoder.network, decoder.encode(NOTES), [dataset.labels] * len(NOTES), 8)

    return scores


@pytest.mark.parametrize("merged", [False, True])
def test_no_export_holds_a_path_or_a_case(finished, dataset, tmp_path, merged):
    folder = finished("r2d-qlora")
    out = share.export(folder, tmp_path / "out", merged)
    text = everything(out)
    home, project = str(folder.parents[4]), str(Path(__file__).parents[2])
    for place in (home, str(tmp_path), str(Path.home()), project):
        assert place not in text
    for records in dataset.splits.values():
        assert not any(r.question in text or r.rationale in text for r in records)
    suffixes = {path.suffix for path in out.iterdir()}
    assert suffixes <= {".json", ".md", ".yaml", ".safetensors"}
    assert not list(tmp_path.glob(".*"))


def test_the_place_of_a_private_table_or_backbone_is_left_out(finished, tmp_path):
    folder = shutil.copytree(finished("r2d-qlora"), tmp_path / "run")
    (folder / "sha256.json").unlink()  # it is changed on purpose
    (tmp_path / "secret_base").mkdir()
    place = str(tmp_path / "secret_base")
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    places = {"card": "table", "path": "/secret/notes.csv", "test_path": "/secret/test.csv"}
    settings["dataset"] |= places
    settings["backbone"] = settings["method"]["backbone"] = settings["init"]["backbone"] = place
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["signatures"]["bertscore_f1"] = "/secret/embedder_L5_no-idf_version=1(hug_trans=5)"
    (folder / "metrics.json").write_text(json.dumps(metrics))
    adapter = folder / "model" / "adapter_config.json"
    adapter_settings = json.loads(adapter.read_text()) | {"base_model_name_or_path": place}
    adapter.write_text(json.dumps(adapter_settings))
    out = share.export(folder, tmp_path / "out")
    text = everything(out)
    assert "/secret" not in text and str(tmp_path) not in text
    assert "a table of its owner's" in text and "BERTScore F1 (embedder)" in text
    exported = json.loads((out / "adapter_config.json").read_text())
    assert exported["base_model_name_or_path"] == "secret_base"


def test_exported_weights_are_the_runs(finished, label_scores, tmp_path):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    out = share.export(finished("sft-full"), tmp_path / "out")
    decoder, _ = run.load_decoder(finished("sft-full"))
    again = AutoModelForSeq2SeqLM.from_pretrained(out)
    assert torch.allclose(label_scores(again), label_scores(decoder.model))
    ids = AutoTokenizer.from_pretrained(out)("chest pain")["input_ids"]
    assert ids == decoder.tokenizer("chest pain")["input_ids"]


def test_a_merged_export_is_the_adapter_over_full_precision_weights(
    finished, label_scores, tmp_path
):
    from peft import PeftModel
    from transformers import AutoModelForSeq2SeqLM

    folder = finished("r2d-qlora")
    out = share.export(folder, tmp_path / "out", merged=True)
    assert not (out / "adapter_config.json").exists() and (out / "model.safetensors").is_file()
    merged = AutoModelForSeq2SeqLM.from_pretrained(out)
    base = AutoModelForSeq2SeqLM.from_pretrained(locate("mini-base"))
    plain = label_scores(base)
    adapted = label_scores(PeftModel.from_pretrained(base, folder / "model"))
    assert torch.allclose(label_scores(merged), adapted, atol=1e-3)
    assert not torch.allclose(plain, adapted, atol=1e-2)
    card = (out / "README.md").read_text()
    assert "full precision" in card and "library_name: transformers" in card


def test_a_folder_with_something_in_it_is_left_alone(finished, tmp_path):
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(R2DError, match="not an empty folder"):
        share.export(finished("sft-full"), tmp_path)
    assert (tmp_path / "keep.txt").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1
    (tmp_path / "empty").mkdir()
    out = share.export(finished("sft-full"), tmp_path / "empty")
    assert (out / "model.safetensors").is_file()


class Hub:
    """A stand-in for the hub: repositories are folders."""

    def __init__(self, root: Path):
        self.root, self.private, self.tokens = root, {}, []

    def __call__(self, token):
        self.tokens.append(token)
        return self

    def create_repo(self, repo_id, private, exist_ok):
        self.private.setdefault(repo_id, private)
        assert exist_ok

    def repo_info(self, repo_id):
        return SimpleNamespace(private=self.private[repo_id])

    def upload_folder(self, folder_path, repo_id, commit_message):
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    stand_in = Hub(tmp_path / "hub")
    monkeypatch.setattr("huggingface_hub.HfApi", stand_in)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    return stand_in


@pytest.fixture
def exported(finished, tmp_path):
    return share.export(finished("sft-full"), tmp_path / "exported")


def test_a_push_uploads_the_export_privately(exported, hub, capsys):
    assert __main__.main(["push", str(exported), "me/tickets"]) == 0
    assert capsys.readouterr().out == "https://huggingface.co/me/tickets\n"
    assert hub.private == {"me/tickets": True} and hub.tokens == ["hf_secret"]
    names = {path.name for path in (hub.root / "me" / "tickets").iterdir()}
    assert names == {path.name for path in exported.iterdir()}
    assert share.push(exported, "me/open", private=False) and hub.private["me/open"] is False


def test_a_private_push_never_goes_to_a_public_repository(exported, hub):
    hub.private["me/open"] = False
    with pytest.raises(R2DError, match="me/open is public"):
        share.push(exported, "me/open")
    assert not hub.root.exists()


def test_a_refusing_hub_is_one_sentence_without_the_token(exported, hub, monkeypatch):
    def refuse(**_):
        raise OSError("401 for Authorization: Bearer hf_secret")

    monkeypatch.setattr(hub, "upload_folder", refuse)
    with pytest.raises(R2DError, match="did not take me/x .OSError.") as caught:
        share.push(exported, "me/x")
    assert "hf_secret" not in str(caught.value) and caught.value.__suppress_context__


def test_what_must_not_be_pushed_is_refused(exported, hub, finished, monkeypatch):
    with pytest.raises(R2DError, match="is not an export"):
        share.push(finished("sft-full"), "me/x")
    (exported / "training_args.bin").write_bytes(b"")
    with pytest.raises(R2DError, match="training_args.bin, which may be a pickle"):
        share.push(exported, "me/x")
    (exported / "training_args.bin").unlink()
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(R2DError, match="HF_TOKEN is not set"):
        share.push(exported, "me/x")
    assert hub.tokens == []
