"""Seeds, versions and the device: what makes a run repeatable and its record complete."""

import os
import platform
import random
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

from r2d import paths

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "datasets",
    "scikit-learn",
    "nltk",
    "sacrebleu",
    "bert-score",
    "papermill",
    "snakemake",
)


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


def peak_memory_mb() -> int:
    """Peak memory so far in MiB: allocated on the GPU in this run, else this process's resident."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() // 2**20
    unit = 2**20 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes or in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def describe() -> dict:
    """Versions, device and commit, as `env.json` keeps them."""
    import torch

    place = device()
    if place == "cpu":
        name = platform.processor() or platform.machine()
    else:
        name = torch.cuda.get_device_name(place)
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
    return (
        f"Python {facts['python']}  {'  '.join(versions)}  on {facts['kind']} "
        f"({facts['threads']} threads), commit {facts['commit']}"
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


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
