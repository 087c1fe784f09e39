"""The workflow over the notebooks: what is asked of Snakemake, what is shown of it, how it ends."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import RawIOBase
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from r2d import env, paths, recipes
from r2d.errors import R2DError
from r2d.experiments import estimate, forkserver, grid, progress
from r2d.experiments.process_group import ProcessGroup
from r2d.recipes import Recipe


@dataclass(frozen=True)
class Plan:
    """What is asked of the workflow; `R2DError` for what no recipe or cluster has.

    `only` holds experiment ids with commas between them, `cores` is how many notebooks run at a
    time, `gpus` how many of them use a GPU, `on` a cluster that they are submitted to; `settings`
    are changes to the recipe as KEY=VALUE, and `passed` goes to Snakemake as it is.
    """

    profile: str = "mini"
    only: str | None = None
    cores: int | None = None
    gpus: int | None = None
    on: str | None = None
    settings: Sequence[str] = ()
    passed: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("only", "on"):
            if getattr(self, name) == "":
                raise R2DError(f"--{name} needs a value: see ./run_all.sh --help.")
        if set("{}") & set(f"{paths.home()}{paths.ROOT}"):
            raise R2DError(
                "R2D_HOME, or the project's folder, has a brace in its name, which Snakemake would "
                "read as a pattern: use a folder without one."
            )
        _ = self.experiments  # refuses unknown ones
        if self.on is not None and self.on not in clusters():
            raise R2DError(f"Cluster {self.on!r} is not known: choose {' or '.join(clusters())}.")

    @cached_property
    def overrides(self) -> dict[str, Any]:
        """The changes to the recipe."""
        return recipes.parse_settings(self.settings)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe with its changes, under a name of its own where there are any."""
        return recipes.load(self.profile, self.overrides)

    @property
    def experiments(self) -> list[str]:
        """The ids of the chosen experiments."""
        return grid.chosen(self.recipe, self.only or "")

    @cached_property
    def devices(self) -> list[str]:
        """The GPUs of this machine that notebooks may use, as CUDA_VISIBLE_DEVICES names them."""
        if self.on or self.gpus == 0:
            return []
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is None:
            return _all_devices()
        if visible.startswith("-"):
            return []
        return [name.strip() for name in visible.split(",") if name.strip()]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of Snakemake and of its notebooks."""
        environment = dict(os.environ)
        if self.gpus == 0 and not self.on:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        elif self.devices:
            environment.setdefault("CUDA_VISIBLE_DEVICES", ",".join(self.devices))
        return environment

    @property
    def server(self) -> list[str]:
        """What the command runs under, where notebooks may be forked from one process.

        That is on this machine's CPU: CUDA does not survive a fork, macOS's libraries may not.
        """
        if self.on or self.devices or sys.platform != "linux":
            return []
        return [sys.executable, "-P", forkserver.__file__]

    @property
    def command(self) -> list[str]:
        """Snakemake's command line, for the project's folder."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", "notebooks/Snakefile"]
        command += ["--directory", str(paths.ROOT), "--workflow-profile", "notebooks/workflow"]
        if self.on:
            command += ["--profile", f"notebooks/workflow/{self.on}"]
        if self.cores or not self.on:
            command += ["--cores", str(self.cores or env.cores())]
        jobs_with_gpu = len(self.devices) if self.gpus is None else self.gpus
        if jobs_with_gpu:
            command += ["--resources", f"gpu={jobs_with_gpu}"]
        command += ["--config", f"profile={self.profile}"]
        if self.only:
            command.append(f"only={self.only}")
        if self.gpus == 0:
            command.append("gpus=0")
        if self.overrides:  # quoted, as Snakemake would read JSON as YAML and lose the types
            command.append(f"overrides={quote(json.dumps(self.overrides))}")
        return [*command, *self.passed]


def clusters() -> list[str]:
    """The clusters that notebooks can be submitted to."""
    return sorted(file.parent.name for file in paths.NOTEBOOKS.glob("workflow/*/config.yaml"))


def whole_number(option: str, text: str | None, least: int = 0) -> int | None:
    """An option's number, if it is given; `R2DError` for anything else than a whole one."""
    if text is None:
        return None
    if not text.isdecimal() or int(text) < least:
        above = " above 0" if least else ""
        raise R2DError(f"{option} takes a whole number{above}, not {text!r}.")
    return int(text)


def start(plan: Plan) -> int:
    """Run every notebook that is out of date; 0 when done, 1 on a failure, 130 when stopped."""
    expect_room()
    name = plan.recipe.profile
    log = _new_log(paths.runs(name) / "logs")
    print(f"Profile {name}; how far each notebook is: tail -f {log.parent}/*.log", flush=True)
    began = time.monotonic()
    # Snakemake cancels a cluster's jobs on INT; it would wait for them on TERM.
    ending = signal.SIGINT if plan.on else signal.SIGTERM
    jobs = estimate.whole(plan.recipe, plan.experiments)
    shown = progress.Progress({job.name: job.seconds for job in jobs})
    command = [*plan.server, *plan.command]
    with _living(plan) as mark:
        with ProcessGroup(command, paths.ROOT, plan.environment, ending, mark) as group:
            lines = _follow(group, log, shown)
    minutes, seconds = divmod(int(time.monotonic() - began), 60)
    took = f"{minutes} min {seconds} s"
    if group.stopped:
        _complain(
            f"Stopped after {took}; what is finished stays, and the same command goes on from "
            "there."
        )
        return 130
    if group.status != 0:
        _complain(_failure(plan, lines, took, log))
        return 1
    print(_places(name, took))
    return 0


def dry_run(plan: Plan) -> int:
    """Print the notebooks that `start` would run and their expected length; 1 on a failure."""
    command = [*plan.command, "--dry-run", "--quiet", "host", "reason"]
    planned = subprocess.run(
        command,
        cwd=paths.ROOT,
        env=plan.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if planned.returncode:
        _complain(progress.sentence(planned.stdout.splitlines()))
        return 1
    jobs = estimate.planned(plan.recipe, planned.stdout)
    print(estimate.table(jobs, plan.cores or env.cores()))
    return 0


def unlock(plan: Plan) -> int:
    """Release the lock that a killed run left; Snakemake's exit status."""
    command = [*plan.command, "--unlock"]
    return subprocess.run(command, cwd=paths.ROOT, env=plan.environment).returncode


def expect_room() -> None:
    """Raise `R2DError` where HOME or TMPDIR cannot be written, which kernels and libraries do."""
    for name in ("HOME", "TMPDIR"):
        folder = os.environ.get(name)
        try:
            if folder:
                tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            raise R2DError(
                f"{name} is {folder}, which cannot be written: set {name} to a folder of yours, "
                "then run again."
            ) from None


@contextmanager
def _living(plan: Plan) -> Iterator[Sequence[int]]:
    """Mark a workflow as alive: gives the open files that hold the mark while a process has them.

    Snakemake's locks are left by a killed run; where none lives any more they are released first.
    """
    folder = paths.ROOT / ".snakemake"
    try:
        folder.mkdir(exist_ok=True)
        file = (folder / "r2d-alive.lock").open("w")
        alone = _try_lock(file, fcntl.LOCK_EX)
        if alone and any(folder.glob("locks/*")):
            subprocess.run(
                [*plan.command, "--unlock"],
                cwd=paths.ROOT,
                env=plan.environment,
                capture_output=True,
            )
        _try_lock(file, fcntl.LOCK_SH)
    except OSError:  # a project that cannot be written: Snakemake says so
        yield ()
        return
    with file:
        yield (file.fileno(),)


def _try_lock(file: IO, how: int) -> bool:
    """Whether a lock could be had; a disk without locks has none to give."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _new_log(folder: Path) -> Path:
    """Where this run's whole output goes."""
    log = folder / f"run-{time.strftime('%Y%m%d-%H%M%S')}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log.touch()
    except OSError:
        raise R2DError(
            f"{folder.parent} cannot be written: free some disk space, or set R2D_HOME to another "
            "folder."
        ) from None
    return log


def _follow(group: ProcessGroup, log: Path, shown: progress.Progress) -> list[str]:
    """Show the progress of a running workflow, keep its output in `log`, and return its lines."""
    lines = []
    with log.open("wb", buffering=0) as file:
        for raw in group.lines():
            _keep(raw, file)
            lines.append(raw.decode(errors="replace").rstrip("\n"))
            text = shown.shown(lines[-1])
            if text:
                print(text, flush=True)
    return lines


def _keep(raw: bytes, file: RawIOBase) -> None:
    try:
        file.write(raw)
    except OSError:  # a full disk is reported by the notebook that meets it
        pass


def _failure(plan: Plan, lines: Sequence[str], took: str, log: Path) -> str:
    if progress.is_locked(lines):
        return (
            "Another run is at work here or one was killed; if none is, "
            f"'./run_all.sh {plan.profile} --unlock' releases the lock."
        )
    return (
        f"Failed after {took}; what is finished stays. The full log: {log}\n"
        f"{progress.failures(lines)}"
    )


def _places(name: str, took: str) -> str:
    runs = paths.runs(name)
    return (
        f"Done in {took}.\n"
        f"  figures             {paths.figures(name)}/\n"
        f"  tables              {runs}/results/\n"
        f"  executed notebooks  {runs}/notebooks/\n"
        f"  report              {runs}/report/index.html\n"
        f"{paths.notes_in('Executed notebooks', 'the predictions.jsonl of each run')}"
    )


def _complain(text: str) -> None:
    print(text, file=sys.stderr)


def _all_devices() -> list[str]:
    """All GPUs of this machine."""
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return []
    return listed.stdout.split() if listed.returncode == 0 else []
