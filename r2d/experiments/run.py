"""One run: a method on a dataset under a seed, from recipe to a finished run directory."""

import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from safetensors import SafetensorError

from r2d import data, env, hashes, paths, provenance
from r2d.errors import R2DError
from r2d.experiments import directory
from r2d.method.objective import OBJECTIVES, Objective, named
from r2d.models import assets
from r2d.recipes import Recipe
from r2d.recipes.settings import DataSettings, LoraSettings

if TYPE_CHECKING:
    from r2d.evaluation.support import Background
    from r2d.experiments.job import Job
    from r2d.models.decode import Decoder


@dataclass(frozen=True)
class Run:
    """One method on one dataset under one seed, as a recipe has it."""

    recipe: Recipe = field(repr=False, compare=False)
    dataset: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.dataset} {self.method} seed {self.seed}"

    @property
    def names(self) -> dict[str, Any]:
        """What tells a run from others, as the columns of tables."""
        return {"dataset": self.dataset, "method": self.method, "seed": self.seed}

    @property
    def title(self) -> str:
        """The method's name for people."""
        return self.recipe.methods[self.method].title

    @property
    def folder(self) -> Path:
        """The run directory; if it exists, the run is finished."""
        return paths.run(self.recipe.profile, self.dataset, self.method, self.seed)

    @property
    def objective(self) -> Objective | None:
        """What the method optimises; None for a sanity row."""
        chosen = self.recipe.methods[self.method]
        if chosen.objective not in OBJECTIVES:
            return None
        return named(chosen.objective, chosen.objective_overrides)

    @property
    def start(self) -> "Run | None":
        """The stage 1 that this run goes on from."""
        first = self.recipe.methods[self.method].init
        return Run(self.recipe, self.dataset, first, self.seed) if first else None

    @cached_property
    def settings(self) -> dict:
        """All that decides the model and the predictions: the `config.yaml` of the directory."""
        recipe, chosen = self.recipe, self.recipe.methods[self.method]
        source = recipe.data(self.dataset, self.method)
        trained = self.objective is not None
        backbone = (chosen.backbone or recipe.backbone) if trained else None
        shown = source.model_dump(mode="json", exclude={"optional", "methods", "seeds", "reads"})
        return {
            "dataset": {"name": self.dataset, **shown},
            "method": {"name": self.method, **chosen.model_dump(mode="json", exclude={"title", "reads"})},
            "seed": self.seed,
            "backbone": backbone,
            "backbone_content": _content(backbone),
            "limits": list(recipe.limits(self.dataset)),
            "lora": recipe.lora.model_dump() if chosen.tuning != "full" else None,
            "train": recipe.training(self.method, self.dataset).model_dump() if trained else None,
            "decode": recipe.decode.model_dump(),
            "init": self.start.settings if self.start else None,
            "content": data.content(source),
            "code": training_code(),
        }

    @cached_property
    def key(self) -> str:
        """Changes with anything that decides the run or its metrics, of which stage 1 has none.

        The workflow compares it.
        """
        measured = []
        if self.objective is None or self.objective.predicts:
            measured = [self.recipe.metrics.model_dump(), metrics_code()]
        return provenance.digest(self.settings, *measured)

    def read(self) -> dict:
        """`config`, `env`, `metrics`, `log` and `predictions` of the finished run.

        Damaged metrics are made again; raises `R2DError` for other damage, and when it is not
        finished.
        """
        try:
            return directory.read(self.folder)
        except R2DError:
            known = directory.metrics_key(self.folder)
            if known or not directory.has_settings(self.folder, self.settings):
                raise
        with _to_disk(self.folder), _alone(self.folder):
            self._write_metrics(self.folder)
        return directory.read(self.folder)

    def execute(self) -> Path:
        """Do the run unless it is finished, resume it if it was killed; returns its directory.

        A finished run made under other settings, or of other data, is replaced only when the new
        one is whole. When only the metrics' code or settings changed, or they are damaged, only
        `metrics.json` is made again. Raises `R2DError` while another process does it, and for
        other damage to the run, which is not trained again unasked.
        """
        for name, known in (
            (self.dataset, self.recipe.datasets),
            (self.method, self.recipe.methods),
        ):
            if name not in known:
                raise R2DError(
                    f"Profile {self.recipe.profile} has no {name!r}; choose one of "
                    f"{', '.join(known)}."
                )
        with _to_disk(self.folder):
            if not self._is_current():
                with _alone(self.folder):
                    self._bring_up_to_date()
        return self.folder

    def untrained(self, labels: Sequence[str]) -> "Decoder":
        """The network as this run's training begins; needs the finished stage 1, if it has one."""
        from r2d.experiments.job import untrained

        return untrained(self._job(), labels)

    @property
    def trained(self) -> Path | None:
        """The finished run under these settings, here or the shipped recipe's; None if to train."""
        shipped = self.recipe.profile.partition("+")[0]
        twin = paths.run(shipped, self.dataset, self.method, self.seed)
        for folder in (self.folder, twin):
            if directory.is_whole(folder, self.settings):
                return folder
        return None

    @property
    def _part(self) -> Path:
        """Where the run is made before it has its name."""
        return self.folder.with_name(f".{self.folder.name}.part")

    def _is_current(self) -> bool:
        if not directory.has_settings(self.folder, self.settings):
            return False
        directory.expect_whole(self.folder)
        measured = directory.metrics_key(self.folder) == self.key
        return measured and hashes.are_recorded(self.folder)

    def _bring_up_to_date(self) -> None:
        # Killed before it had its name? Looked at first, as another process may give it now.
        whole = directory.is_whole(self._part, self.settings)
        if not directory.has_settings(self.folder, self.settings):
            if not whole and not self._take_over():
                self._make()
            if env.is_main_process():
                _name(self._part, self.folder)
        if env.is_main_process():
            if directory.metrics_key(self.folder) != self.key:
                self._write_metrics(self.folder)
            if not hashes.are_recorded(self.folder):  # made before there were any
                directory.record(self.folder)

    def _take_over(self) -> bool:
        """Copy the shipped recipe's run, if that is finished and nothing in it would be another."""
        finished = self.trained
        if finished is None:
            return False
        if env.is_main_process():
            shutil.rmtree(self._part, ignore_errors=True)
            shutil.copytree(finished, self._part)
        return True

    def _make(self) -> None:
        """Train, predict and measure into the part; its hashes come last: it is whole then."""
        from r2d.experiments.job import perform

        part = self._part
        (part / hashes.LIST).unlink(missing_ok=True)
        predictions, record = perform(self._job(), part, env.is_main_process())
        if env.is_main_process():
            names = {"profile": self.recipe.profile, "note": self.recipe.note, "title": self.title}
            record = {**env.describe(), **record, **names}
            paths.write_lines(part / directory.PREDICTIONS, predictions)
            paths.write(part / directory.ENV, json.dumps(record, indent=1))
            self._write_metrics(part)
            settings = yaml.safe_dump(self.settings, sort_keys=False)
            paths.write(part / directory.CONFIG, settings)
            directory.record(part)

    def _job(self) -> "Job":
        from r2d.experiments.job import Job

        recipe, chosen = self.recipe, self.recipe.methods[self.method]
        trained = self.objective is not None
        return Job(
            title=str(self),
            dataset=self.dataset,
            source=recipe.data(self.dataset, self.method),
            objective=chosen.objective,
            objective_overrides=chosen.objective_overrides,
            tuning=chosen.tuning,
            backbone=self.settings["backbone"],
            limits=recipe.limits(self.dataset),
            lora=recipe.lora,
            train=recipe.training(self.method, self.dataset) if trained else None,
            labels=recipe.decode.labels,
            decode_batch=recipe.decode.batch,
            seed=self.seed,
            start=self._start_model() if self.start else None,
            fingerprint=provenance.digest(self.settings),
        )

    def _start_model(self) -> Path:
        """The model that this run goes on from, made under the present settings."""
        first = self.start
        if not directory.has_settings(first.folder, first.settings):
            raise R2DError(
                f"There is no finished run of {first.method} at {first.folder} under these "
                f"settings; run {first.method} first."
            )
        directory.expect_whole(first.folder, directory.MODEL)
        return first.folder / directory.MODEL

    def _write_metrics(self, folder: Path) -> None:
        from r2d.evaluation import metrics

        predictions = directory.read_predictions(folder)
        labels = directory.read_file(folder, directory.ENV)["labels"]
        measured = {}
        if predictions:
            explained = any(each.get("rationale") for each in predictions)
            background = self._background() if explained else None
            measured = metrics.evaluate(predictions, labels, self.recipe.metrics, background)
            measured = metrics.rounded(measured)
        text = json.dumps({"key": self.key, **measured}, indent=1, allow_nan=False)
        paths.write(folder / directory.METRICS, text)
        hashes.record_again(folder, directory.METRICS)

    def _background(self) -> "Background":
        """What the measures of rationales need of the training data."""
        from r2d.evaluation.support import Background

        source = self.recipe.data(self.dataset, self.method)
        loaded = data.load(self.dataset, source)
        synthetic_triage = data.load_card(source.card).reader == "triage"
        return Background(loaded.train, loaded.labels, synthetic_triage)


def training_code() -> str:
    """Changes when the code, cards or base change that a run's model and predictions come from.

    Not with recipes: what one means for a run is in the run's settings. The base counts by the
    hashes of its files; raises `R2DError` where they are others.
    """
    shipped = [*sorted(paths.CARDS.glob("*.yaml")), assets.base() / hashes.LIST]
    made_by = provenance.code("r2d.experiments.job", without="r2d.recipes")
    return provenance.digest(made_by, provenance.files(shipped))


def metrics_code() -> str:
    """Changes when the code changes that metrics are computed by."""
    return provenance.code("r2d.evaluation.metrics", without="r2d.recipes")


def load_decoder(folder: Path) -> "tuple[Decoder, Objective]":
    """The trained model of a finished run, ready to decode; returns (decoder, objective).

    Raises `R2DError` for a damaged run.
    """
    from r2d.models.decode import Decoder
    from r2d.models.load import count_parameters, load_model, load_tokenizer

    run = directory.read(folder)
    directory.expect_whole(folder, directory.MODEL)
    settings, method = run["config"], run["config"]["method"]
    tokenizer = load_tokenizer(str(folder / directory.MODEL))
    lora = LoraSettings(**settings["lora"] or {})
    model = load_model(settings["backbone"], method["tuning"], lora, 0.0, folder / directory.MODEL)
    env.choose_threads(count_parameters(model)["parameters"])
    objective = named(method["objective"], method["objective_overrides"])
    limits, batch = tuple(settings["limits"]), settings["decode"]["batch"]
    open_limit = settings["dataset"].get("max_label_tokens", 64)
    labels = run["env"]["labels"]
    return Decoder(model, tokenizer, labels, limits, batch, open_limit), objective


def load_dataset(folder: Path) -> data.Dataset:
    """The dataset of a finished run, if it still is what the run was trained on."""
    finished = directory.read(folder)
    settings = dict(finished["config"]["dataset"])
    dataset = data.load(settings.pop("name"), DataSettings(**settings))
    if dataset.fingerprint != finished["env"]["dataset_fingerprint"]:
        raise R2DError(
            f"The dataset of {folder} has changed since that run: restore it, or train again on "
            "the new one."
        )
    return dataset


@contextmanager
def _to_disk(folder: Path) -> Iterator[None]:
    """A disk that takes nothing more is one sentence; what can't be read says so itself."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise R2DError(
            f"{folder} could not be written ({error}); free space there or set R2D_HOME to another "
            "disk, then rerun."
        ) from error


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the run's lock, which ends with the process however it ends.

    The other processes of the same run follow the main one.
    """
    if not env.is_main_process():
        yield
        return
    lock = out.with_name(f".{out.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise R2DError(
                f"Another process is at work on {out}: wait for it or stop it, then rerun."
            ) from None
        except OSError:  # a shared disk without locks
            pass
        yield


def _name(part: Path, out: Path) -> None:
    """Give a whole run its name; an earlier one stays until then."""
    shutil.rmtree(part / "checkpoints", ignore_errors=True)
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    part.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _content(backbone: str | None) -> str | None:
    """What tells a local backbone's weights from others."""
    if backbone and Path(backbone).is_dir():
        return provenance.checkpoint(Path(backbone))
    return None
