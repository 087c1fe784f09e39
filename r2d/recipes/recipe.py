"""Recipes: one YAML a profile, read into frozen, validated settings."""

import difflib
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from r2d import paths
from r2d.errors import R2DError
from r2d.method.objective import OBJECTIVES, named
from r2d.recipes.settings import (
    DataSettings,
    DecodeSettings,
    ExperimentSettings,
    JudgeSettings,
    LlmSettings,
    LoraSettings,
    MethodSettings,
    MetricSettings,
    Settings,
    TrainSettings,
    ZeroShotSettings,
)


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
    llms: dict[str, LlmSettings] = {}
    zero_shot: ZeroShotSettings = ZeroShotSettings()
    judge: JudgeSettings | None = None
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
                if parent.objective not in OBJECTIVES or OBJECTIVES[parent.objective].predicts:
                    raise ValueError(
                        f"methods.{name} starts from {method.init}, which is not a stage 1; name one that is"
                    )
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
            for llm in experiment.llms:
                _expect(llm, self.llms, f"experiments.{name}.llms")
            for dataset in experiment.datasets:
                own = self.datasets[dataset]
                for key, wanted in (("methods", experiment.methods), ("seeds", experiment.seeds)):
                    if (allowed := getattr(own, key)) and not {*allowed} & {*wanted}:
                        raise ValueError(
                            f"datasets.{dataset}.{key} leaves nothing of experiments.{name}; mend one of them"
                        )
        if self.judge is not None:
            _expect(self.judge.llm, self.llms, "judge.llm")
        for name, dataset in self.datasets.items():
            for method in dataset.methods:
                _expect(method, self.methods, f"datasets.{name}.methods")
        return self

    def training(self, method: str, dataset: str) -> TrainSettings:
        """Training settings: `train.common`, then the objective's, the tuning's, the dataset's and the method's own."""
        chosen = self.methods[method]
        layers = [
            self.train.get(layer, {}) for layer in ("common", chosen.objective, chosen.tuning)
        ]
        merged: dict[str, Any] = {}
        for layer in (*layers, self.datasets[dataset].train_overrides, chosen.train):
            merged |= layer
        return TrainSettings(**merged)

    def data(self, dataset: str, method: str) -> DataSettings:
        """The dataset's settings as `method` reads them: with its own rationale source, where it names one."""
        own = self.methods[method].rationale
        return self.datasets[dataset].model_copy(update={"rationale": own} if own else {})

    def limits(self, dataset: str) -> tuple[int, int]:
        """Token limits (input, rationale) of `dataset`: one pair everywhere a prompt is built."""
        own = self.datasets[dataset]
        return (
            own.max_input_tokens or self.max_input_tokens,
            own.max_rationale_tokens or self.max_rationale_tokens,
        )

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


def settings_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Overrides from `KEY=VALUE` texts; a value is JSON where it can be (YAML 1.1 takes 1e-3 for text), else YAML."""
    found = {}
    for pair in pairs:
        key, mark, text = pair.partition("=")
        if not mark or not key:
            raise R2DError(f"A setting is written KEY=VALUE, not {pair!r}.")
        try:
            found[key] = json.loads(text)
        except ValueError:
            try:
                found[key] = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise R2DError(
                    f"{key}: the value is not valid YAML ({' '.join(str(error).split())})."
                ) from None
    return found


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
        raise R2DError(
            f"Override {dotted!r}: {'.'.join(parents)!r} is one value, without {last!r} below it."
        )
    node[last] = value


def _expect(value: str, known, where: str) -> None:
    if value not in known:
        near = difflib.get_close_matches(value, list(known), 1)
        hint = (
            f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(sorted(known))}"
        )
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
