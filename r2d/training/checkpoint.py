"""Checkpoints of a training run: whole or not there, checked before use, never a pickle."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from r2d.errors import R2DError
from r2d.provenance import sha256
from r2d.training.stopping import Stopper

KEEP = 2
WEIGHTS, MOMENTS = "weights.safetensors", "optimiser.safetensors"


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """The weights that training changes, by name, on the CPU."""
    return {
        name: weight.detach().cpu().contiguous().clone()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def restore(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put `trainable` weights back."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)


def save(
    folder: Path,
    step: int,
    model: nn.Module,
    optimiser: Optimizer,
    stopper: Stopper,
    fingerprint: str,
) -> None:
    """Write `folder/step-N` under a temporary name, rename it when whole, and keep the last two.

    The learning rate, both schedules, the batch order, the coins and the dropout masks are
    functions of the seed and the step, so the step count is their whole state.
    """
    part = folder / f"step-{step}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(trainable(model), part / WEIGHTS)
    save_file(_moments(optimiser), part / MOMENTS)
    state = {
        "step": step,
        "stopper": asdict(stopper),
        "fingerprint": fingerprint,
        "sha256": {name: sha256(part / name) for name in (MOMENTS, WEIGHTS)},
    }
    (part / "state.json").write_text(json.dumps(state), encoding="utf-8")
    whole = folder / f"step-{step}"
    shutil.rmtree(whole, ignore_errors=True)
    part.rename(whole)
    for old in _checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)


def resume(
    folder: Path, model: nn.Module, optimiser: Optimizer, fingerprint: str
) -> tuple[int, Stopper] | None:
    """Load the newest whole checkpoint of `folder`; returns its step and stopper.

    Damaged ones are passed over; None when there is none. Raises `R2DError` when it was written
    under another recipe, dataset, tokenizer or code.
    """
    for path in reversed(_checkpoints(folder)):
        state = _state(path)
        if state is None:
            continue
        if state["fingerprint"] != fingerprint:
            raise R2DError(
                f"The unfinished run in {folder.parent} was started with another recipe, dataset, "
                "tokenizer or code; restore those to resume it, or delete that folder to start "
                "again."
            )
        restore(model, load_file(path / WEIGHTS))
        _restore_moments(optimiser, load_file(path / MOMENTS))
        return state["step"], Stopper(**state["stopper"])
    return None


def _moments(optimiser: Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors under `index.name`, in the order of its parameters."""
    return {
        f"{index}.{name}": value.detach().cpu().clone()
        for index, slots in optimiser.state_dict()["state"].items()
        for name, value in slots.items()
    }


def _restore_moments(optimiser: Optimizer, moments: dict[str, Tensor]) -> None:
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})


def _checkpoints(folder: Path) -> list[Path]:
    """Checkpoints that have their final name, oldest first."""
    folders = [path for path in folder.glob("step-*") if _number(path).isdigit()]
    return sorted(folders, key=lambda path: int(_number(path)))


def _number(path: Path) -> str:
    return path.name.removeprefix("step-")


def _state(path: Path) -> dict | None:
    """A checkpoint's `state.json`, or None when a file is missing or its checksum is another."""
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        whole = all(state["sha256"][name] == sha256(path / name) for name in (WEIGHTS, MOMENTS))
    except (OSError, ValueError, KeyError):
        return None
    return state if whole else None
