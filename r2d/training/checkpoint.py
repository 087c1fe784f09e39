"""Checkpoints of a training run: whole or not there, checked before use, never a pickle."""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from r2d import files
from r2d.errors import R2DError
from r2d.hashes import is_sealed, sealed
from r2d.method.gate import Gate
from r2d.provenance import sha256
from r2d.training.optimiser import moments, restore_moments
from r2d.training.stopping import Stopper

KEEP = 2
WEIGHTS, MOMENTS = "weights.safetensors", "optimiser.safetensors"
STATE, LOG = "state.json", "log.jsonl"  # the log is in the folder above


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
    gate: Gate,
    fingerprint: str,
) -> None:
    """Write `folder/step-N` under a temporary name, rename it when whole, and keep the last two.

    Where this step is the best so far, `folder/best-N.safetensors` is written first. The learning
    rate, both schedules, the batch order, the coins and the dropout masks are functions of the seed
    and the step, so the step count is their whole state; with it go the gate, and the size and hash
    of the log.
    """
    part = folder / f"step-{step}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    if stopper.best_step == step:
        best = folder / "best.part"
        save_file(trainable(model), best)
        best.rename(folder / _best_name(stopper))
    save_file(trainable(model), part / WEIGHTS)
    save_file(moments(optimiser), part / MOMENTS)
    log = folder.parent / LOG
    state = {
        "step": step,
        "stopper": asdict(stopper),
        "gate": asdict(gate),
        "fingerprint": fingerprint,
        "sha256": {name: sha256(part / name) for name in (MOMENTS, WEIGHTS)},
        "best_sha256": sha256(folder / _best_name(stopper)) if stopper.best_step >= 0 else None,
        "log_bytes": log.stat().st_size,
        "log_sha256": sha256(log),
    }
    (part / STATE).write_text(json.dumps(sealed(state)), encoding="utf-8")
    whole = folder / f"step-{step}"
    shutil.rmtree(whole, ignore_errors=True)
    part.rename(whole)
    _keep_newest(folder)


def resume(
    folder: Path, model: nn.Module, optimiser: Optimizer, fingerprint: str
) -> tuple[int, Stopper, Gate, str] | None:
    """Load the newest whole checkpoint of `folder`; its step, stopper and gate, and its log.

    Damaged ones are passed over; None when there is none. Raises `R2DError` when it was written
    under another recipe, dataset, tokenizer or code.
    """
    for path in reversed(_checkpoints(folder)):
        state = _state(path)
        if state is None or not _is_whole(path, state):
            continue
        if state["fingerprint"] != fingerprint:
            raise R2DError(
                f"The unfinished run in {folder.parent} was started with another recipe, dataset, "
                "tokenizer or code; restore those to resume it, or delete that folder to start "
                "again."
            )
        restore(model, load_file(path / WEIGHTS))
        restore_moments(optimiser, load_file(path / MOMENTS))
        parts = Stopper(**state["stopper"]), Gate(**state["gate"])
        return state["step"], *parts, _log(folder, state).decode()
    return None


def drop_after(folder: Path, step: int) -> None:
    """Remove the checkpoints after a step, which were damaged, before others take their place."""
    for path in _checkpoints(folder):
        if int(_number(path)) > step:
            shutil.rmtree(path)


def restore_best(folder: Path, model: nn.Module) -> None:
    """Put the best validated weights of a training that has ended into its model.

    Raises `R2DError` where they are not as they were saved.
    """
    newest = _checkpoints(folder)[-1]
    state = _state(newest)
    if state is None or not _has_best(folder, state):
        raise R2DError(
            f"The best weights beside {newest} are not as they were saved; rerun, which goes on "
            "from the last whole checkpoint."
        )
    restore(model, load_file(folder / _best_name(Stopper(**state["stopper"]))))


def _keep_newest(folder: Path) -> None:
    """Remove checkpoints but the last two, and the best weights that neither of these names."""
    checkpoints = _checkpoints(folder)
    for old in checkpoints[:-KEEP]:
        shutil.rmtree(old)
    states = [_state(path) for path in checkpoints[-KEEP:]]
    named = {_best_name(Stopper(**state["stopper"])) for state in states if state}
    for best in folder.glob("best-*.safetensors"):
        if best.name not in named:
            best.unlink()


def _best_name(stopper: Stopper) -> str:
    return f"best-{stopper.best_step}.safetensors"


def _checkpoints(folder: Path) -> list[Path]:
    """Checkpoints that have their final name, oldest first."""
    folders = [path for path in folder.glob("step-*") if _number(path).isdigit()]
    return sorted(folders, key=lambda path: int(_number(path)))


def _number(path: Path) -> str:
    return path.name.removeprefix("step-")


def _state(path: Path) -> dict | None:
    """A checkpoint's `state.json`, or None when it is not as it was written."""
    try:
        state = files.read_json(path / STATE, {str: object}, "resume from another")
    except R2DError:
        return None
    return state if is_sealed(state) else None


def _is_whole(path: Path, state: dict) -> bool:
    """Whether a checkpoint, the best weights so far and the log up to it are as they were saved."""
    folder = path.parent
    try:
        same = all(sha256(path / name) == known for name, known in state["sha256"].items())
        return same and _has_best(folder, state) and _has_log(folder, state)
    except OSError:
        return False


def _has_best(folder: Path, state: dict) -> bool:
    best = folder / _best_name(Stopper(**state["stopper"]))
    if state["best_sha256"] is None:
        return True
    return best.is_file() and sha256(best) == state["best_sha256"]


def _has_log(folder: Path, state: dict) -> bool:
    return hashlib.sha256(_log(folder, state)).hexdigest() == state["log_sha256"]


def _log(folder: Path, state: dict) -> bytes:
    """The log as long as it was when a checkpoint was saved."""
    with (folder.parent / LOG).open("rb") as file:
        return file.read(state["log_bytes"])
