"""How long planned notebooks take: minutes from records, GPU hours from arithmetic."""

import heapq
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from r2d import paths
from r2d.errors import R2DError
from r2d.experiments import directory, durations, grid
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
THROUGHPUT = 4e13  # operations a second
ASSUMED = """\
GPU hours are an estimate, not a measurement. Assumed: one GPU that sustains 40 TFLOP/s (a few
steps of stage 2 on an NVIDIA H200 in bf16, by this count: T5-Large 44, Base 30, Small 15); every
step is taken (no early stopping) and every sequence is as long as its limit; a token passes half of
the parameters of a T5 (encoder or decoder) and costs 6 operations for each, 4 with an adapter on
frozen weights; decoding of validation and test is left out."""

NOTEBOOK = 10.0  # seconds around a finished run: the mean of mini's, without training and test
EARLIER = "earlier run"
RUN = re.compile(r"(\S+) (\S+) seed (\d+)")
TABLES, CURVES = "06_automatic_metrics", "10_when_rationales_help"
LAST = (TABLES, CURVES, "08_figures", "00_overview", "report")  # after all runs


@dataclass(frozen=True)
class PlannedJob:
    """One planned job by the workflow's name, and its expected length (None: unknown)."""

    name: str
    seconds: float | None = None
    gpu_hours: float | None = None
    source: str = "no record"


def planned(recipe: Recipe, plan: str) -> list[PlannedJob]:
    """The jobs that a dry run printed, in its order, each with its expected length.

    A run that needs no training, as it is finished here or by the recipe that this one changes,
    takes what its notebook does besides.
    """
    records = _Records(recipe)
    names = re.findall(r"^Job \d+: (.+)$", plan, re.MULTILINE)
    return [records.trained(name) or records.expected(name) for name in names]


def whole(
    recipe: Recipe, experiments: Sequence[str], with_shipped: bool = True
) -> list[PlannedJob]:
    """All jobs of these experiments, whether they are out of date or not, with their lengths.

    Without `with_shipped` only this machine's records count.
    """
    runs = grid.to_train(recipe, experiments)
    names = [f"01_data {dataset}" for dataset in grid.datasets(recipe, experiments)]
    names += map(str, runs)
    names += ["05_zero_shot_llms"] if grid.with_llms(recipe, experiments) else []
    names += ["07_llm_judge"] if grid.judged(recipe, experiments) else []
    left_out = set() if grid.in_tables(experiments) else {TABLES}
    left_out |= set() if grid.with_curves(experiments) else {CURVES}
    names += [name for name in LAST if name not in left_out]
    records = _Records(recipe, with_shipped)
    return [records.expected(name) for name in names]


def until_done(seconds: Iterable[tuple[str, float]], at_a_time: int) -> float:
    """Seconds until all jobs, given as (name, seconds), are done with so many at a time."""
    ends, last = [0.0] * at_a_time, 0.0
    for name, length in sorted(seconds, key=lambda job: -job[1]):
        if name in LAST:
            last += length
        else:
            heapq.heapreplace(ends, ends[0] + length)
    return max(ends) + last


def ship(recipe: Recipe) -> Path:
    """Make this machine's finished run of a profile the record that is shipped; its path."""
    jobs = whole(recipe, list(recipe.experiments), with_shipped=False)
    missing = [job.name for job in jobs if job.source != EARLIER]
    if missing:
        raise R2DError(
            f"{paths.runs(recipe.profile)} has no record of {', '.join(missing)}: run all of it "
            f"first, with `./run_all.sh {recipe.profile}`."
        )
    return durations.ship(recipe.profile, {job.name: job.seconds for job in jobs})


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


def table(jobs: Sequence[PlannedJob], at_a_time: int) -> str:
    """One line a job and the total with so many at a time, for the terminal."""
    if not jobs:
        return "Nothing to do: everything is up to date."
    known = [(job.name, job.seconds) for job in jobs if job.seconds is not None]
    hours = sum(job.gpu_hours or 0 for job in jobs)
    unknown = sum(job.seconds is None and job.gpu_hours is None for job in jobs)
    total = []
    if known:
        minutes = max(1, round(until_done(known, at_a_time) / 60))
        sources = dict.fromkeys(job.source.split(",")[0] for job in jobs if job.seconds is not None)
        total.append(f"about {minutes} minutes, {at_a_time} at a time, by {' and '.join(sources)}")
    if hours:
        total.append(f"{hours:.0f} GPU hours (an estimate)")
    if unknown:
        total.append(f"{unknown} of unknown length")
    lines = [f"{_length(job):>14}  {job.name:<44}  {job.source}" for job in jobs]
    lines.append(f"{len(jobs)} notebooks would run: {'; '.join(total)}.")
    if hours:
        lines.append(ASSUMED)
    return "\n".join(lines)


def _length(job: PlannedJob) -> str:
    if job.seconds is not None:
        return f"{job.seconds / 60:.1f} min"
    return f"~{job.gpu_hours:.1f} GPU h" if job.gpu_hours else "?"


class _Records:
    """What is known of a profile's jobs.

    First by this machine, of the profile and of the shipped one that it changes; then by what is
    shipped.
    """

    def __init__(self, recipe: Recipe, with_shipped: bool = True):
        self.recipe = recipe
        base = recipe.profile.partition("+")[0]
        homes = [paths.runs(name) for name in dict.fromkeys((recipe.profile, base))]
        self.known = [(EARLIER, _of_home(home)) for home in homes]
        self.shipped = durations.shipped(base) if with_shipped else None
        if self.shipped:
            self.source = f"shipped record ({self.shipped.machine})"
            self.known.append((self.source, self.shipped.seconds))

    def trained(self, name: str) -> PlannedJob | None:
        """A run's notebook without training and test, where both are done."""
        run = RUN.fullmatch(name)
        if not run or not Run(self.recipe, run[1], run[2], int(run[3])).trained:
            return None
        seconds = min(NOTEBOOK, self.expected(name).seconds or NOTEBOOK)
        return PlannedJob(name, seconds, source=f"{EARLIER}, trained already")

    def expected(self, name: str) -> PlannedJob:
        """A job by its name; the mean of its kind where there are several."""
        run = RUN.fullmatch(name)
        kinds = {re.escape(name): ""}
        if name.startswith("01_data "):
            kinds[r"01_data \S+"] = ", another dataset"
        if run:
            dataset, method = re.escape(run[1]), re.escape(run[2])
            kinds[rf"{dataset} {method} seed \d+"] = ", other seeds"
            kinds[rf"\S+ {method} seed \d+"] = ", another dataset"
        for source, seconds in self.known:
            for kind, remark in kinds.items():
                length = _mean(seconds, kind)
                if length is not None:
                    return PlannedJob(name, length, source=f"{source}{remark}")
        hours = gpu_hours(Run(self.recipe, run[1], run[2], int(run[3]))) if run else None
        if hours:
            return PlannedJob(name, None, hours, "from parameters and tokens")
        if run and self.shipped:  # a method that is newer than the record
            length = _mean(self.shipped.seconds, RUN.pattern)
            return PlannedJob(name, length, source=f"{self.source}, other methods")
        return PlannedJob(name)


def _mean(seconds: Mapping[str, float], kind: str) -> float | None:
    """The mean length of the jobs whose names match, None where none does."""
    lengths = [seconds[name] for name in seconds if re.fullmatch(kind, name)]
    return mean(lengths) if lengths else None


def _of_home(home: Path) -> dict[str, float]:
    """Seconds of jobs by name: what the logs say, or `env.json` of training and test where longer.

    A notebook that finds its run finished or goes on with it is quick.
    """
    seconds = durations.in_logs(home / "logs")
    for folder in sorted(home.glob("*/*/seed*")):
        try:
            record = directory.read_file(folder, directory.ENV)
        except R2DError:
            continue
        took = record.get("training", {}).get("seconds", 0)
        took += record.get("test_seconds", 0) + record.get("probe_seconds", 0)
        dataset, method, seed = folder.parts[-3:]
        name = f"{dataset} {method} seed {seed.removeprefix('seed')}"
        seconds[name] = max(took, seconds.get(name, 0))
    return seconds
