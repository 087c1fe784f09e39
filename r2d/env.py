"""Seeds, versions and the device: what makes a run repeatable and its record complete."""

import os
import platform
import random
import re
import resource
import subprocess
import sys
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from r2d import paths

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "ctranslate2",
    "datasets",
    "scikit-learn",
    "nltk",
    "sacrebleu",
    "bert-score",
    "papermill",
    "snakemake",
)
# Parameters; a smaller network is computed by one thread. On two cores, a second one took a step of
# a T5 of 6 million from 0.32 to 0.26 s but decoding from 0.16 to 0.26 s; with 60 million, a step
# took 2.3 instead of 3.3 s, and decoding as long as before.
SMALL = 10_000_000


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch.

    On CUDA also ask for deterministic kernels (the CPU's are) and count memory anew.
    """
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.cuda.reset_peak_memory_stats()


def device() -> str:
    """This process's GPU where there is one, else `cpu`."""
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def is_main_process() -> bool:
    """Whether this is the first of a run's processes (`torchrun`, `accelerate launch`)."""
    return int(os.environ.get("RANK", "0")) == 0


def choose_threads(parameters: int) -> None:
    """Let torch compute a network of so many parameters by as many threads as serve it.

    One where it is small, else what torch takes by itself, the physical cores. `OMP_NUM_THREADS`,
    which the workflow sets for each notebook, goes before both.
    """
    import torch

    told = _told_threads()
    usual = _usual_threads()
    torch.set_num_threads(told or (1 if parameters < SMALL else usual))


def peak_memory_mb() -> int:
    """Peak memory so far in MiB: allocated on the GPU in this run, else this process's resident.

    Resident memory has the libraries in it, and files that are mapped, as checkpoints are not
    (`models.load`); what is allocated leaves out a paged optimiser's moments.
    """
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() // 2**20
    unit = 2**20 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes or in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> str:
    """This machine's CPU in words."""
    return f"{cores()} cores of {_processor()}"


def describe() -> dict:
    """Versions, device and commit, as `env.json` keeps them."""
    import torch

    place = device()
    name = _processor() if place == "cpu" else torch.cuda.get_device_name(place)
    return {
        "python": platform.python_version(),
        "packages": {package: _version(package) for package in PACKAGES},
        "device": name,
        "kind": place,
        "threads": torch.get_num_threads(),
        "commit": commit(),
    }


def line() -> str:
    """One line for the top of a notebook."""
    facts = describe()
    versions = [f"{name} {facts['packages'][name]}" for name in ("torch", "transformers", "peft")]
    told = _told_threads()
    if told:
        threads = f"threads: {told}, by OMP_NUM_THREADS"
    else:
        small = f"{SMALL // 10**6} million parameters"
        threads = f"threads: {_usual_threads()}, below {small} 1"
    return (
        f"Python {facts['python']}  {'  '.join(versions)}  on {facts['kind']} "
        f"({threads}), commit {facts['commit']}"
    )


def commit() -> str:
    """Short commit of the project, with `+` when the work tree differs; `unknown` outside git."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", "r2d", "notebooks")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+" if changes else head


def _git(*arguments: str) -> str:
    # Without optional locks, so that a kill leaves none behind.
    command = ["git", "--no-optional-locks", "-C", str(paths.ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _told_threads() -> int | None:
    """The number of threads that `OMP_NUM_THREADS` asks for, if it is set."""
    told = re.match(r"[1-9]\d*", os.environ.get("OMP_NUM_THREADS", ""))
    return int(told[0]) if told else None


@lru_cache
def _usual_threads() -> int:
    """The number of threads that torch takes by itself; asked before another is set."""
    import torch

    return torch.get_num_threads()


def _processor() -> str:
    """The kind of CPU, by its maker's name where Linux has it."""
    with suppress(OSError):
        known = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if known:
            return known[1]
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
