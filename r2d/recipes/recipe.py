"""A profile's recipe: everything that its runs depend on, read from one YAML file."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from r2d import paths
from r2d.errors import R2DError, in_one_sentence
from r2d.method.objective import OBJECTIVES, Objective, named
from r2d.recipes.overrides import nearest, override, short_name
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

SANITY_ROWS = ("majority", "tfidf", "rule", "rule-no-negation", "rule-no-modifiers")
NAMED = ("datasets", "methods", "llms", "experiments")
# What stands beside the datasets' folders in `runs/<profile>/`.
TAKEN = ("figures", "logs", "notebooks", "report", "results")


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
    def _fits_together(self):
        """Names lead somewhere, and what they lead to fits."""
        self._check_names()
        for layer in self.train:
            _expect(layer, {"common", "full", "lora", "qlora", *OBJECTIVES}, "train")
        _expect(self.reference, self.methods, "reference")
        for name in self.methods:
            self._check_method(name)
        for name in self.experiments:
            self._check_experiment(name)
        if self.judge is not None:
            _expect(self.judge.llm, self.llms, "judge.llm")
        for name, dataset in self.datasets.items():
            for method in dataset.methods:
                _expect(method, self.methods, f"datasets.{name}.methods")
            if dataset.reads != "question":
                raise ValueError(
                    f"datasets.{name}.reads is for methods; give `reads: rationale` to one of them"
                )
            if dataset.labels == "open" and self.decode.labels == "score":
                raise ValueError(
                    f"datasets.{name}.labels is open, but decode.labels is score, which needs a "
                    "label set; change one of them"
                )
        return self

    def _check_names(self) -> None:
        """Folders, files and jobs are called by these names."""
        _expect_name(self.profile, "profile")
        for part in NAMED:
            for name in getattr(self, part):
                _expect_name(name, part)
        for dataset in self.datasets:
            if dataset.casefold() in TAKEN:
                raise ValueError(
                    f"datasets has the name {dataset!r}, which is a folder of every profile; "
                    "rename it"
                )
        _expect_name(self.zero_shot.prompt, "zero_shot.prompt")
        if self.judge is not None:
            _expect_name(self.judge.prompt, "judge.prompt")

    def _check_method(self, name: str) -> None:
        method = self.methods[name]
        _expect(method.objective, {*OBJECTIVES, *SANITY_ROWS}, f"methods.{name}.objective")
        if method.init is not None:
            self._check_start(name)
        if method.reads == "rationale" and method.objective != "sft":
            raise ValueError(
                f"methods.{name} reads rationales and has only labels to learn from them; give it "
                "the objective sft"
            )
        if method.objective in OBJECTIVES:
            named(method.objective, method.objective_overrides)
            for dataset in self.datasets:
                self.training(name, dataset)

    def _check_start(self, name: str) -> None:
        """A method goes on from a stage 1 of its own tuning and backbone."""
        method = self.methods[name]
        _expect(method.init, self.methods, f"methods.{name}.init")
        start = self.methods[method.init]
        if start.objective not in OBJECTIVES or OBJECTIVES[start.objective].predicts:
            raise ValueError(
                f"methods.{name} starts from {method.init}, which is not a stage 1; name one that "
                "is"
            )
        if (start.tuning, start.backbone) != (method.tuning, method.backbone):
            raise ValueError(
                f"methods.{name} starts from {method.init}, which has another tuning or backbone; "
                "give both the same"
            )

    def _check_experiment(self, name: str) -> None:
        """An experiment's names exist, and no dataset narrows it to nothing."""
        experiment = self.experiments[name]
        for dataset in experiment.datasets:
            _expect(dataset, self.datasets, f"experiments.{name}.datasets")
        for method in experiment.methods:
            _expect(method, self.methods, f"experiments.{name}.methods")
        for llm in experiment.llms:
            _expect(llm, self.llms, f"experiments.{name}.llms")
        self._check_readers(name)
        for dataset in experiment.datasets:
            settings = self.datasets[dataset]
            if _disjoint(settings.methods, experiment.methods):
                raise ValueError(_leaves_nothing(dataset, "methods", name))
            if _disjoint(settings.seeds, experiment.seeds):
                raise ValueError(_leaves_nothing(dataset, "seeds", name))

    def _check_readers(self, name: str) -> None:
        """What reads gold rationales is compared with nothing, and nothing else is a reader."""
        experiment = self.experiments[name]
        for reader in experiment.readers:
            _expect(reader, self.methods, f"experiments.{name}.readers")
            if self.methods[reader].reads == "question":
                raise ValueError(
                    f"experiments.{name}.readers names {reader}, which reads questions; give it "
                    "`reads: rationale`, or name another"
                )
        for method in experiment.methods:
            if self.methods[method].reads == "rationale":
                raise ValueError(
                    f"experiments.{name}.methods names {method}, which reads gold rationales; name "
                    "it under readers"
                )

    def training(self, method: str, dataset: str) -> TrainSettings:
        """Training settings, of which a later layer's count.

        `train.common`, the objective's, the tuning's, the dataset's, and the method's own.
        """
        chosen = self.methods[method]
        settings: dict[str, Any] = {}
        for layer in ("common", chosen.objective, chosen.tuning):
            settings |= self.train.get(layer, {})
        settings |= self.datasets[dataset].train_overrides
        settings |= chosen.train
        return TrainSettings(**settings)

    def data(self, dataset: str, method: str) -> DataSettings:
        """The dataset's settings as `method` has them: its rationale source, and what it reads."""
        chosen, settings = self.methods[method], self.datasets[dataset]
        changed = {"reads": chosen.reads, "rationale": chosen.rationale or settings.rationale}
        return settings.model_copy(update=changed)

    def limits(self, dataset: str) -> tuple[int, int]:
        """Token limits (input, rationale) of `dataset`: one pair everywhere a prompt is built."""
        settings = self.datasets[dataset]
        return (
            settings.max_input_tokens or self.max_input_tokens,
            settings.max_rationale_tokens or self.max_rationale_tokens,
        )

    def fingerprint(self) -> str:
        """Twelve hex digits that change when any setting changes.

        A setting at its default does not count, so that a new kind of setting changes nothing.
        """
        text = json.dumps(self.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def profiles() -> list[str]:
    """Names of the recipes that are shipped."""
    return sorted(p.stem for p in paths.RECIPES.glob("*.yaml"))


def load(profile: str, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a shipped recipe and apply dotted `overrides`, e.g. `{"train.common.batch": 16}`.

    An overridden recipe has a profile name of its own (`mini+batch16`; a hash where that would be
    too long), so its runs and figures never mix with the shipped recipe's. Raises `R2DError` with
    one sentence for an unknown profile, an unknown or contradictory key, or an override of a
    setting that does not exist.
    """
    if profile not in profiles():
        raise R2DError(f"Profile {profile!r} is not known: choose one of {', '.join(profiles())}.")
    path = paths.RECIPES / f"{profile}.yaml"
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    if overrides:
        for key, value in overrides.items():
            override(raw, key, value, Recipe)
        raw["profile"] = short_name(profile, overrides, _plain(raw))
    try:
        return Recipe(**raw)
    except ValidationError as error:
        sentence = in_one_sentence(error, "the recipe")
        raise R2DError(f"Recipe {path.name}: {sentence}") from None


def _plain(raw: dict) -> dict[str, set[str]]:
    """What goes without saying in a changed profile's name: where most settings are changed.

    That is every method's training, the first dataset and the reference's objective; a setting
    that two of them have is named in full.
    """
    places = {
        "train.common.": set(TrainSettings.model_fields),
        f"datasets.{next(iter(raw['datasets']))}.": set(DataSettings.model_fields),
        f"methods.{raw['reference']}.objective_overrides.": set(Objective.model_fields),
    }
    counts = Counter(name for names in (*places.values(), Recipe.model_fields) for name in names)
    return {place: {n for n in names if counts[n] == 1} for place, names in places.items()}


def _expect_name(name: str, where: str) -> None:
    try:
        paths.named(name)
    except R2DError as error:
        raise ValueError(f"{where}: {error}") from None


def _expect(name: str, known: Iterable[str], where: str) -> None:
    if name in known:
        return
    guess = nearest(name, known)
    hint = f"did you mean {guess!r}?" if guess else f"expected one of {', '.join(sorted(known))}"
    raise ValueError(f"{where} names {name!r}, which is not there; {hint}")


def _disjoint(allowed: tuple, wanted: tuple) -> bool:
    return bool(allowed) and not set(allowed) & set(wanted)


def _leaves_nothing(dataset: str, key: str, experiment: str) -> str:
    return f"datasets.{dataset}.{key} leaves nothing of experiments.{experiment}; mend one of them"
