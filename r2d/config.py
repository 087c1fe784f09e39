"""Recipes: one YAML a profile, read into frozen, validated settings."""

import difflib
import hashlib
import json
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from r2d import R2DError, paths
from r2d.objective import OBJECTIVES, named

Tuning = Literal["full", "lora", "qlora"]
Steps = dict[str, int]


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(Settings):
    """Which records a dataset gives (`None` sizes take all there are) and what it changes in training.

    An `optional` dataset is left out where its files are not; `methods` and `seeds` narrow the experiments on it.
    """

    card: str
    train: int | None = Field(None, gt=0)
    validation: int | None = Field(None, gt=0)
    test: int | None = Field(None, gt=0)
    rationale: str = "rationale"
    seed: int = 0
    difficulty: float = Field(0.5, ge=0, le=1)
    split: Literal["official", "paper", "random"] = "random"
    path: str | None = None
    test_path: str | None = None
    columns: dict[str, str] = {}
    on_bad_rows: Literal["stop", "drop"] = "stop"
    max_input_tokens: int | None = Field(None, gt=0)
    max_rationale_tokens: int | None = Field(None, gt=0)
    train_overrides: dict[str, Any] = {}
    optional: bool = False
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()


class LoraSettings(Settings):
    """Adapter shape for `lora` and `qlora` (Hu et al. 2021, Dettmers et al. 2023)."""

    r: int = Field(16, gt=0)
    alpha: int = Field(32, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)


class TrainSettings(Settings):
    """Optimiser and evaluation settings of one training run; steps are optimiser steps."""

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

    @model_validator(mode="after")
    def _consistent(self):
        if self.warmup >= self.steps:
            raise ValueError(f"warmup ({self.warmup}) must be smaller than steps ({self.steps})")
        if self.eval_every > self.steps:
            raise ValueError(f"eval_every ({self.eval_every}) must not exceed steps ({self.steps})")
        return self


class MethodSettings(Settings):
    """What one row of the results table is: an objective, a tuning and where it starts.

    `objective` names an entry of `r2d.objective.OBJECTIVES`, or a sanity row (`majority`, `tfidf`).
    `init` names the method whose finished run of the same dataset and seed gives the first weights.
    `objective_overrides` and `train` change single values of the objective and of the training settings.
    """

    objective: str
    tuning: Tuning = "full"
    backbone: str | None = None
    init: str | None = None
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


class ExperimentSettings(Settings):
    """The runs of one experiment: every dataset x method x seed."""

    title: str
    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...] = Field(min_length=1)


class Recipe(Settings):
    """Everything a profile fixes; two runs with equal recipes give equal numbers."""

    profile: str
    note: str
    backbone: str
    reference: str
    max_input_tokens: int = Field(gt=0)
    max_rationale_tokens: int = Field(gt=0)
    lora: LoraSettings = LoraSettings()
    train: dict[str, dict[str, Any]]
    decode: DecodeSettings = DecodeSettings()
    metrics: MetricSettings
    datasets: dict[str, DataSettings]
    methods: dict[str, MethodSettings]
    experiments: dict[str, ExperimentSettings]

    @model_validator(mode="after")
    def _names_exist(self):
        known = {*OBJECTIVES, "majority", "tfidf"}
        for layer in self.train:
            _expect(layer, {"common", "full", "lora", "qlora", *OBJECTIVES}, "train")
        _expect(self.reference, self.methods, "reference")
        for name, method in self.methods.items():
            _expect(method.objective, known, f"methods.{name}.objective")
            if method.init is not None:
                _expect(method.init, self.methods, f"methods.{name}.init")
                parent = self.methods[method.init]
                if parent.objective not in OBJECTIVES or OBJECTIVES[parent.objective].decides:
                    raise ValueError(f"methods.{name} starts from {method.init}, which is not a stage 1; name one that is")
                if (parent.tuning, parent.backbone) != (method.tuning, method.backbone):
                    raise ValueError(
                        f"methods.{name} starts from {method.init}, which has another tuning or backbone; give both the same"
                    )
            if method.objective in OBJECTIVES:
                named(method.objective, method.objective_overrides)
                for dataset in self.datasets:
                    self.training(name, dataset)
        for name, experiment in self.experiments.items():
            for dataset in experiment.datasets:
                _expect(dataset, self.datasets, f"experiments.{name}.datasets")
            for method in experiment.methods:
                _expect(method, self.methods, f"experiments.{name}.methods")
        for name, dataset in self.datasets.items():
            for method in dataset.methods:
                _expect(method, self.methods, f"datasets.{name}.methods")
        return self

    def training(self, method: str, dataset: str) -> TrainSettings:
        """Training settings: `train.common`, then the objective's, the tuning's, the dataset's and the method's own."""
        chosen = self.methods[method]
        layers = [self.train.get(layer, {}) for layer in ("common", chosen.objective, chosen.tuning)]
        merged: dict[str, Any] = {}
        for layer in (*layers, self.datasets[dataset].train_overrides, chosen.train):
            merged |= layer
        return TrainSettings(**merged)

    def limits(self, dataset: str) -> tuple[int, int]:
        """Token limits (input, rationale) of `dataset`: one pair everywhere a prompt is built."""
        own = self.datasets[dataset]
        return own.max_input_tokens or self.max_input_tokens, own.max_rationale_tokens or self.max_rationale_tokens

    def fingerprint(self) -> str:
        """Twelve hex digits that change when any setting changes."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def profiles() -> list[str]:
    """Names of the recipes that are shipped."""
    return sorted(p.stem for p in paths.RECIPES.glob("*.yaml"))


def load(profile: str, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a shipped recipe and apply dotted `overrides`, e.g. `{"train.common.batch": 16}`.

    An overridden recipe has a profile name of its own (`mini+3f2a1c`), so its runs and figures never mix with the shipped
    recipe's. Raises `R2DError` with one sentence for an unknown profile, an unknown or contradictory key, or an
    override of a setting that does not exist.
    """
    path = paths.RECIPES / f"{profile}.yaml"
    if not path.is_file():
        raise R2DError(f"Profile {profile!r} is not known: choose one of {', '.join(profiles())}.")
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, value in (overrides or {}).items():
        _override(raw, key, value)
    if overrides:
        changed = json.dumps(overrides, sort_keys=True).encode()
        raw["profile"] = f"{profile}+{hashlib.sha256(changed).hexdigest()[:6]}"
    try:
        return Recipe(**raw)
    except ValidationError as error:
        raise R2DError(f"Recipe {path.name}: {_sentence(error)}") from None


def _override(raw: dict, dotted: str, value: Any) -> None:
    """Set one value; every part but the last must exist, and the model checks the last."""
    node = raw
    *parents, last = dotted.split(".")
    for part in parents:
        if not isinstance(node, dict) or part not in node:
            near = difflib.get_close_matches(part, list(node) if isinstance(node, dict) else [], 1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise R2DError(f"Override {dotted!r}: the recipe has no {part!r}{hint}")
        node = node[part]
    if not isinstance(node, dict):
        raise R2DError(f"Override {dotted!r}: {'.'.join(parents)!r} is one value, without {last!r} below it.")
    node[last] = value


def _expect(value: str, known, where: str) -> None:
    if value not in known:
        near = difflib.get_close_matches(value, list(known), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(sorted(known))}"
        raise ValueError(f"{where} names {value!r}, which is not there; {hint}")


def _sentence(error: ValidationError) -> str:
    """The first problem of a validation error as one sentence."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the recipe"
    if first["type"] == "extra_forbidden":
        return f"key `{where}` is not known; remove it or mend its spelling."
    if first["type"] == "missing":
        return f"key `{where}` is missing; add it."
    if first["type"] == "value_error":
        text = str(first["ctx"]["error"])
        return text if text.endswith(("?", ".")) else f"{text}."
    return f"`{where}` is {first['input']!r}: {first['msg'].lower()}."
