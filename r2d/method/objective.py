"""What each method optimises, as data: stage 1, SFT, DSS, Reason2Decide(-C) and its ablations."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, model_validator

from r2d.errors import R2DError, in_one_sentence
from r2d.method import prompts, schedules

Share = Annotated[float, Field(ge=0, le=1, strict=True)]


class Objective(BaseModel):
    """Which tasks a method trains, with which weights, and which label its rationale prompt names.

    `label_weight` is a, the rationale loss taking 1 - a; `weighting` keeps it `fixed` or warms it
    up by `schedules.label_weight` (`ramped`).
    `rationale_prompt`: `explain` names no label, `given label` does.
    `sampling`: `never` prompts with gold labels, `scheduled` follows
    `schedules.sampling_probability`, `always` uses `cap` from step 0.
    `warmup` and `ramp` are W and M as shares of the steps.
    `select_after_ramp`: selection of the best checkpoint waits for step W + M, as early stopping
    does; in the released code a checkpoint from before that can be the best.
    `sample_in_train_mode`: labels are sampled with dropout on, as in the released code.
    `gated`: a sampled label has to pass the confidence gate, too (Reason2Decide-C).
    `cycle`: weight of the loss of reading the prompt's label back from the rationale, from step W
    (Reason2Decide-C).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label_weight: Share
    weighting: Literal["fixed", "ramped"] = "fixed"
    rationale_prompt: Literal["explain", "given label"] = "explain"
    sampling: Literal["never", "scheduled", "always"] = "never"
    cap: Share = schedules.CAP
    warmup: Share = schedules.WARMUP
    ramp: Share = schedules.RAMP
    select_after_ramp: StrictBool = True
    sample_in_train_mode: StrictBool = False
    gated: StrictBool = False
    cycle: Share = 0.0

    @model_validator(mode="after")
    def _sampling_has_a_place(self):
        if self.sampling != "never" and self.rationale_prompt != "given label":
            raise ValueError(
                "sampling needs rationale_prompt 'given label', as it chooses that label"
            )
        if self.gated and self.sampling == "never":
            raise ValueError("gated needs sampling, whose labels it lets pass or not")
        if self.cycle and self.rationale_prompt != "given label":
            raise ValueError("cycle needs rationale_prompt 'given label', as it reads it back")
        return self

    @property
    def predicts(self) -> bool:
        """Whether the method learns to predict labels (stage 1 does not)."""
        return self.label_weight > 0

    @property
    def explains(self) -> bool:
        """Whether the method learns to write rationales (SFT does not)."""
        return self.weighting == "ramped" or self.label_weight < 1

    @property
    def names_label(self) -> bool:
        """Whether the rationale prompt names a label."""
        return self.rationale_prompt == "given label"

    def explain_prompt(self, question: str, label: str) -> str:
        """The prompt whose target is the rationale."""
        return prompts.explain(question, label if self.names_label else None)

    def label_weight_at(self, step: int, steps: int) -> float:
        """a(t) of this objective."""
        if self.weighting == "fixed":
            return self.label_weight
        return schedules.label_weight(step, steps, self.label_weight, self.warmup)

    def sampling_probability_at(self, step: int, steps: int) -> float:
        """p(t) of this objective."""
        if self.sampling == "scheduled":
            return schedules.sampling_probability(step, steps, self.cap, self.warmup, self.ramp)
        return self.cap if self.sampling == "always" else 0.0

    def cycle_weight_at(self, step: int, steps: int) -> float:
        """Weight of the cycle's loss: none until step W is past."""
        return self.cycle if step > self.warmup * steps else 0.0

    def selection_start(self, steps: int) -> float:
        """First step at which a checkpoint may be chosen."""
        return self.patience_start(steps) if self.select_after_ramp else 0.0

    def patience_start(self, steps: int) -> float:
        """First step at which early stopping counts: W + M, or 0 where nothing is ramped."""
        return (self.warmup + self.ramp) * steps if self.weighting == "ramped" else 0.0


R2D = Objective(
    label_weight=schedules.PEAK,
    weighting="ramped",
    rationale_prompt="given label",
    sampling="scheduled",
)

OBJECTIVES: dict[str, Objective] = {
    "stage1": Objective(label_weight=0.0),
    "sft": Objective(label_weight=1.0),
    "dss": Objective(label_weight=0.5),
    "r2d": R2D,
    "r2d-no-sampling": R2D.model_copy(update={"sampling": "never"}),
    "r2d-always": R2D.model_copy(update={"sampling": "always"}),
    "r2dc": R2D.model_copy(update={"gated": True, "cycle": 0.1}),
}


def named(name: str, overrides: dict[str, Any] | None = None) -> Objective:
    """The objective `name` with single values changed; `R2DError` for a value it does not have."""
    try:
        return Objective(**(OBJECTIVES[name].model_dump() | (overrides or {})))
    except ValidationError as error:
        raise R2DError(f"objective {name}: {in_one_sentence(error)}") from None
