"""One run: a method on a dataset with a seed, from recipe to a finished run directory."""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import yaml
from safetensors import SafetensorError

from r2d import R2DError, config, data, objective, paths, readers
from r2d.config import Recipe
from r2d.objective import OBJECTIVES

# Not `config`: what a recipe means for a run is in the run's settings.
TRAINING_CODE = ("assets", "backbone", "baselines", "batches", "checkpoint", "corpora", "data", "decode", "env", "model",
                 "objective", "prompts", "readers", "records", "run", "splits", "train", "triage")  # fmt: skip
METRIC_CODE = ("assets", "bertscore", "metrics", "stats")
CHAT_CODE = ("assets", "backbone", "decode", "llm_local", "logits", "model", "objective")  # that of answers computed here


@lru_cache
def code_hash(modules: tuple[str, ...]) -> str:
    """Twelve hex digits over the source of package modules (or of other files of it); with `data`, also cards and the base."""
    files = [paths.PACKAGE / (m if "." in m else f"{m}.py") for m in modules]
    if "data" in modules:
        files += sorted(paths.CARDS.glob("*.yaml")) + sorted(p for p in paths.BASE.glob("*.*") if p.suffix != ".md")
    return hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()[:12]


def digest(*parts) -> str:
    """Twelve hex digits over values as JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def settings(recipe: Recipe, dataset: str, method: str, seed: int) -> dict:
    """All that decides a run's model and predictions: the `config.yaml` of its directory."""
    chosen = recipe.methods[method]
    trained = chosen.objective in OBJECTIVES
    backbone = (chosen.backbone or recipe.backbone) if trained else None
    source = recipe.data(dataset, method).model_dump(mode="json", exclude={"optional", "methods", "seeds"})
    return {
        "profile": recipe.profile,
        "dataset": {"name": dataset, **source},
        "method": {"name": method, **chosen.model_dump(mode="json", exclude={"title"})},
        "seed": seed,
        "backbone": backbone,
        "backbone_content": readers.fingerprint(Path(backbone)) if backbone and Path(backbone).is_dir() else None,
        "limits": list(recipe.limits(dataset)),
        "lora": recipe.lora.model_dump() if chosen.tuning != "full" else None,
        "train": recipe.training(method, dataset).model_dump() if trained else None,
        "decode": recipe.decode.model_dump(),
        "init": settings(recipe, dataset, chosen.init, seed) if chosen.init else None,
        "content": data.content(recipe.data(dataset, method)),
        "code": code_hash(TRAINING_CODE),
    }


def data_key(recipe: Recipe, dataset: str) -> str:
    """Changes when the dataset's settings or the code that reads it change."""
    own = recipe.datasets[dataset]
    return digest(own.model_dump(mode="json"), data.content(own), code_hash((*TRAINING_CODE, "describe")))


def key(recipe: Recipe, dataset: str, method: str, seed: int) -> str:
    """Changes when anything that decides the run or its metrics changes, of which stage 1 has none; the workflow compares it."""
    goal = OBJECTIVES.get(recipe.methods[method].objective)
    measured = [recipe.metrics.model_dump(), code_hash(METRIC_CODE)] if goal is None or goal.decides else []
    return digest(settings(recipe, dataset, method, seed), *measured)


def execute(recipe: Recipe, dataset: str, method: str, seed: int) -> Path:
    """Do the run unless it is finished, resume it if it was killed; returns its directory.

    A finished run made under other settings, or of other data, is replaced only when the new one is whole. When only the
    metrics' code or settings changed, only `metrics.json` is made again. Raises `R2DError` while another process does it.
    """
    for name, known in ((dataset, recipe.datasets), (method, recipe.methods)):
        if name not in known:
            raise R2DError(f"Profile {recipe.profile} has no {name!r}; choose one of {', '.join(known)}.")
    out, run_key = paths.run(recipe.profile, dataset, method, seed), key(recipe, dataset, method, seed)
    part, wanted = out.with_name(f".{out.name}.part"), settings(recipe, dataset, method, seed)
    try:
        if _same(out / "config.yaml", wanted) and not _stale(out / "metrics.json", run_key):
            return out
        with _alone(out):
            whole = _same(part / "config.yaml", wanted)  # killed before it had its name; looked at first, as that may come now
            if not _same(out / "config.yaml", wanted):
                if not whole:
                    _fill(recipe, dataset, method, seed, part, wanted)
                if _is_main_process():
                    _name(part, out)
            if _is_main_process() and _stale(out / "metrics.json", run_key):
                _write_metrics(recipe, out, run_key)
    except (OSError, SafetensorError) as error:
        raise R2DError(
            f"{out} could not be written ({error}); free space there or set R2D_HOME to another disk, then rerun."
        ) from error
    return out


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the run's lock, which ends with the process however it ends; its other processes follow the main one."""
    if not _is_main_process():
        yield
        return
    lock = out.with_name(f".{out.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise R2DError(f"Another process is at work on {out}: wait for it or stop it, then rerun.") from None
        except OSError:  # a shared disk without locks
            pass
        yield


def _fill(recipe: Recipe, dataset: str, method: str, seed: int, part: Path, wanted: dict) -> None:
    """Train, predict and measure into an unfinished directory; `config.yaml` comes last and says that it is whole."""
    (part / "config.yaml").unlink(missing_ok=True)
    _train_and_predict(recipe, dataset, method, seed, part, wanted)
    if _is_main_process():
        _write_metrics(recipe, part, key(recipe, dataset, method, seed))
        paths.write(part / "config.yaml", yaml.safe_dump(wanted, sort_keys=False))


def _name(part: Path, out: Path) -> None:
    """Give a whole run its name; an earlier one stays until then."""
    shutil.rmtree(part / "checkpoints", ignore_errors=True)
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    part.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def read(folder: Path) -> dict:
    """`config`, `env`, `metrics`, `log` and `predictions` of a finished run."""
    if not (folder / "metrics.json").is_file():
        raise R2DError(f"There is no finished run at {folder}; run its notebook or `./run_all.sh` first.")
    return {
        "config": yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")),
        "env": json.loads((folder / "env.json").read_text(encoding="utf-8")),
        "metrics": json.loads((folder / "metrics.json").read_text(encoding="utf-8")),
        "log": _lines(folder / "log.jsonl"),
        "predictions": _lines(folder / "predictions.jsonl"),
    }


def load_decoder(folder: Path):
    """The trained model of a finished run, ready to decode; returns (decoder, objective)."""
    from r2d import model
    from r2d.decode import Decoder
    from r2d.settings import LoraSettings

    found = read(folder)
    made, method, labels = found["config"], found["config"]["method"], found["env"]["labels"]
    tokenizer = model.load_tokenizer(str(folder / "model"))
    net = model.load(made["backbone"], method["tuning"], LoraSettings(**made["lora"] or {}), 0.0, folder / "model")
    goal = objective.named(method["objective"], method["objective_overrides"])
    return Decoder(net, tokenizer, labels, tuple(made["limits"]), made["decode"]["batch"]), goal


def _train_and_predict(recipe: Recipe, dataset: str, method: str, seed: int, part: Path, wanted: dict) -> None:
    """Fill the unfinished directory with model, log, predictions and env."""
    from r2d import baselines, decode, env

    env.seed_everything(seed)
    part.mkdir(parents=True, exist_ok=True)
    loaded = data.load(dataset, recipe.data(dataset, method))
    began = time.perf_counter()
    record = {"note": recipe.note, "title": recipe.methods[method].title}
    record |= {"dataset_fingerprint": loaded.fingerprint, "dropped_rows": loaded.dropped, "labels": loaded.labels}
    if wanted["train"] is None:
        texts = baselines.ROWS[recipe.methods[method].objective](loaded.train, loaded.test, seed)
        rows = [decode.row(r, label, [label]) for r, label in zip(loaded.test, texts, strict=True)]
        record |= {"test_seconds": time.perf_counter() - began, "probe_seconds": 0.0}
    else:
        rows, more = _neural(recipe, method, wanted, loaded, part)
        record |= more
    peaks = env.peak_memory_mb(), record.get("training", {}).get("peak_memory_mb", 0)
    record |= {"peak_memory_mb": max(peaks), "test_cases": len(rows)}
    if _is_main_process():
        paths.write_lines(part / "predictions.jsonl", rows)
        paths.write(part / "env.json", json.dumps({**env.describe(), **record}, indent=1))


def _neural(recipe: Recipe, method: str, wanted: dict, loaded, part: Path) -> tuple[list[dict], dict]:
    """Train one network and decode the test set; (predictions, what env.json records)."""
    from r2d import model
    from r2d.decode import Decoder
    from r2d.train import Trainer

    chosen, seed, dataset = recipe.methods[method], wanted["seed"], wanted["dataset"]["name"]
    goal, train = objective.named(chosen.objective, chosen.objective_overrides), recipe.training(method, dataset)
    tokenizer = model.load_tokenizer(wanted["backbone"])
    init = _start(recipe, dataset, chosen.init, seed) if chosen.init else None
    net = model.load(wanted["backbone"], chosen.tuning, recipe.lora, train.dropout, init)
    decoder = Decoder(net, tokenizer, loaded.labels, recipe.limits(dataset), recipe.decode.batch)
    trainer = Trainer(net, decoder, goal, train, seed, part, digest(wanted, loaded.fingerprint))
    outcome = trainer.fit(loaded.train, loaded.validation, f"{dataset} {method} seed {seed}")
    if not _is_main_process():
        return [], {}
    model.save(net, tokenizer, wanted["backbone"], part / "model")
    more = {"training": outcome, "auto_class": decoder.net.auto, **model.count(net)}
    began = time.perf_counter()
    rows = decoder.predict(loaded.test, goal, recipe.decode.labels) if goal.decides else []
    tested = time.perf_counter()
    if rows and goal.explains:
        decoder.probe(loaded.test, rows, goal, recipe.decode.labels)
    more |= {"test_seconds": tested - began, "probe_seconds": time.perf_counter() - tested}
    return rows, {**more, "quantisation": "nf4, double" if chosen.tuning == "qlora" else None}


def _start(recipe: Recipe, dataset: str, first: str, seed: int) -> Path:
    """The model of the finished run that a run continues; it must have been made under the present settings."""
    folder = paths.run(recipe.profile, dataset, first, seed)
    if not _same(folder / "config.yaml", settings(recipe, dataset, first, seed)):
        raise R2DError(f"There is no finished run of {first} at {folder} under these settings; run {first} first.")
    return folder / "model"


def _write_metrics(recipe: Recipe, folder: Path, run_key: str) -> None:
    from r2d import metrics

    rows = _lines(folder / "predictions.jsonl")
    labels = json.loads((folder / "env.json").read_text(encoding="utf-8"))["labels"]
    found = metrics.evaluate(rows, labels, recipe.metrics) if rows else {}
    paths.write(folder / "metrics.json", json.dumps({"key": run_key, **found}, indent=1, allow_nan=False))


def _same(path: Path, wanted: dict) -> bool:
    return path.is_file() and yaml.safe_load(path.read_text(encoding="utf-8")) == wanted


def _stale(path: Path, run_key: str) -> bool:
    return not path.is_file() or json.loads(path.read_text(encoding="utf-8"))["key"] != run_key


def _is_main_process() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _lines(path: Path) -> list[dict]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]  # a text may hold U+2028


def main() -> int:
    """`python -m r2d.run PROFILE DATASET METHOD SEED`, also under `torchrun` or `accelerate launch`."""
    parser = argparse.ArgumentParser(prog="python -m r2d.run", description="Do one run of a recipe.")
    for name in ("profile", "dataset", "method"):
        parser.add_argument(name)
    parser.add_argument("seed", type=int)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    try:
        recipe = config.load(given.profile, config.settings_of(given.overrides))
        print(execute(recipe, given.dataset, given.method, given.seed))
    except R2DError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
