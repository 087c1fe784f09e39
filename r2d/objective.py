"""What each method optimises: the multi-task losses and Reason2Decide's two schedules, as pure functions.

Stage 1, SFT, Distilling Step-by-Step, Reason2Decide and its ablations differ only in an `Objective`.
"""

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from r2d import R2DError

if TYPE_CHECKING:
    from torch import Tensor

IGNORE = -100


def label_weight(step: int, max_steps: int, peak: float = 0.7, warmup: float = 0.05) -> float:
    """Weight a(t) of the label loss, the rationale loss taking 1 - a(t): `peak * min(1, t / W)`, W = `warmup * max_steps`.

    `step` counts optimiser steps from 0. Source: released code.
    """
    ramp = warmup * max_steps
    return peak * min(1.0, step / ramp) if ramp > 0 else peak


def sampling_probability(step: int, max_steps: int, cap: float = 0.9, warmup: float = 0.05, ramp: float = 0.6) -> float:
    """Probability p(t) that a rationale prompt carries the model's own label instead of the gold one.

    0 while `step` < W, then `min(cap, (t - W) / M)` with W = `warmup * max_steps`, M = `ramp * max_steps`.
    Source: released code; the cap of 0.9 also in the paper (second-hand).
    """
    start, length = warmup * max_steps, ramp * max_steps
    if step < start:
        return 0.0
    return min(cap, (step - start) / length) if length > 0 else cap


@dataclass(frozen=True)
class Objective:
    """Which tasks a method trains, how they are weighted, and which label stands in the rationale prompt.

    `weighting`: `fixed` keeps `label_weight` all the time, `ramped` warms it up by `label_weight(...)`.
    `rationale_prompt`: `explain` names no label, `given label` does.
    `sampling`: `never` prompts with gold labels, `scheduled` follows `sampling_probability`, `always` uses `cap` from step 0.
    `select_after_ramp`: best-checkpoint selection and early stopping wait for step W + M (the released code selects at once).
    `sample_in_train_mode`: sampled labels are generated with dropout on, as in the released code.
    """

    label_weight: float
    weighting: Literal["fixed", "ramped"] = "fixed"
    rationale_prompt: Literal["explain", "given label"] = "explain"
    sampling: Literal["never", "scheduled", "always"] = "never"
    cap: float = 0.9
    warmup: float = 0.05
    ramp: float = 0.6
    select_after_ramp: bool = True
    sample_in_train_mode: bool = False

    def __post_init__(self):
        for field in fields(self):
            value, choices = getattr(self, field.name), get_args(field.type)
            if choices and value not in choices:
                raise R2DError(f"objective: {field.name} is {value!r}; choose from {', '.join(choices)}.")
            if field.type is bool and not isinstance(value, bool):
                raise R2DError(f"objective: {field.name} is {value!r}; give true or false.")
            if field.type is float and not (isinstance(value, int | float) and 0 <= value <= 1):
                raise R2DError(f"objective: {field.name} is {value!r}; give a share from 0 to 1.")
        if self.sampling != "never" and self.rationale_prompt != "given label":
            raise R2DError("objective: sampling needs rationale_prompt 'given label', since it chooses that label.")

    @property
    def decides(self) -> bool:
        """Whether the method predicts labels (stage 1 does not)."""
        return self.label_weight > 0

    @property
    def explains(self) -> bool:
        """Whether the method writes rationales (SFT does not)."""
        return self.weighting == "ramped" or self.label_weight < 1

    def weight(self, step: int, max_steps: int) -> float:
        """a(t) of this objective."""
        if self.weighting == "fixed":
            return self.label_weight
        return label_weight(step, max_steps, self.label_weight, self.warmup)

    def probability(self, step: int, max_steps: int) -> float:
        """p(t) of this objective."""
        if self.sampling == "scheduled":
            return sampling_probability(step, max_steps, self.cap, self.warmup, self.ramp)
        return self.cap if self.sampling == "always" else 0.0

    def selection_start(self, max_steps: int) -> float:
        """First step at which a checkpoint may be chosen and patience counts: W + M in stage 2, else 0."""
        return (self.warmup + self.ramp) * max_steps if self.weighting == "ramped" and self.select_after_ramp else 0.0


R2D = Objective(0.7, "ramped", "given label", "scheduled")

OBJECTIVES: dict[str, Objective] = {
    "stage1": Objective(0.0),
    "sft": Objective(1.0),
    "dss": Objective(0.5),
    "r2d": R2D,
    "r2d-no-sampling": replace(R2D, sampling="never"),
    "r2d-always": replace(R2D, sampling="always"),
}


def named(name: str, overrides: dict[str, Any] | None = None) -> Objective:
    """The objective `name` with single values changed; `R2DError` for a value it does not have."""
    known = [f.name for f in fields(Objective)]
    for key in overrides or {}:
        if key not in known:
            raise R2DError(f"objective_overrides has {key!r}, which no objective knows; choose from {', '.join(known)}.")
    return replace(OBJECTIVES[name], **overrides or {})


def coins(seed: int, step: int, size: int, probability: float) -> "Tensor":
    """One coin an example of the global batch: True asks for the model's own label. Shape (size,).

    The generator belongs to (seed, step) alone, so neither the other random numbers, nor a resume, nor the number of
    processes changes a coin.
    """
    import torch

    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    return torch.rand(size, generator=generator) < probability


def token_losses(logits: "Tensor", targets: "Tensor") -> "Tensor":
    """Cross-entropy of each token, shape (batch, length), 0 for `IGNORE`; minus a row's sum is its text's log-probability."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits.float().transpose(1, 2), targets, ignore_index=IGNORE, reduction="none")


def token_loss(logits: "Tensor", targets: "Tensor") -> "Tensor":
    """Summed token cross-entropy; logits (batch, length, vocabulary), targets (batch, length), `IGNORE` left out."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum")


def combine(weight: float, label_mean: float, rationale_mean: float) -> float:
    """L = a L_label + (1 - a) L_rationale, each a mean over its target tokens in the batch (released code)."""
    return weight * label_mean + (1 - weight) * rationale_mean
