"""What makes a run's numbers: one method trained on one dataset under one seed, then decoded."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from r2d import data, env
from r2d.errors import R2DError
from r2d.experiments import decoding
from r2d.method import objective
from r2d.models.decode import Decoder, prediction
from r2d.models.load import count_parameters, load_model, load_tokenizer, save_model
from r2d.models.sanity import SANITY
from r2d.recipes.settings import DataSettings, LoraSettings, TrainSettings
from r2d.training.loop import Trainer


@dataclass(frozen=True)
class Job:
    """All that a run's numbers depend on, resolved.

    `train` is None for a sanity row; `start` is the `model/` folder of a finished stage 1.
    """

    title: str
    dataset: str
    source: DataSettings
    objective: str
    objective_overrides: dict
    tuning: str
    backbone: str | None
    limits: tuple[int, int]
    lora: LoraSettings
    train: TrainSettings | None
    labels: str
    decode_batch: int
    seed: int
    start: Path | None
    fingerprint: str


def perform(job: Job, folder: Path, is_main: bool = True) -> tuple[list[dict], dict]:
    """Train and decode into `folder` (log, checkpoints, `model/`); predictions and a record of it.

    The record is what `env.json` keeps beside the versions. Every process of a run calls this; only
    the main one gets predictions.
    """
    env.seed_everything(job.seed)
    folder.mkdir(parents=True, exist_ok=True)
    loaded = data.load(job.dataset, job.source)
    began = time.perf_counter()
    record = {
        "title": job.title,
        "dataset_fingerprint": loaded.fingerprint,
        "dropped_rows": loaded.dropped,
        "labels": loaded.labels,
    }
    if job.train is None:
        answers = SANITY[job.objective](loaded.train, loaded.test, job.seed)
        predictions = [
            prediction(case, label, [label])
            for case, label in zip(loaded.test, answers, strict=True)
        ]
        record |= {"test_seconds": time.perf_counter() - began, "probe_seconds": 0.0}
    else:
        predictions, more = _network(job, loaded, folder, is_main)
        record |= more
    peaks = env.peak_memory_mb(), record.get("training", {}).get("peak_memory_mb", 0)
    return predictions, record | {"peak_memory_mb": max(peaks), "test_cases": len(predictions)}


def untrained(job: Job, labels: Sequence[str]) -> Decoder:
    """The network as its training begins: the backbone, or the stage 1 that it goes on from."""
    tokenizer = load_tokenizer(job.backbone)
    model = load_model(job.backbone, job.tuning, job.lora, job.train.dropout, job.start)
    env.choose_threads(count_parameters(model)["parameters"])
    limit = job.source.max_label_tokens
    return Decoder(model, tokenizer, labels, job.limits, job.decode_batch, limit)


def _network(job: Job, loaded: data.Dataset, folder: Path, is_main: bool) -> tuple[list, dict]:
    """Train one network and decode the test set."""
    optimised = objective.named(job.objective, job.objective_overrides)
    decoder = untrained(job, loaded.labels)
    _expect_writable_labels(decoder, loaded)
    model = decoder.model
    fingerprint = f"{job.fingerprint} {loaded.fingerprint}"
    trainer = Trainer(model, decoder, optimised, job.train, job.seed, folder, fingerprint)
    outcome = trainer.fit(loaded.train, loaded.validation, job.title)
    if not is_main:
        return [], {}
    save_model(model, decoder.tokenizer, job.backbone, folder / "model")
    record = {
        "training": outcome,
        "auto_class": decoder.network.auto,
        **count_parameters(model),
        "quantisation": "nf4, double" if job.tuning == "qlora" else None,
    }
    if not optimised.predicts:
        return [], record | {"test_seconds": 0.0, "probe_seconds": 0.0}
    predictions, more = decoding.decode(decoder, loaded, optimised, job.labels)
    return predictions, record | more


def _expect_writable_labels(decoder: Decoder, loaded: data.Dataset) -> None:
    """Refuse a label that would count as invalid for ever."""
    for split, records in loaded.splits.items():
        fault = decoder.label_fault(records)
        if fault:
            place, reason = fault
            raise R2DError(f"Dataset {loaded.name}, record {place + 1} of {split}: {reason}.")
