"""Seeds, versions and the device: what makes a run repeatable and its record complete."""

import os
import platform
import random
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

from r2d import paths

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets", "scikit-learn", "nltk",
            "sacrebleu", "bert-score", "papermill", "snakemake")  # fmt: skip


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch; on CUDA also ask for deterministic kernels (the CPU's are) and count memory anew."""
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
    """Peak resident memory of this process so far (peak allocated memory of the GPU in this run where there is one)."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (
        2**20 if sys.platform == "darwin" else 1024
    )


def describe() -> dict:
    """Versions, device and commit, as `env.json` keeps them."""
    import torch

    kind = device()
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(kind)
        if kind != "cpu"
        else platform.processor() or platform.machine(),
        "kind": kind,
        "threads": torch.get_num_threads(),
        "commit": commit(),
    }


def line() -> str:
    """One line for the top of a notebook."""
    found = describe()
    packages = "  ".join(
        f"{name} {found['packages'][name]}" for name in ("torch", "transformers", "peft")
    )
    return f"Python {found['python']}  {packages}  on {found['kind']} ({found['threads']} threads), commit {found['commit']}"


def commit() -> str:
    """Short commit of the project, with `+` when the work tree differs; `unknown` outside git."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + (
            "+"
            if _git("status", "--porcelain", "--untracked-files=no", "--", "r2d", "notebooks")
            else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    command = [
        "git",
        "--no-optional-locks",
        "-C",
        str(paths.ROOT),
        *arguments,
    ]  # a kill leaves no lock behind
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
