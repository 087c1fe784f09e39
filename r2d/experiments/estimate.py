"""How long planned notebooks take: minutes from earlier records, GPU hours from arithmetic."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from r2d import files, paths
from r2d.errors import R2DError
from r2d.experiments import directory
from r2d.experiments.run import Run
from r2d.recipes import Recipe

# Parameters that a token passes: half of an encoder-decoder's, all of a decoder's. The counts are
# those of the model cards.
T5_SIZES = {"small": 7.7e7, "base": 2.48e8, "large": 7.83e8, "xl": 2.85e9}
PASSED_PARAMETERS = {
    **{f"google/t5-v1_1-{size}": count / 2 for size, count in T5_SIZES.items()},
    **{f"google/flan-t5-{size}": count / 2 for size, count in T5_SIZES.items()},
    "Qwen/Qwen3-0.6B": 6.0e8,
}
THROUGHPUT = 1e14  # operations a second
ASSUMED = """\
GPU hours are an estimate, not a measurement. Assumed: one GPU that sustains 100 TFLOP/s (a third
of an A100, bf16); every step is taken (no early stopping) and every sequence is as long as its
limit; a token passes half of the parameters of a T5 (encoder or decoder) and costs 6 operations
for each, 4 with an adapter on frozen weights; decoding is left out."""


@dataclass(frozen=True)
class PlannedJob:
    """One planned job by the workflow's name, and its expected length (None: unknown)."""

    name: str
    minutes: float | None = None
    gpu_hours: float | None = None
    source: str = "no record"


def planned(recipe: Recipe, plan: str) -> list[PlannedJob]:
    """The jobs that a dry run printed, in its order, each with its expected length."""
    names = re.findall(r"^Job \d+: (.+)$", plan, re.MULTILINE)
    return [_expected(recipe, name) for name in names]


def gpu_hours(run: Run) -> float | None:
    """Hours of training on one GPU under `ASSUMED`.

    None for a sanity row and for a backbone whose size is not known here.
    """
    objective = run.objective
    backbone = run.recipe.methods[run.method].backbone or run.recipe.backbone
    if objective is None or backbone not in PASSED_PARAMETERS:
        return None
    train = run.recipe.training(run.method, run.dataset)
    question, rationale = run.recipe.limits(run.dataset)
    tokens = 0  # of one example; labels are a few
    if objective.predicts:
        tokens += question
    if objective.explains:
        tokens += question + rationale
    operations = 6 if run.recipe.methods[run.method].tuning == "full" else 4
    passed = PASSED_PARAMETERS[backbone]
    return train.steps * train.batch * tokens * operations * passed / THROUGHPUT / 3600


def table(jobs: Sequence[PlannedJob]) -> str:
    """One line a job and the total, for the terminal."""
    if not jobs:
        return "Nothing to do: everything is up to date."
    minutes = [job.minutes for job in jobs if job.minutes is not None]
    hours = sum(job.gpu_hours or 0 for job in jobs)
    unknown = sum(job.minutes is None and job.gpu_hours is None for job in jobs)
    total = []
    if minutes:
        total.append(f"{sum(minutes):.0f} minutes by earlier records")
    if hours:
        total.append(f"{hours:.0f} GPU hours (an estimate)")
    if unknown:
        total.append(f"{unknown} of unknown length")
    lines = [f"{_length(job):>14}  {job.name:<44}  {job.source}" for job in jobs]
    lines.append(f"{len(jobs)} notebooks would run, one after the other: {', '.join(total)}.")
    if hours:
        lines.append(ASSUMED)
    return "\n".join(lines)


def _length(job: PlannedJob) -> str:
    if job.minutes is not None:
        return f"{job.minutes:.1f} min"
    return f"~{job.gpu_hours:.1f} GPU h" if job.gpu_hours else "?"


def _expected(recipe: Recipe, name: str) -> PlannedJob:
    named = re.fullmatch(r"(\S+) (\S+) seed (\d+)", name)
    if not named:
        minutes = _minutes_of_job(recipe, name)
        if minutes is None:
            return PlannedJob(name)
        return PlannedJob(name, minutes, source="earlier run")
    run = Run(recipe, named[1], named[2], int(named[3]))
    minutes, source = _minutes_by_records(run)
    if minutes is not None:
        return PlannedJob(name, minutes, source=source)
    hours = gpu_hours(run)
    if not hours:
        return PlannedJob(name)
    return PlannedJob(name, None, hours, "from parameters and tokens")


def _minutes_of_job(recipe: Recipe, name: str) -> float | None:
    """Minutes of a notebook that carries no run, when it was last executed."""
    for home in _homes(recipe):
        minutes = _minutes_of_notebook(home / "notebooks" / f"{name.replace(' ', '-')}.ipynb")
        if minutes is not None:
            return minutes
    return None


def _minutes_by_records(run: Run) -> tuple[float | None, str]:
    """Minutes of this run when it was last made, else of its other seeds, else of other datasets.

    The mean where there are several; with it where the record comes from.
    """
    patterns = {
        f"{run.dataset}/{run.method}/seed{run.seed}": "earlier run",
        f"{run.dataset}/{run.method}/seed*": "other seeds",
        f"*/{run.method}/seed*": "another dataset",
    }
    for home in _homes(run.recipe):
        for pattern, source in patterns.items():
            records = [_minutes_of_run(home, folder) for folder in sorted(home.glob(pattern))]
            minutes = [record for record in records if record is not None]
            if minutes:
                return mean(minutes), source
    return None, ""


def _homes(recipe: Recipe) -> list[Path]:
    """Where records may be: the profile's runs, and those of the shipped profile it changes."""
    shipped = recipe.profile.partition("+")[0]
    return [paths.runs(name) for name in dict.fromkeys((recipe.profile, shipped))]


def _minutes_of_run(home: Path, folder: Path) -> float | None:
    """What `env.json` records of training and test, or the notebook's time where that is longer."""
    try:
        record = directory.read_file(folder, directory.ENV)
    except R2DError:
        return None
    seconds = record.get("training", {}).get("seconds", 0)
    seconds += record.get("test_seconds", 0) + record.get("probe_seconds", 0)
    dataset, method, seed = folder.parts[-3:]
    executed = home / "notebooks" / f"{dataset}-{method}-{seed}.ipynb"
    return max(seconds / 60, _minutes_of_notebook(executed) or 0)


def _minutes_of_notebook(path: Path) -> float | None:
    """What papermill wrote into an executed notebook."""
    shape = {"metadata": {"papermill": {"duration": (None, float)}}}
    try:
        executed = files.read_json(path, shape, "run it again")
    except R2DError:
        return None
    seconds = executed["metadata"]["papermill"]["duration"]
    return None if seconds is None else seconds / 60
