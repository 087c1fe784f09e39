"""Model cards, exports and pushes: whole, true to the run, and without a path, a case or a pickle."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from r2d import __main__, data, recipes
from r2d.deploy import share
from r2d.errors import R2DError
from r2d.experiments import run
from r2d.models import decode, load
from r2d.reporting import results


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    from conftest import TINY, new_home

    recipe = recipes.load("smoke", TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("R2D_HOME", str(new_home(tmp_path_factory.mktemp("share") / "home")))
        folders = {
            name: run.execute(recipe, "triage", name, 1)
            for name in ("majority", "sft-full", "stage1-qlora", "r2d-qlora")
        }
    return recipe, folders


def everything(folder: Path) -> str:
    return "".join(
        p.read_text(encoding="utf-8")
        for p in folder.rglob("*")
        if p.suffix in (".json", ".md", ".yaml")
    )


def label_scores(net, recipe, notes):
    loaded = data.load("triage", recipe.datasets["triage"])
    decoder = decode.Decoder(
        net.eval(), load.load_tokenizer("mini-base"), loaded.labels, recipe.limits("triage")
    )
    return decode.score(decoder.network, decoder.encode(notes), [loaded.labels] * len(notes), 8)


def test_the_card_says_what_the_runs_files_say(made):
    recipe, folders = made
    folder = folders["r2d-qlora"]
    card, found = share.model_card(folder), run.read(folder)
    for name in ("accuracy", "macro_f1", "consistency"):
        measure = found["metrics"]["metrics"][name]
        low, high = (f"{100 * end:.1f}" for end in measure["interval"])
        assert (
            f"| {results.MEASURES[name]} | {100 * measure['value']:.1f} | {low} to {high} | {measure['n']} |"
            in card
        )
    assert "| BERTScore F1 (all-MiniLM-L6-v2), given the gold label |" in card
    assert "**synthetic**" in card and recipe.note in card and "no medical advice" in card
    assert (
        f"torch {found['env']['packages']['torch']}" in card
        and found["env"]["dataset_fingerprint"] in card
    )
    front = yaml.safe_load(card.split("---")[1])
    assert (
        front["library_name"] == "peft"
        and "synthetic" in front["tags"]
        and "base_model" not in front
    )
    settings = yaml.safe_load(card.split("```yaml")[1].split("```")[0])
    assert (
        settings["train"] == found["config"]["train"]
        and settings["lora"] == found["config"]["lora"]
    )


def test_no_card_or_export_holds_a_path_or_a_case(made, tmp_path):
    recipe, folders = made
    out = share.export(folders["r2d-qlora"], tmp_path / "out")
    text = everything(out)
    for place in (
        str(folders["r2d-qlora"].parents[4]),
        str(tmp_path),
        str(Path.home()),
        str(Path(__file__).parents[1]),
    ):
        assert place not in text
    records = data.load("triage", recipe.datasets["triage"])
    assert not any(
        r.question in text or r.rationale in text
        for split in records.splits.values()
        for r in split
    )
    assert {p.suffix for p in out.iterdir()} <= {
        ".json",
        ".md",
        ".yaml",
        ".safetensors",
    } and not list(tmp_path.glob(".*"))


def test_the_place_of_a_private_table_or_backbone_is_left_out(made, tmp_path):
    folder = shutil.copytree(made[1]["r2d-qlora"], tmp_path / "run")
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    (tmp_path / "secret_base").mkdir()
    place = str(tmp_path / "secret_base")
    settings["dataset"] |= {
        "card": "table",
        "path": "/secret/notes.csv",
        "test_path": "/secret/test.csv",
    }
    settings["backbone"] = settings["method"]["backbone"] = settings["init"]["backbone"] = place
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    adapter = folder / "model" / "adapter_config.json"
    adapter.write_text(
        json.dumps(json.loads(adapter.read_text()) | {"base_model_name_or_path": place})
    )
    text = everything(share.export(folder, tmp_path / "out"))
    assert "/secret" not in text and str(tmp_path) not in text and "a table of its owner's" in text
    assert (
        json.loads((tmp_path / "out" / "adapter_config.json").read_text())[
            "base_model_name_or_path"
        ]
        == "secret_base"
    )


def test_exported_weights_are_the_runs(made, tmp_path):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    recipe, folders = made
    out = share.export(folders["sft-full"], tmp_path / "out")
    decoder, _ = run.load_decoder(folders["sft-full"])
    again = AutoModelForSeq2SeqLM.from_pretrained(out)
    assert torch.allclose(
        label_scores(again, recipe, ["predict: cp"]),
        label_scores(decoder.model, recipe, ["predict: cp"]),
    )
    assert (
        AutoTokenizer.from_pretrained(out)("chest pain")["input_ids"]
        == decoder.tokenizer("chest pain")["input_ids"]
    )


def test_a_merged_export_is_the_adapter_over_full_precision_weights(made, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForSeq2SeqLM

    recipe, folders = made
    out = share.export(folders["r2d-qlora"], tmp_path / "out", merged=True)
    assert not (out / "adapter_config.json").exists() and (out / "model.safetensors").is_file()
    merged, base = (
        AutoModelForSeq2SeqLM.from_pretrained(p) for p in (out, load.locate("mini-base"))
    )
    notes = ["predict: cp x 2h", "predict: sore throat"]
    plain = label_scores(base, recipe, notes)
    adapted = label_scores(
        PeftModel.from_pretrained(base, folders["r2d-qlora"] / "model"), recipe, notes
    )
    assert torch.allclose(label_scores(merged, recipe, notes), adapted, atol=1e-3)
    assert not torch.allclose(plain, adapted, atol=1e-2)
    card = (out / "README.md").read_text()
    assert "full precision" in card and "library_name: transformers" in card


def test_a_folder_with_something_in_it_is_left_alone(made, tmp_path):
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(R2DError, match="not an empty folder"):
        share.export(made[1]["sft-full"], tmp_path)
    assert (tmp_path / "keep.txt").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1
    (tmp_path / "empty").mkdir()
    assert (share.export(made[1]["sft-full"], tmp_path / "empty") / "model.safetensors").is_file()


def test_a_run_without_a_model_is_not_shared(made, tmp_path, capsys):
    assert __main__.main(["export", str(made[1]["majority"]), str(tmp_path / "out")]) == 2
    assert (
        "Majority class has no model to share" in capsys.readouterr().err
        and not (tmp_path / "out").exists()
    )


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
def exported(made, tmp_path):
    return share.export(made[1]["sft-full"], tmp_path / "exported")


def test_a_push_uploads_the_export_privately(exported, hub, capsys):
    assert __main__.main(["push", str(exported), "me/tickets"]) == 0
    assert capsys.readouterr().out == "https://huggingface.co/me/tickets\n" and hub.private == {
        "me/tickets": True
    }
    names = {p.name for p in (hub.root / "me" / "tickets").iterdir()}
    assert names == {p.name for p in exported.iterdir()} and hub.tokens == ["hf_secret"]
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


def test_what_must_not_be_pushed_is_refused(exported, hub, tmp_path, made, monkeypatch):
    with pytest.raises(R2DError, match="is not an export"):
        share.push(made[1]["sft-full"], "me/x")
    (exported / "training_args.bin").write_bytes(b"")
    with pytest.raises(R2DError, match="training_args.bin, which may be a pickle"):
        share.push(exported, "me/x")
    (exported / "training_args.bin").unlink()
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(R2DError, match="HF_TOKEN is not set"):
        share.push(exported, "me/x")
    assert hub.tokens == []
