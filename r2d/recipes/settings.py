"""The parts of a recipe, each frozen and validated.

Data, adapter, training, methods, decoding, metrics, chat models, experiments.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Tuning = Literal["full", "lora", "qlora"]
Reads = Literal["question", "rationale"]


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(Settings):
    """Which records a dataset gives, and what it changes in training.

    Sizes of `None` are the card's usual ones. Of rows without a rationale, `missing_rationale:
    label only` has the label learned alone. `difficulty`, `noise` and `topics` are the synthetic
    notes' (`r2d.data.triage.generate`); noise is in what is learned from, never in test.
    `options_from` is what stands before a question's own options (`Answer Choices:`), which become
    its candidates; with `labels: open` a label is any text of at most `max_label_tokens`, of which
    accuracy alone is measured. An `optional` dataset is left out where its files are not there;
    `methods` and `seeds` narrow the experiments on it. With `reads: rationale` the gold rationale
    stands where the question was, and cases without one are left out.
    """

    card: str
    train: int | None = Field(None, gt=0)
    validation: int | None = Field(None, gt=0)
    test: int | None = Field(None, gt=0)
    rationale: str = "rationale"
    reads: Reads = "question"
    seed: int = 0
    difficulty: float = Field(0.5, ge=0, le=1)
    noise: float = Field(0.0, ge=0, le=1)
    topics: int | None = Field(None, gt=0)
    split: Literal["official", "paper", "random"] = "random"
    path: str | None = None
    test_path: str | None = None
    columns: dict[str, str] = {}
    on_bad_rows: Literal["stop", "drop"] = "stop"
    missing_rationale: Literal["stop", "label only"] = "stop"
    options_from: str | None = Field(None, min_length=1)
    labels: Literal["closed", "open"] = "closed"
    max_label_tokens: int = Field(64, gt=0)
    max_input_tokens: int | None = Field(None, gt=0)
    max_rationale_tokens: int | None = Field(None, gt=0)
    train_overrides: dict[str, Any] = {}
    optional: bool = False
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _open_or_chosen(self):
        if self.labels == "open" and (self.options_from or "candidates" in self.columns):
            raise ValueError(
                "open labels are not chosen from candidates; remove `labels: open`, or "
                "`options_from` and `columns.candidates`"
            )
        return self


class LoraSettings(Settings):
    """Adapter shape for `lora` and `qlora` (Hu et al. 2021, Dettmers et al. 2023)."""

    r: int = Field(16, gt=0)
    alpha: int = Field(32, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)


class TrainSettings(Settings):
    """Optimiser and evaluation settings of one training run; steps are optimiser steps.

    Two settings trade time for memory, and change no result beyond rounding:
    `gradient_checkpointing` computes activations a second time instead of keeping them;
    `paged_adamw` lets AdamW's moments move to the host's memory where a GPU's is short (Dettmers et
    al. 2023), tensors of 100,000 numbers and more, so of full tuning rather than of adapters.
    """

    steps: int = Field(gt=0)
    lr: float = Field(gt=0)
    batch: int = Field(64, gt=0)
    micro_batch: int | None = Field(None, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    clip: float = Field(1.0, gt=0)
    warmup: int = Field(0, ge=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    eval_every: int = Field(gt=0)
    patience: int = Field(gt=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    gradient_checkpointing: bool = False
    optimizer: Literal["adamw", "paged_adamw"] = "adamw"

    @model_validator(mode="after")
    def _consistent(self):
        if self.warmup >= self.steps:
            raise ValueError(f"warmup ({self.warmup}) must be smaller than steps ({self.steps})")
        if self.eval_every > self.steps:
            raise ValueError(f"eval_every ({self.eval_every}) must not exceed steps ({self.steps})")
        return self


class MethodSettings(Settings):
    """What one row of the results table is: an objective, a tuning and where it starts.

    `objective` names an entry of `r2d.method.objective.OBJECTIVES`, or a sanity row (`majority`,
    `tfidf`, and the synthetic notes' `rule`, whole or in part). `init` names the method whose
    finished run of the same dataset and seed gives the first weights. `rationale` names the
    rationale source where it is not the dataset's. A method that `reads` the rationale learns the
    label from that alone: it is a reader, which measures what other methods' rationales support.
    `objective_overrides` and `train` change single values of the objective and of the training
    settings.
    """

    objective: str
    tuning: Tuning = "full"
    backbone: str | None = None
    init: str | None = None
    rationale: str | None = None
    reads: Reads = "question"
    title: str
    objective_overrides: dict[str, Any] = {}
    train: dict[str, Any] = {}


class DecodeSettings(Settings):
    """How labels and rationales are decoded; rationales are greedy."""

    labels: Literal["generate", "score"] = "generate"
    batch: int = Field(64, gt=0)


class MetricSettings(Settings):
    """Which BERTScore model, and how many resamples its intervals take."""

    bertscore: str
    bertscore_layer: int | None = None
    resamples: int = Field(1000, ge=100)


class LlmSettings(Settings):
    """A chat model: read here (`local`), or asked over an OpenAI-compatible server (`server`).

    A server's URL and key come from the environment; `temperature` is for servers alone.
    `parameters` is the model's size, for the size axis only; prices are in dollars a million tokens
    (read, written).
    """

    title: str
    backend: Literal["local", "server"] = "local"
    model: str
    revision: str | None = None
    parameters: float = Field(gt=0)
    batch: int = Field(8, gt=0)
    max_new_tokens: int = Field(256, gt=0)
    temperature: float = Field(0.0, ge=0)
    price: tuple[float, float] = (0.0, 0.0)

    @model_validator(mode="after")
    def _greedy_here(self):
        if self.backend == "local" and self.temperature > 0:
            raise ValueError(
                f"{self.title} is read here and answers greedily; remove its `temperature`, or ask "
                "a server (`backend: server`)"
            )
        return self


class ZeroShotSettings(Settings):
    """How many test cases zero-shot models decide, with how many worked examples, which prompt."""

    cases: int | None = Field(None, gt=0)
    shots: int = Field(0, ge=0)
    prompt: str = "v1"


class JudgeSettings(Settings):
    """Which chat model judges how many cases a method, by which prompt, and when it counts.

    It has to qualify first: on `qualification` pairs a corruption, graded `repeats` times, with at
    least this `accuracy` and `kappa`.
    """

    llm: str
    prompt: str = "v1"
    cases: int = Field(50, gt=0)
    qualification: int = Field(20, gt=0)
    repeats: int = Field(2, ge=2)
    accuracy: float = Field(0.8, gt=0, le=1)
    kappa: float = Field(0.6, gt=0, le=1)


class ExperimentSettings(Settings):
    """The runs of one experiment: every dataset x method x seed.

    `llms` are asked about each dataset, too (zero-shot); `judged` has the recipe's judge read the
    methods' rationales. `readers` are methods that read rationales: each is trained once a dataset,
    with its first seed, and says beside the dataset's own measure which label a rationale supports.
    """

    title: str
    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...] = Field(min_length=1)
    llms: tuple[str, ...] = ()
    judged: bool = False
    readers: tuple[str, ...] = ()
