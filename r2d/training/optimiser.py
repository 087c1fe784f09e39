"""The optimiser of a training run, and its moments as a checkpoint keeps them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from r2d import env
from r2d.errors import R2DError
from r2d.recipes.settings import TrainSettings


def optimiser_of(weights: Sequence[Parameter], settings: TrainSettings) -> Optimizer:
    """AdamW over `weights`, paged or not; raises `R2DError` for a paged one without a GPU."""
    options = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(weights, fused=True, **options)
    if env.device() == "cpu":
        raise R2DError(
            "`optimizer: paged_adamw` moves memory between a GPU and its host, and there is no GPU "
            "here: set it to adamw."
        )
    from bitsandbytes.optim import PagedAdamW

    return PagedAdamW(weights, **options)


def moments(optimiser: Optimizer) -> dict[str, Tensor]:
    """What the optimiser keeps, on the CPU, under `index.name` in the order of its parameters."""
    return {
        f"{index}.{name}": torch.as_tensor(value).detach().cpu()
        for index, weight in enumerate(_weights(optimiser))
        for name, value in optimiser.state.get(weight, {}).items()
    }


def restore_moments(optimiser: Optimizer, saved: dict[str, Tensor]) -> None:
    """Put `moments` back."""
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in saved.items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    if isinstance(optimiser, torch.optim.AdamW):
        optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})
    else:
        _fill_pages(optimiser, slots)


def _fill_pages(optimiser: Optimizer, slots: dict[int, dict[str, Tensor]]) -> None:
    """Put moments where a paged optimiser keeps them; it would load them into a GPU's memory."""
    (group,) = optimiser.param_groups
    for index, values in slots.items():
        weight = group["params"][index]
        optimiser.init_state(group, weight, 0, index)
        state = optimiser.state[weight]
        state["step"] = int(values["step"])
        for name in ("state1", "state2"):
            state[name].copy_(values[name])


def _weights(optimiser: Optimizer) -> list[Parameter]:
    return [weight for group in optimiser.param_groups for weight in group["params"]]
