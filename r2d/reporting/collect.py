"""From finished runs to rows: every number is read from a run directory, never typed."""

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from r2d import hashes, paths
from r2d.data.describe import OPEN
from r2d.experiments import directory
from r2d.experiments.run import Run
from r2d.recipes import Recipe
from r2d.reporting import comparisons, undertrained
from r2d.reporting.tables import TOTALS

INTERVALS = {"macro_f1": "macro_f1", "accuracy": "correct"}  # by their column of `per_example`
INTERVALS |= {name: name for name in comparisons.RATIONALES}
TRAINING = ("steps", "target_tokens", "best_step", "seconds", "seconds_per_step")
TRAINING += ("cpu_seconds_per_step",)
NOTE = {"title": str, "synthetic": bool, "source": str, "counts": {str: int}}


def dataset(recipe: Recipe, name: str) -> dict:
    """What notebook 01 noted of a dataset: title, source, sizes, and whether it is synthetic."""
    file, cure = data_file(recipe, name), "delete it and rerun, which makes it again"
    return hashes.read_sealed(file, NOTE, cure)


def data_file(recipe: Recipe, name: str) -> Path:
    """Where that is noted."""
    return paths.runs(recipe.profile) / name / "data.json"


def runs(chosen: Sequence[Run]) -> pd.DataFrame:
    """One row a run: its names, every measure with its interval over examples, and what it cost.

    Times are in seconds, memory in MB; `device` is cpu or cuda. A run without the measure, or
    without training, has an empty cell. `steps` are those that were trained, which early stopping
    may keep below those that were given; `total_steps` and `total_target_tokens` take in the
    stage 1 that a run goes on from, and are empty where that is not there.

    `<measure>_method_low` and `_method_high` are the interval of the method's mean over these runs,
    seeds and examples random (`comparisons.interval`), of the measures that are compared. Raises
    `R2DError` naming a run that is not finished.
    """
    rows, measured = [], defaultdict(list)
    for run in chosen:
        finished = run.read()
        rows.append(_row(run, finished))
        if finished["metrics"].get("metrics"):
            measured[run.dataset, run.method].append(finished["metrics"])
    intervals = {names: _method_intervals(metrics) for names, metrics in measured.items()}
    return pd.DataFrame([row | intervals.get((row["dataset"], row["method"]), {}) for row in rows])


def _method_intervals(measured: Sequence[dict]) -> dict:
    cells = {}
    for name, column in INTERVALS.items():
        low, high = comparisons.interval(measured, column) or (math.nan, math.nan)
        cells |= {f"{name}_method_low": low, f"{name}_method_high": high}
    return cells


def _row(run: Run, finished: dict) -> dict:
    env = finished["env"]
    training = env.get("training", {})
    cases = env["test_cases"]
    row = {
        "profile": run.recipe.profile,
        "dataset": run.dataset,
        "method": run.method,
        "title": run.title,
        "seed": run.seed,
        "tuning": run.recipe.methods[run.method].tuning if training else "",
        "precision": (finished["config"].get("train") or {}).get("precision", ""),
        "test_cases": cases,
    }
    for name in ("accuracy", "macro_f1", "invalid_rate"):  # empty cells where labels are open
        row |= dict.fromkeys((name, f"{name}_low", f"{name}_high"), math.nan)
    for name, measure in finished["metrics"].get("metrics", {}).items():
        row[name] = measure["value"]
        row[f"{name}_low"], row[f"{name}_high"] = measure["interval"] or (None, None)
        if "chance" in measure:
            row[f"{name}_chance"] = measure["chance"]
    for name in ("parameters", "trainable", "peak_memory_mb"):
        row[name] = env.get(name)
    for name in TRAINING:
        row[name] = training.get(name, math.nan)
    row |= _totals(run, training)
    row |= reader_cells(finished["metrics"])
    row["undertrained"] = undertrained.still_climbing(finished["log"])
    row["device"] = env.get("kind")
    row["seconds_per_case"] = env["test_seconds"] / cases if cases else None
    alone = env.get("latency", {}).get(env.get("engine"), {})
    for name in ("median", "p95"):
        row[f"latency_{name}"] = alone.get(name, math.nan)
    return row


def _totals(run: Run, training: dict) -> dict:
    """What a run and the stage 1 that it goes on from were trained for, together."""
    stages = [training]
    if training and run.start:
        there = run.start.folder.is_dir()
        env = directory.read_file(run.start.folder, directory.ENV) if there else {}
        stages.append(env.get("training", {}))
    return {
        total: sum(stage.get(name, math.nan) for stage in stages) for total, name in TOTALS.items()
    }


def reader_cells(metrics: dict) -> dict:
    """A row's cells of what read the rationales, if anything did: its name, accuracy on gold ones.

    `reader_chance` is that accuracy if the labels were dealt out at random.
    """
    if "reader" not in metrics:
        return {}
    reader = metrics["reader"]
    names = {"reader": reader["name"], "reader_on_gold": reader["gold"]}
    return names | {"reader_chance": reader.get("chance", math.nan)}


def latencies(chosen: Sequence[Run]) -> pd.DataFrame:
    """Seconds from one case to its label and rationale: one row a run and engine.

    `used` says whether that engine decoded the run's test set.
    """
    rows = []
    for run in chosen:
        env = run.read()["env"]
        for engine, seconds in env.get("latency", {}).items():
            known = {"parameters": env["parameters"], "engine": engine, **seconds}
            rows.append(run.names | known | {"used": engine == env["engine"]})
    columns = ["dataset", "method", "seed", "parameters", "engine", "median", "p95", "cases"]
    return pd.DataFrame(rows, columns=[*columns, "used"])


def per_class(chosen: Sequence[Run]) -> pd.DataFrame:
    """F1 of every class of every run: one row a run and label."""
    rows = []
    for run in chosen:
        classes = run.read()["metrics"].get("per_class_f1", {})
        rows += [run.names | {"label": name, "f1": f1["value"]} for name, f1 in classes.items()]
    return pd.DataFrame(rows, columns=["dataset", "method", "seed", "label", "f1"])


def curves(chosen: Sequence[Run]) -> pd.DataFrame:
    """The training logs: one row a logged step, with losses, schedules and validation scores."""
    logs = [(run, run.read()["log"]) for run in chosen]
    frames = [pd.DataFrame(log).assign(**run.names) for run, log in logs if log]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def confusion(run: Run) -> pd.DataFrame:
    """Confusion counts of one run: rows gold, columns predicted, the last one invalid labels.

    Open labels have no classes: they are counted as right and wrong.
    """
    metrics = run.read()["metrics"]
    labels = metrics["labels"]
    if not labels:
        correct = metrics["per_example"]["correct"]
        counts = [sum(correct), len(correct) - sum(correct)]
        return pd.DataFrame([counts], index=[OPEN], columns=["right", "wrong"])
    return pd.DataFrame(metrics["confusion"], index=labels, columns=[*labels, "invalid"])


def signatures(chosen: Sequence[Run]) -> dict[str, str]:
    """Every measure's signature as the runs recorded it, with the dataset where they differ."""
    recorded: dict[str, dict[str, None]] = {}
    datasets: dict[str, str] = {}
    for run in chosen:
        for name, signature in run.read()["metrics"].get("signatures", {}).items():
            recorded.setdefault(name, {})[signature] = None
            datasets[signature] = run.dataset
    return {
        name: "; ".join(
            signature if len(found) == 1 else f"on {datasets[signature]}: {signature}"
            for signature in found
        )
        for name, found in recorded.items()
    }
