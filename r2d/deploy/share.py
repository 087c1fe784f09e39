"""Sharing a finished run: a model card made from its files, an export that stands alone, and a push to the hub.

Nothing exported names a local path or holds a case: neither predictions nor the dataset leave the run folder.
"""

import json
import os
import shutil
from pathlib import Path

import yaml

from r2d.errors import R2DError
from r2d.experiments import run
from r2d.method import objective, prompts
from r2d.recipes.settings import LoraSettings
from r2d.reporting.results import titled

LISTED = 50  # labels that a card names
REFUSED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def model_card(run_folder: str | Path, merged: bool = False) -> str:
    """The model card of a finished run, in Markdown; every value comes from the run's files and its dataset's card.

    Raises `R2DError` for a run without a model.
    """
    made = _with_model(Path(run_folder).expanduser())
    parts = (
        _front(made, merged),
        _what(made),
        _data(made),
        _results(made),
        _usage(made, merged),
        _settings(made),
        _limits(made),
    )
    return "\n\n".join(parts) + "\n"


def export(run_folder: str | Path, out: str | Path, merged: bool = False) -> Path:
    """Write adapter or weights (safetensors), tokenizer, settings and model card to the new or empty folder `out`.

    `merged` puts an adapter into its backbone's full-precision weights, so that the export needs neither peft nor r2d.
    Raises `R2DError` for a folder with something in it.
    """
    folder, target = Path(run_folder).expanduser(), Path(out).expanduser()
    made = _with_model(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise R2DError(f"{target} is not an empty folder: name a new one.")
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    if merged and made["config"]["method"]["tuning"] != "full":
        _merge(folder, made["config"], part)
    else:
        shutil.copytree(folder / "model", part)
        _without_path(part / "adapter_config.json", made["config"]["backbone"])
    (part / "r2d.yaml").write_text(
        yaml.safe_dump(_public(made["config"]), sort_keys=False), encoding="utf-8"
    )
    (part / "README.md").write_text(model_card(folder, merged), encoding="utf-8")
    if target.exists():
        target.rmdir()
    part.rename(target)
    return target


def push(folder: str | Path, repo_id: str, private: bool = True) -> str:
    """Upload an exported folder to the model hub as `repo_id` and return its address; the token is `HF_TOKEN`.

    Raises `R2DError` for a folder that `export` did not make, without a token, when the hub refuses, and when a private
    push would go to a public repository.
    """
    from huggingface_hub import HfApi

    source = Path(folder).expanduser()
    if not (source / "r2d.yaml").is_file() or not list(source.glob("*.safetensors")):
        raise R2DError(
            f"{source} is not an export: make one with `python -m r2d export RUN {source}`."
        )
    if strange := sorted(p.name for p in source.rglob("*") if p.suffix in REFUSED):
        raise R2DError(
            f"{source} holds {', '.join(strange)}, which may be a pickle: only safetensors are pushed; remove it."
        )
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise R2DError(
            "HF_TOKEN is not set: export a write token of your hub account in that variable, then push again."
        )
    api = HfApi(token=token)
    try:
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
    except R2DError:
        raise
    except (
        Exception
    ) as error:  # the hub's, the network's and the name check's; their texts may hold the request
        raise R2DError(
            f"The hub did not take {repo_id} ({type(error).__name__}): check the name, the network and what HF_TOKEN may do."
        ) from None
    return f"https://huggingface.co/{repo_id}"


def _with_model(folder: Path) -> dict:
    made = run.read(folder)
    if not (folder / "model").is_dir():
        raise R2DError(
            f"{made['env']['title']} has no model to share: choose a run that was trained."
        )
    return made


def _merge(folder: Path, config: dict, out: Path) -> None:
    from r2d.models import load

    net = load.load(
        config["backbone"], "lora", LoraSettings(**config["lora"]), 0.0, folder / "model"
    )
    load.save(
        net.merge_and_unload(), load.load_tokenizer(str(folder / "model")), config["backbone"], out
    )


def _without_path(file: Path, backbone: str) -> None:
    """An adapter names its backbone, but not the folder it had here."""
    if file.is_file():
        settings = json.loads(file.read_text(encoding="utf-8")) | {
            "base_model_name_or_path": _name(backbone)
        }
        file.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _public(config: dict) -> dict:
    """A run's settings without the places of its files."""
    shown = config | {
        "dataset": {k: v for k, v in config["dataset"].items() if k not in ("path", "test_path")}
    }
    shown["backbone"] = _name(config["backbone"])
    shown["method"] = config["method"] | {
        "backbone": config["method"]["backbone"] and _name(config["method"]["backbone"])
    }
    return shown | {"init": _public(config["init"]) if config["init"] else None}


def _name(backbone: str) -> str:
    """A backbone's name on the hub, or the last part of a local folder's path."""
    return (
        Path(backbone).name
        if Path(backbone).expanduser().is_dir() or Path(backbone).is_absolute()
        else backbone
    )


def _front(made: dict, merged: bool) -> str:
    """What a hub reads: the library, the backbone where the hub has it, tags; the licence is the sharer's to choose."""
    config = made["config"]
    adapter = config["method"]["tuning"] != "full" and not merged
    known = (
        {"base_model": config["backbone"]}
        if config["backbone"] == _name(config["backbone"]) != "mini-base"
        else {}
    )
    tags = ["reason2decide", "rationale", "r2d"] + ["synthetic"] * _card(made).synthetic
    front = {"library_name": "peft" if adapter else "transformers", "tags": tags, **known}
    return "---\n" + yaml.safe_dump(front, sort_keys=False) + "---"


def _card(made: dict):
    from r2d import data

    return data.card(made["config"]["dataset"]["card"])


def _choice(made: dict) -> bool:
    return not made["env"]["labels"]


def _title(made: dict) -> str:
    return (
        "a table of its owner's"
        if made["config"]["dataset"]["card"] == "table"
        else _card(made).title
    )


def _what(made: dict) -> str:
    config, env = made["config"], made["env"]
    method = config["method"]
    return f"""# {env["title"]} on {_title(made)}

A model that reads a case and gives a label{"" if method["objective"] == "sft" else " and a rationale"}, trained with
[r2d](https://arxiv.org/abs/2512.20074), the companion to Reason2Decide: method `{method["name"]}`, {method["tuning"]} tuning of
`{_name(config["backbone"])}`, {env["parameters"]:,} parameters of which {env["trainable"]:,} were trained.

> Profile `{config["profile"]}`: {env.get("note", "no note was kept")}."""


def _data(made: dict) -> str:
    card, env, labels = _card(made), made["env"], made["env"]["labels"]
    kind = (
        "**synthetic**: generated, no person's words in it"
        if card.synthetic
        else "not generated by r2d"
    )
    listed = ", ".join(f"`{label}`" for label in labels[:LISTED])
    listed += f" and {len(labels) - LISTED} more" if len(labels) > LISTED else ""
    listed = (
        "each case brings its own candidates; classes are their positions"
        if _choice(made)
        else listed
    )
    return f"""## Data

- {_title(made)}, {kind}; licence: {card.licence}
- {env["test_cases"]} test cases; {env["dropped_rows"]} rows left out as faulty; fingerprint `{env["dataset_fingerprint"]}`
- Labels: {listed}"""


def _results(made: dict) -> str:
    """The table of measures with their intervals, and the calibration where there is one."""
    rows = []
    for name, measure in made["metrics"].get("metrics", {}).items():
        scale = 1 if name.startswith("corpus_bleu") else 100
        interval = measure["interval"]
        around = f"{scale * interval[0]:.1f} to {scale * interval[1]:.1f}" if interval else "–"
        rows.append(
            f"| {titled(name, made['metrics'])} | {scale * measure['value']:.1f} | {around} | {measure['n']} |"
        )
    if not rows:
        return "## Results\n\nThis stage writes rationales only and was not measured by itself."
    head = "| measure | points of 100 | 95 % interval over cases | cases |\n|---|---|---|---|"
    signatures = "; ".join(made["metrics"]["signatures"].values())
    return (
        f"## Results on the test split, one seed\n\n{head}\n"
        + "\n".join(rows)
        + f"\n\n{signatures}."
    )


def _usage(made: dict, merged: bool) -> str:
    config = made["config"]
    base, note, auto = _name(config["backbone"]), "", made["env"]["auto_class"]
    if config["method"]["tuning"] == "full" or merged:
        loading = f'{auto}.from_pretrained("THIS_FOLDER")'
    else:
        loading = f'PeftModel.from_pretrained({auto}.from_pretrained("{base}"), "THIS_FOLDER")'
        note = "\n\nThis is an adapter: it needs its backbone" + (
            " from `r2d/base`." if base == "mini-base" else "."
        )
    if merged and config["method"]["tuning"] == "qlora":
        note = "\n\nThe results are those of the 4-bit model; these merged weights are in full precision and differ a little."
    if auto == "AutoModelForCausalLM":
        note = "\n\nA line break ends each prompt, and the answer begins after it." + note
    if _choice(made):
        note = (
            f"\n\nA case with its candidates is written `{prompts.CHOICE}`, with ` | ` between them."
            + note
        )
    return f"""## How to use it

`{loading}` with the tokenizer beside it. Prompts, cut at {config["limits"][0]} tokens:

- label: `{prompts.PREDICT}`
- rationale: `{prompts.EXPLAIN_LABEL if _given_label(config) else prompts.EXPLAIN}`{note}"""


def _given_label(config: dict) -> bool:
    method = config["method"]
    return objective.named(method["objective"], method["objective_overrides"]).names_label


def _settings(made: dict) -> str:
    env = made["env"]
    shown = {
        "seed": made["config"]["seed"],
        "train": made["config"]["train"],
        "lora": made["config"]["lora"],
    }
    packages = ", ".join(
        f"{name} {version}" for name, version in env["packages"].items() if version != "absent"
    )
    return f"""## Settings and environment

```yaml
{yaml.safe_dump(shown, sort_keys=False).strip()}
```

Python {env["python"]}, {packages}; {env["kind"].split(":")[0]}; commit {env["commit"]};
{json.dumps(env["training"]["seconds"])} seconds of training, {env["training"]["steps"]} steps."""


def _limits(made: dict) -> str:
    medical = (
        ""
        if made["config"]["dataset"]["card"] == "table"
        else " It is no medical device and gives no medical advice."
    )
    return f"""## Intended use and limits

For research and teaching: comparing how models decide and explain.{medical} Do not let it decide about people unattended.

- Learned from one dataset; elsewhere its labels and its confidence mean little until they are measured there.
- A rationale is text that goes with the label. It can be fluent and wrong, and it is no proof of how the label came about.
- A model can repeat parts of what it was trained on: if the training texts were confidential, so are these weights.
- One seed; intervals cover the test cases, not the chance of training."""
