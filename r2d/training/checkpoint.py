"""Checkpoints of a training run: whole or not there, checked before use, never a pickle."""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from r2d.errors import R2DError

KEEP = 2


@dataclass
class Stopper:
    """Best validation score so far (higher is better), evaluations since then, seconds spent and memory, over all processes."""

    patience: int
    start: float = 0.0
    best: float | None = None
    best_step: int = -1
    bad: int = 0
    seconds: float = 0.0
    peak_memory_mb: int = 0

    def update(self, step: int, score: float) -> bool:
        """Take an evaluation; True when it is the best so far. Evaluations before `start` do not count."""
        if step < self.start:
            return False
        if self.best is None or score > self.best:
            self.best, self.best_step, self.bad = score, step, 0
            return True
        self.bad += 1
        return False

    @property
    def stop(self) -> bool:
        """Whether patience is used up."""
        return self.bad >= self.patience


def trainable(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights that training changes, by name, on the CPU."""
    return {
        name: p.detach().cpu().contiguous().clone()
        for name, p in model.named_parameters()
        if p.requires_grad
    }


def restore(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Put `trainable` weights back."""
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)


def save(
    folder: Path, step: int, model: nn.Module, optimiser, stopper: Stopper, fingerprint: str
) -> None:
    """Write `folder/step-N` under a temporary name, rename it when whole, and keep the last two.

    The learning rate, both schedules, the batch order, the coins and the dropout masks are functions of the seed and the
    step, so the step count is their whole state.
    """
    part = folder / f"step-{step}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(trainable(model), part / "weights.safetensors")
    save_file(_moments(optimiser), part / "optimiser.safetensors")
    state = {"step": step, "stopper": asdict(stopper), "fingerprint": fingerprint}
    state["sha256"] = {p.name: _sha256(p) for p in sorted(part.glob("*.safetensors"))}
    (part / "state.json").write_text(json.dumps(state), encoding="utf-8")
    final = folder / f"step-{step}"
    shutil.rmtree(final, ignore_errors=True)
    part.rename(final)
    for old in _all(folder)[:-KEEP]:
        shutil.rmtree(old)


def resume(
    folder: Path, model: nn.Module, optimiser, fingerprint: str
) -> tuple[int, Stopper] | None:
    """Load the newest whole checkpoint of `folder`; damaged ones are passed over, None when there is none.

    Raises `R2DError` when it was written under another recipe, dataset, tokenizer or code path.
    """
    for path in reversed(_all(folder)):
        state = _checked(path)
        if state is None:
            continue
        if state["fingerprint"] != fingerprint:
            raise R2DError(
                f"The unfinished run in {folder.parent} was started with another recipe, dataset, tokenizer or code; "
                "restore those to resume it, or delete that folder to start again."
            )
        restore(model, load_file(path / "weights.safetensors"))
        _restore_moments(optimiser, load_file(path / "optimiser.safetensors"))
        return state["step"], Stopper(**state["stopper"])
    return None


def _moments(optimiser) -> dict[str, torch.Tensor]:
    """The optimiser's tensors under `index.name`, in the order of its parameters."""
    state = optimiser.state_dict()["state"]
    return {
        f"{i}.{k}": v.detach().cpu().clone() for i, slots in state.items() for k, v in slots.items()
    }


def _restore_moments(optimiser, flat: dict[str, torch.Tensor]) -> None:
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in flat.items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})


def _all(folder: Path) -> list[Path]:
    found = [p for p in folder.glob("step-*") if p.name.removeprefix("step-").isdigit()]
    return sorted(found, key=lambda p: int(p.name.removeprefix("step-")))


def _checked(path: Path) -> dict | None:
    """The checkpoint's state, or None when a part is missing or its checksum is not the recorded one."""
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        whole = all(_sha256(path / name) == digest for name, digest in state["sha256"].items())
    except (OSError, ValueError, KeyError):
        return None
    return state if whole and len(state["sha256"]) == 2 else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
