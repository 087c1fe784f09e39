"""Reason2Decide(-C)'s schedules as pure functions of the optimiser step, and the coins."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


PEAK, CAP, WARMUP, RAMP = 0.7, 0.9, 0.05, 0.6  # the released code's


def label_weight(step: int, steps: int, peak: float = PEAK, warmup: float = WARMUP) -> float:
    """Weight a(t) of the label loss, the rationale loss taking 1 - a(t): `peak * min(1, t / W)`.

    `step` counts optimiser steps from 0 and W = `warmup * steps`. Source: released code.
    """
    ramp = warmup * steps
    return peak * min(1.0, step / ramp) if ramp > 0 else peak


def sampling_probability(
    step: int, steps: int, cap: float = CAP, warmup: float = WARMUP, ramp: float = RAMP
) -> float:
    """Probability p(t) that a rationale prompt carries the model's own label, not the gold one.

    0 while `step` < W, then `min(cap, (t - W) / M)` with W = `warmup * steps`, M = `ramp * steps`.
    Source: released code; the cap of 0.9 also in the paper (second-hand).
    """
    start, length = warmup * steps, ramp * steps
    if step < start:
        return 0.0
    return min(cap, (step - start) / length) if length > 0 else cap


def gumbel_temperature(step: int, steps: int) -> float:
    """Temperature of the cycle's soft rationales (Reason2Decide-C): from 1 down to 0.5.

    `max(0.5, exp(-0.6931 t / S))`. Source: released code.
    """
    return max(0.5, math.exp(-0.6931 * step / steps))


def coins(seed: int, step: int, size: int) -> "Tensor":
    """Uniform numbers in [0, 1), one an example of the global batch, shape (size,).

    An example is prompted with the model's own label where its number is below p(t). The generator
    belongs to (seed, step) alone, so neither the other random numbers, nor a resume, nor the number
    of processes changes a coin.
    """
    import torch  # here alone: whoever reads a recipe reads the schedules too

    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    return torch.rand(size, generator=generator)


def gate_coins(seed: int, step: int, size: int) -> "Tensor":
    """As `coins`, independent of them: those of the confidence gate (Reason2Decide-C)."""
    return coins(seed, step, 2 * size)[size:]
