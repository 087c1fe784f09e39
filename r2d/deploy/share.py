"""Sharing a finished run: an export that stands alone, and a push to the hub.

Nothing exported names a local path or holds a case: neither predictions nor the dataset leave the
run folder.
"""

import json
import os
import shutil
from pathlib import Path

import yaml

from r2d import paths
from r2d.deploy.model_card import is_adapter, model_card, public_name, read_trained
from r2d.errors import R2DError
from r2d.recipes.settings import LoraSettings

REFUSED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
PLACES = ("path", "test_path")  # of a dataset's settings
CONVERTED = "ctranslate2"  # the folder of an export in that format


def export(
    run_folder: str | Path, out: str | Path, merged: bool = False, ctranslate2: bool = False
) -> Path:
    """Write adapter or weights, tokenizer, settings and model card to the new or empty `out`.

    `merged` puts an adapter into its backbone's full-precision weights, so that the export needs
    neither peft nor r2d. Weights are safetensors; `ctranslate2` adds a folder with the merged ones
    in that library's format. Raises `R2DError` for a folder with something in it, for one among the
    runs, and for a model that CTranslate2 lacks.
    """
    folder, target = paths.of_user(run_folder), paths.of_user(out).absolute()
    paths.expect_outside_runs(target)
    config = read_trained(folder)["config"]
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise R2DError(f"{target} is not an empty folder: name a new one.")
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    if merged and is_adapter(config, merged=False):
        _merge(folder, config, part)
    else:
        shutil.copytree(folder / "model", part)
        _name_backbone(part / "adapter_config.json", config["backbone"])
    if ctranslate2:
        _convert(folder, part / CONVERTED)
    settings = yaml.safe_dump(_without_places(config), sort_keys=False)
    (part / "r2d.yaml").write_text(settings, encoding="utf-8")
    card = model_card(folder, merged, ctranslate2)
    (part / "README.md").write_text(card, encoding="utf-8")
    if target.exists():
        target.rmdir()
    part.rename(target)
    return target


def push(folder: str | Path, repo_id: str, private: bool = True) -> str:
    """Upload an exported folder to the hub as `repo_id`; returns its address.

    The token is `HF_TOKEN`. Raises `R2DError` for a folder that `export` did not make, without a
    token, when the hub refuses, and when a private push would go to a public repository.
    """
    source = paths.of_user(folder)
    _expect_export(source)
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise R2DError(
            "HF_TOKEN is not set: export a write token of your hub account in that variable, then "
            "push again."
        )
    try:
        _upload(source, repo_id, private, token)
    except R2DError:
        raise
    # The hub's, the network's and the name check's; their texts may hold the request.
    except Exception as error:
        raise R2DError(
            f"The hub did not take {repo_id} ({type(error).__name__}): check the name, the network "
            "and what HF_TOKEN may do."
        ) from None
    return f"https://huggingface.co/{repo_id}"


def _expect_export(source: Path) -> None:
    if not (source / "r2d.yaml").is_file() or not list(source.glob("*.safetensors")):
        raise R2DError(
            f"{source} is not an export: make one with `python -m r2d export RUN {source}`."
        )
    ours = source / CONVERTED / "model.bin"  # numbers, and no pickle
    refused = sorted(
        path.name for path in source.rglob("*") if path.suffix in REFUSED and path != ours
    )
    if refused:
        raise R2DError(
            f"{source} holds {', '.join(refused)}, which may be a pickle: only safetensors are "
            "pushed; remove it."
        )


def _upload(source: Path, repo_id: str, private: bool, token: str) -> None:
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    api.create_repo(repo_id, private=private, exist_ok=True)
    if private and not api.repo_info(repo_id).private:
        raise R2DError(
            f"{repo_id} is public: name another repository, or push with --public if that is meant."
        )
    api.upload_folder(
        folder_path=str(source),
        repo_id=repo_id,
        commit_message="Model, tokenizer and card from r2d",
    )


def _merge(folder: Path, config: dict, out: Path) -> None:
    """Write the run's adapter merged into its backbone's full-precision weights."""
    from r2d.models.load import load_model, load_tokenizer, save_model

    lora = LoraSettings(**config["lora"])
    model = load_model(config["backbone"], "lora", lora, 0.0, folder / "model")
    tokenizer = load_tokenizer(str(folder / "model"))
    save_model(model.merge_and_unload(), tokenizer, config["backbone"], out)


def _convert(folder: Path, out: Path) -> None:
    """Write the run's model, an adapter merged, in CTranslate2's format."""
    from r2d.experiments.run import load_decoder
    from r2d.models import ctranslate

    decoder, _ = load_decoder(folder)
    out.mkdir()
    ctranslate.convert(decoder.network, out)


def _name_backbone(adapter_config: Path, backbone: str) -> None:
    """An adapter names its backbone, but not the folder it had here."""
    if adapter_config.is_file():
        settings = json.loads(adapter_config.read_text(encoding="utf-8"))
        settings["base_model_name_or_path"] = public_name(backbone)
        adapter_config.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _without_places(config: dict) -> dict:
    """A run's settings without the places of its files, its stage 1's too."""
    dataset = {name: value for name, value in config["dataset"].items() if name not in PLACES}
    method = dict(config["method"])
    if method["backbone"]:
        method["backbone"] = public_name(method["backbone"])
    return config | {
        "dataset": dataset,
        "backbone": public_name(config["backbone"]),
        "method": method,
        "init": _without_places(config["init"]) if config["init"] else None,
    }
