"""A run directory: what its files must hold, and whether they still are as they were written.

Damage to a finished run is refused, as only training again would mend it, and nobody trains again
unasked. Only `metrics.json` is derived from the other files.
"""

from pathlib import Path
from typing import Any

from r2d import files, hashes
from r2d.errors import R2DError

CONFIG, ENV, LOG = "config.yaml", "env.json", "log.jsonl"
METRICS, PREDICTIONS, MODEL = "metrics.json", "predictions.jsonl", "model"
CALIBRATION = "calibration.json"  # once the run is calibrated

INTERVAL = (None, [float])
MEASURE = {"value": float, "interval": INTERVAL}
SHAPES: dict[str, files.Shape] = {
    CONFIG: {
        "dataset?": {str: object},
        "method?": {str: object},
        "seed?": int,
        "backbone?": (None, str),
        "limits?": [int],
        "lora?": (None, {str: object}),
        "train?": (None, {str: object}),
        "decode?": {str: object},
        "init?": (None, {str: object}),
    },
    ENV: {
        "profile?": str,
        "title?": str,
        "labels?": (None, [str]),
        "training?": {
            "seconds?": float,
            "cpu_seconds_per_step?": float,
            "steps?": int,
            "best_step?": int,
            "target_tokens?": int,
        },
        "test_cases?": int,
        "test_seconds?": float,
        "probe_seconds?": float,
        "engine?": str,
        "latency?": {str: {"median": float, "p95": float, "cases": int}},
        "parameters?": int,
        "trainable?": int,
        "peak_memory_mb?": float,
        "dataset_fingerprint?": str,
        "packages?": {str: str},
        "device?": str,
        "kind?": str,
        "threads?": int,
        "commit?": str,
    },
    METRICS: {
        "key?": str,
        "n?": int,
        "labels?": [str],
        "metrics?": {str: MEASURE | {"n": int, "chance?": float}},
        "per_class_f1?": {str: MEASURE},
        "confusion?": [[int]],
        "reader?": {"name": str, "gold": float, "chance?": float, "n": int},
        "label_from_rationale?": {str: int},
        "signatures?": {str: str},
        "per_example?": {str: [(None, str, float)]},
    },
    LOG: {str: (None, float)},
    PREDICTIONS: {
        "id?": str,
        "gold?": str,
        "label?": str,
        "valid?": bool,
        "rationale?": str,
        "rationale_gold?": str,
        "rationale_given_gold?": str,
        "rationale_under?": {str: str},
        "label_from_rationale?": str,
        "reason?": str,
        "kind?": str,
        "facts?": str,
        "candidates?": [str],
    },
    CALIBRATION: {"temperature": float},
}


def read(folder: Path) -> dict[str, Any]:
    """`config`, `env`, `metrics`, `log` and `predictions` of a finished run directory.

    Raises `R2DError` for one that is not finished, and for the first of these that is damaged.
    """
    if not (folder / METRICS).is_file():
        raise R2DError(
            f"There is no finished run at {folder}; run its notebook or `./run_all.sh` first."
        )
    expect_whole(folder, LOG)  # which a run that trains nothing does not have
    return {
        "config": read_file(folder, CONFIG),
        "env": read_file(folder, ENV),
        "metrics": read_file(folder, METRICS),
        "log": read_file(folder, LOG) if (folder / LOG).is_file() else [],
        "predictions": read_predictions(folder),
    }


def read_file(folder: Path, name: str) -> Any:
    """What one of a run's files holds."""
    expect_whole(folder, name)
    readers = {".json": files.read_json, ".jsonl": files.read_lines, ".yaml": files.read_yaml}
    path = folder / name
    return readers[path.suffix](path, SHAPES[name], cure(folder, name))


def read_predictions(folder: Path) -> list[dict]:
    """The predictions of a run, as many as its record says that there are."""
    predictions = read_file(folder, PREDICTIONS)
    cases = read_file(folder, ENV).get("test_cases", len(predictions))
    if len(predictions) != cases:
        raise R2DError(
            f"{folder / PREDICTIONS} has {len(predictions)} predictions of {cases}; "
            f"{cure(folder, PREDICTIONS)}."
        )
    return predictions


def expect_whole(folder: Path, *names: str) -> None:
    """Raise `R2DError` for the first of these files that is not as the run wrote it.

    Without names it is all that training made.
    """
    for name in names or (CONFIG, ENV, LOG, PREDICTIONS, MODEL):
        hashes.expect_whole(folder, cure(folder, name), name)


def has_settings(folder: Path, settings: dict) -> bool:
    """Whether a run directory was made under these settings; `R2DError` where that is unknown."""
    if not hashes.are_recorded(folder) and not (folder / CONFIG).is_file():
        return False
    return read_file(folder, CONFIG) == settings


def is_whole(folder: Path, settings: dict) -> bool:
    """Whether a directory without its name yet holds all of a run with these settings."""
    if not hashes.are_recorded(folder):
        return False
    try:
        expect_whole(folder)
        return has_settings(folder, settings)
    except R2DError:
        return False


def metrics_key(folder: Path) -> str | None:
    """The key that a run's metrics were made under; None where they are damaged or not there."""
    try:
        return read_file(folder, METRICS).get("key")
    except R2DError:
        return None


def record(folder: Path) -> None:
    """Keep the hashes of a whole run's files beside them."""
    names = [CONFIG, ENV, LOG, METRICS, PREDICTIONS, CALIBRATION]
    names += [str(path.relative_to(folder)) for path in (folder / MODEL).rglob("*")]
    hashes.record(folder, [name for name in names if (folder / name).is_file()])


def cure(folder: Path, name: str) -> str:
    """What to do about a damaged file of a run."""
    if name == METRICS:
        return "delete it and rerun, which makes it again from the predictions"
    if name == CALIBRATION:
        return "delete it and calibrate the run again"
    return f"put a copy of it back, or delete {folder} and rerun to train again"
