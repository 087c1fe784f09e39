"""The model card of a finished run: `model_card.md.j2`, filled from the run's files.

Labels and titles are data: `escape` keeps them from being read as Markdown.
"""

import json
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData

from r2d import data, paths
from r2d.deploy.predict import expect_cases_read
from r2d.errors import R2DError
from r2d.experiments import directory
from r2d.method import prompts
from r2d.method.objective import named
from r2d.reporting import escape, tables

TEMPLATE = paths.PACKAGE / "deploy" / "model_card.md.j2"
LISTED = 50  # labels that a card names


def model_card(run_folder: str | Path, merged: bool = False, ctranslate2: bool = False) -> str:
    """The model card of a finished run, in Markdown, as of its adapter or `merged` weights.

    `ctranslate2` says that there is a folder in that format, too. Every value comes from the run's
    files and its dataset's card; no local path and no case is in it. Raises `R2DError` for a run
    without a model.
    """
    trained = read_trained(paths.of_user(run_folder))
    values = _values(trained, merged) | {"ctranslate2": ctranslate2}
    metadata = _metadata(trained, merged)
    card = ModelCard.from_template(metadata, template_path=str(TEMPLATE), **values)
    return f"{card}\n"


def read_trained(folder: Path) -> dict:
    """What a finished run with a model holds; raises `R2DError` for another or a damaged one."""
    finished = directory.read(folder)
    if not (folder / "model").is_dir():
        raise R2DError(
            f"{finished['env']['title']} has no model to share: choose a run that was trained."
        )
    expect_cases_read(finished)
    directory.expect_whole(folder, directory.MODEL)
    return finished


def is_adapter(config: dict, merged: bool) -> bool:
    """Whether what is shared needs its backbone beside it."""
    return config["method"]["tuning"] != "full" and not merged


def public_name(model: str) -> str:
    """A model's name on the hub, or the last part of a local folder's path."""
    path = paths.of_user(model)
    is_local = path.is_dir() or path.is_absolute()
    return path.name if is_local else model


def _metadata(trained: dict, merged: bool) -> ModelCardData:
    """What a hub reads; the licence is the sharer's to choose.

    The backbone is named where the hub has it.
    """
    config = trained["config"]
    backbone = config["backbone"]
    on_hub = backbone == public_name(backbone) and backbone != "mini-base"
    tags = ["reason2decide", "rationale", "r2d"]
    if _dataset_card(config).synthetic:
        tags.append("synthetic")
    return ModelCardData(
        library_name="peft" if is_adapter(config, merged) else "transformers",
        tags=tags,
        base_model=backbone if on_hub else None,
    )


def _values(trained: dict, merged: bool) -> dict[str, Any]:
    """The variables of the template."""
    env, config = trained["env"], trained["config"]
    return {
        "code": escape.code,
        "plain": escape.plain,
        "title": env["title"],
        "method": config["method"]["name"],
        "tuning": config["method"]["tuning"],
        "profile": env["profile"],
        "note": env.get("note", "no note was kept"),
        "parameters": f"{env['parameters']:,}",
        "trained_parameters": f"{env['trainable']:,}",
        **_data_values(trained),
        **_result_values(trained["metrics"]),
        **_usage_values(trained, merged),
        **_environment_values(trained),
    }


def _data_values(trained: dict) -> dict[str, Any]:
    env, config = trained["env"], trained["config"]
    card, is_private = _dataset_card(config), config["dataset"]["card"] == "table"
    return {
        "dataset": "a table of its owner's" if is_private else card.title,
        "synthetic": card.synthetic,
        "medical": not is_private,
        "licence": card.licence,
        "test_cases": env["test_cases"],
        "dropped_rows": env["dropped_rows"],
        "fingerprint": env["dataset_fingerprint"],
        "labels": env["labels"],
        "open_labels": config["dataset"].get("labels") == "open",
        "listed": LISTED,
    }


def _result_values(metrics: dict) -> dict[str, Any]:
    """The table of measures with their intervals, and what they were computed by."""
    if "metrics" not in metrics:
        return {"measures": [], "signatures": []}
    signatures = dict(metrics["signatures"])
    if "bertscore_f1" in signatures:  # it begins with the model, which may be a local folder
        model, mark, rest = signatures["bertscore_f1"].rpartition("_L")
        signatures["bertscore_f1"] = f"{public_name(model)}{mark}{rest}"
    measures = []
    for name, measure in metrics["metrics"].items():
        scale = 1 if name.startswith("corpus_bleu") else 100
        interval = "–"
        if measure["interval"]:
            low, high = measure["interval"]
            interval = f"{scale * low:.1f} to {scale * high:.1f}"
        by_chance = f" (by chance {scale * measure['chance']:.1f})" if "chance" in measure else ""
        measures.append(
            {
                "title": tables.heading_in(name, metrics | {"signatures": signatures}),
                "value": f"{scale * measure['value']:.1f}{by_chance}",
                "interval": interval,
                "cases": measure["n"],
            }
        )
    return {"measures": measures, "signatures": list(signatures.values())}


def _usage_values(trained: dict, merged: bool) -> dict[str, Any]:
    """How the model is loaded, and the prompts that it learned."""
    env, config = trained["env"], trained["config"]
    method, auto_class = config["method"], env["auto_class"]
    objective = named(method["objective"], method["objective_overrides"])
    backbone, adapter = public_name(config["backbone"]), is_adapter(config, merged)
    loading = f'{auto_class}.from_pretrained("THIS_FOLDER")'
    base_folder = None
    if adapter:
        base = f'{auto_class}.from_pretrained("{backbone}")'
        loading = f'PeftModel.from_pretrained({base}, "THIS_FOLDER")'
        if backbone == "mini-base":
            base_folder = paths.BASE.relative_to(paths.ROOT).as_posix()
    explain_prompt = prompts.EXPLAIN_LABEL if objective.names_label else prompts.EXPLAIN
    return {
        "backbone": backbone,
        "loading": loading,
        "base_folder": base_folder,
        "is_adapter": adapter,
        "was_quantised": merged and method["tuning"] == "qlora",
        "decoder_only": auto_class == "AutoModelForCausalLM",
        "input_tokens": config["limits"][0],
        "predict_prompt": prompts.PREDICT if objective.predicts else None,
        "explain_prompt": explain_prompt if objective.explains else None,
        "choice_prompt": prompts.CHOICE,
    }


def _environment_values(trained: dict) -> dict[str, Any]:
    env, config = trained["env"], trained["config"]
    settings = {name: config[name] for name in ("seed", "train", "lora")}
    installed = [f"{name} {v}" for name, v in env["packages"].items() if v != "absent"]
    return {
        "settings": yaml.safe_dump(settings, sort_keys=False).strip(),
        "python": env["python"],
        "packages": ", ".join(installed),
        "device": env["kind"].partition(":")[0],
        "commit": env["commit"],
        "training_seconds": json.dumps(env["training"]["seconds"]),
        "training_steps": env["training"]["steps"],
    }


def _dataset_card(config: dict) -> data.Card:
    return data.load_card(config["dataset"]["card"])
