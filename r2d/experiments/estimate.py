"""How long a planned run of the workflow takes: minutes from earlier records, GPU hours from parameters and tokens.

snakemake ... --dry-run | python -m r2d.estimate PROFILE [--overrides JSON]
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from r2d import paths, recipes
from r2d.errors import R2DError
from r2d.experiments.grid import Run
from r2d.method.objective import OBJECTIVES, named
from r2d.recipes import Recipe

PASSED = (
    {  # parameters that a token passes: half of an encoder-decoder's, all of a decoder's; counts from their model cards
        f"google/{family}-{size}": count / 2
        for family in ("t5-v1_1", "flan-t5")
        for size, count in {"small": 7.7e7, "base": 2.48e8, "large": 7.83e8, "xl": 2.85e9}.items()
    }
    | {"Qwen/Qwen3-0.6B": 6.0e8}
)
THROUGHPUT = 1e14  # operations a second
ASSUMED = """GPU hours are an estimate, not a measurement. Assumed: one GPU that sustains 100 TFLOP/s (a third of an A100, bf16);
every step is taken (no early stopping) and every sequence is as long as its limit; a token passes half of the parameters of
a T5 (encoder or decoder) and costs 6 operations for each, 4 with an adapter on frozen weights; decoding is left out."""


@dataclass(frozen=True)
class Job:
    """One planned job: what the workflow calls it, its run if it is one, and its expected length (None: unknown)."""

    name: str
    run: Run | None
    minutes: float | None = None
    gpu_hours: float | None = None
    source: str = "no record"


def planned(recipe: Recipe, plan: str) -> list[Job]:
    """The jobs of a dry run, in its order, each with its expected length."""
    return [_expected(recipe, name) for name in re.findall(r"^Job \d+: (.+)$", plan, re.MULTILINE)]


def _expected(recipe: Recipe, name: str) -> Job:
    found = re.fullmatch(r"(\S+) (\S+) seed (\d+)", name)
    which = (found[1], found[2], int(found[3])) if found else None
    minutes, source = _run_record(recipe, which) if which else _notebook_record(recipe, name)
    if minutes is not None:
        return Job(name, which, minutes=minutes, source=source)
    hours = gpu_hours(recipe, *which[:2]) if which else None
    return Job(
        name, which, gpu_hours=hours, source="from parameters and tokens" if hours else "no record"
    )


def _homes(recipe: Recipe) -> list[Path]:
    """Where records may be: the profile's runs, and those of the shipped profile that it changes."""
    return [
        paths.runs(name)
        for name in dict.fromkeys((recipe.profile, recipe.profile.partition("+")[0]))
    ]


def _run_record(recipe: Recipe, which: Run) -> tuple[float | None, str]:
    """Minutes of this run when it was last made, else the mean over its method's other seeds, else other datasets."""
    dataset, method, seed = which
    for home in _homes(recipe):
        for pattern, source in (
            (f"{dataset}/{method}/seed{seed}", "earlier run"),
            (f"{dataset}/{method}/seed*", "other seeds"),
            (f"*/{method}/seed*", "another dataset"),
        ):
            minutes = [
                m
                for folder in sorted(home.glob(pattern))
                if (m := _minutes_of_run(home, folder)) is not None
            ]
            if minutes:
                return mean(minutes), source
    return None, ""


def _minutes_of_run(home: Path, folder: Path) -> float | None:
    """What `env.json` records for training and test, or the executed notebook's time where that is longer (it holds all)."""
    try:
        made = json.loads((folder / "env.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    seconds = (
        made.get("training", {}).get("seconds", 0)
        + made.get("test_seconds", 0)
        + made.get("probe_seconds", 0)
    )
    executed = (
        home / "notebooks" / f"{folder.parts[-3]}-{folder.parts[-2]}-{folder.parts[-1]}.ipynb"
    )
    return max(seconds / 60, _minutes_of_notebook(executed) or 0)


def _notebook_record(recipe: Recipe, name: str) -> tuple[float | None, str]:
    for home in _homes(recipe):
        minutes = _minutes_of_notebook(home / "notebooks" / f"{name.replace(' ', '-')}.ipynb")
        if minutes is not None:
            return minutes, "earlier run"
    return None, ""


def _minutes_of_notebook(path: Path) -> float | None:
    """What papermill wrote into an executed notebook."""
    try:
        seconds = json.loads(path.read_text(encoding="utf-8"))["metadata"]["papermill"]["duration"]
    except (OSError, ValueError, KeyError):
        return None
    return None if seconds is None else seconds / 60


def gpu_hours(recipe: Recipe, dataset: str, method: str) -> float | None:
    """Hours of training on one GPU under `ASSUMED`; None for a sanity row or a backbone whose size is not known here."""
    chosen = recipe.methods[method]
    passed = PASSED.get(chosen.backbone or recipe.backbone)
    if passed is None or chosen.objective not in OBJECTIVES:
        return None
    goal, train = (
        named(chosen.objective, chosen.objective_overrides),
        recipe.training(method, dataset),
    )
    question, rationale = recipe.limits(dataset)
    tokens = goal.predicts * question + goal.explains * (
        question + rationale
    )  # of one example; labels are a few tokens
    operations = (6 if chosen.tuning == "full" else 4) * passed
    return train.steps * train.batch * tokens * operations / THROUGHPUT / 3600


def table(jobs: Sequence[Job]) -> str:
    """One line a job and the total, for the terminal."""
    if not jobs:
        return "Nothing to do: everything is up to date."
    lines = [f"{_length(job):>14}  {job.name:<44}  {job.source}" for job in jobs]
    minutes, hours = sum(j.minutes or 0 for j in jobs), sum(j.gpu_hours or 0 for j in jobs)
    unknown = sum(j.minutes is None and j.gpu_hours is None for j in jobs)
    total = (
        [f"{minutes:.0f} minutes by earlier records"]
        if any(j.minutes is not None for j in jobs)
        else []
    )
    total += [f"{hours:.0f} GPU hours (an estimate)"] if hours else []
    total += [f"{unknown} of unknown length"] if unknown else []
    lines.append(f"{len(jobs)} notebooks would run, one after the other: {', '.join(total)}.")
    return "\n".join(lines + ([ASSUMED] if hours else []))


def _length(job: Job) -> str:
    if job.minutes is not None:
        return f"{job.minutes:.1f} min"
    return f"~{job.gpu_hours:.1f} GPU h" if job.gpu_hours else "?"


def main() -> int:
    """Reads a dry run's output from standard input."""
    parser = argparse.ArgumentParser(
        prog="python -m r2d.estimate", description="Expected length of a planned run."
    )
    parser.add_argument("profile")
    parser.add_argument("--overrides", type=json.loads, default={}, metavar="JSON")
    given = parser.parse_args()
    try:
        print(table(planned(recipes.load(given.profile, given.overrides), sys.stdin.read())))
    except R2DError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
