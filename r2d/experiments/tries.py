"""Learning rates that were tried: what each method reached on validation, and which is taken."""

import csv
import io
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from r2d import paths
from r2d.errors import R2DError
from r2d.experiments import directory, grid
from r2d.experiments.run import Run
from r2d.recipes import Recipe

COLUMNS = (
    "dataset",
    "method",
    "lr",
    "seed",
    "score",
    "validation",
    "best_step",
    "steps",
    "best",
    "machine",
)


def collect(recipe: Recipe) -> list[dict[str, Any]]:
    """A row a finished run of the recipe, or of one that differs from it in learning rates alone.

    Tries of an earlier version of the code count. Only seeds of which more than one rate was tried
    are listed, by method, rate and seed. `validation` is the best score on the validation split
    that `score` names; `best` marks the rate of a method with the highest mean of them, among the
    rates that were tried with most seeds; of means that are equal to a hundredth, the lowest rate.
    No test case is looked at.
    """
    tried = defaultdict(list)
    for run in grid.with_starts(grid.runs(recipe, list(recipe.experiments))):
        if run.objective is not None:
            rows = {row["lr"]: row for row in (_row(run, folder) for folder in _twins(run))}
            if len(rows) > 1:
                tried[run.dataset, run.method] += rows.values()
    listed = []
    for _, rows in sorted(tried.items()):
        best = _best(rows)
        for row in sorted(rows, key=lambda row: (row["lr"], row["seed"])):
            listed.append(row | {"best": "x" if row["lr"] == best else ""})
    return listed


def _best(rows: list[dict[str, Any]]) -> float:
    scores = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["lr"]):
        scores[row["lr"]].append(row["validation"])
    most = max(map(len, scores.values()))
    means = {rate: round(fmean(each), 2) for rate, each in scores.items() if len(each) == most}
    return max(means, key=means.__getitem__)


def ship(recipe: Recipe) -> Path:
    """Keep the table of tries beside the recipe; raises `R2DError` where there are none."""
    rows = collect(recipe)
    if not rows:
        raise R2DError(
            f"No second learning rate of {recipe.profile} was run here: do so first, e.g. "
            f"`./run_all.sh {recipe.profile} --set train.common.lr=0.001`."
        )
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path = place(recipe.profile)
    path.parent.mkdir(exist_ok=True)
    paths.write(path, table.getvalue())
    return path


def place(profile: str) -> Path:
    """Where a profile's table of tries is kept."""
    return paths.RECIPES / "tries" / f"{paths.named(profile)}.csv"


def _twins(run: Run) -> list[Path]:
    """Finished directories of the run with other learning rates, then as the recipe has it."""
    own = run.recipe.profile
    places = paths.runs(own).parent.glob(f"{own}*")
    names = (run.dataset, run.method, f"seed{run.seed}")
    ordered = sorted(places, key=lambda place: (place.name == own, place.name))
    folders = [place.joinpath(*names) for place in ordered]
    wanted = _compared(run.settings)
    return [folder for folder in folders if _settings(folder) == wanted]


def _settings(folder: Path) -> dict | None:
    if not (folder / directory.METRICS).is_file():
        return None
    return _compared(directory.read_file(folder, directory.CONFIG))


def _compared(settings: Any) -> Any:
    """Settings, and in them those of the stage 1, without learning rates and the code's version."""
    if not isinstance(settings, dict):
        return settings
    return {key: _compared(value) for key, value in settings.items() if key not in ("lr", "code")}


def _row(run: Run, folder: Path) -> dict[str, Any]:
    settings = directory.read_file(folder, directory.CONFIG)
    record = directory.read_file(folder, directory.ENV)
    trained = record["training"]
    return {
        **run.names,
        "lr": settings["train"]["lr"],
        "score": trained["score"],
        "validation": round(trained["best_score"], 4),
        "best_step": trained["best_step"],
        "steps": trained["steps"],
        "machine": record["device"],
    }
