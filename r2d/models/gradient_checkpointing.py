"""Gradient checkpointing (Chen et al. 2016): less memory for activations, a second forward pass."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from r2d.errors import R2DError


def enable(model: nn.Module) -> None:
    """Keep only each layer's input in training; back-propagation computes the rest again.

    With the same dropout masks, so that losses and gradients are the same but for rounding. Raises
    `R2DError` for an architecture that can't.
    """
    try:
        model.activation_checkpointing_enable()
    except ValueError as error:
        raise R2DError(
            f"A {model.config.model_type} model has no gradient checkpointing: set the recipe's "
            "`gradient_checkpointing` to false, or choose another backbone."
        ) from error


@contextmanager
def suspended(model: nn.Module) -> Iterator[None]:
    """Without it for a while: in training mode, its layers would drop the cache of decoding."""
    layers = [
        module for module in model.modules() if getattr(module, "gradient_checkpointing", False)
    ]
    for layer in layers:
        layer.gradient_checkpointing = False
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = True
