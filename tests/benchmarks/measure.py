"""Pairs of timings, ours and the straightforward one in turn, their results asserted equal."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from accelerate.state import AcceleratorState
from torch import nn

from benchmarks import limits
from benchmarks.naive import Naive, NaiveTraining
from benchmarks.sizes import SEED, TEACHING, Size
from r2d.data.record import Record
from r2d.method.objective import Objective, named
from r2d.models import ctranslate
from r2d.models.decode import Decoder
from r2d.models.load import count_parameters
from r2d.recipes.settings import TrainSettings
from r2d.training.loop import Trainer

STEPS = 1000  # of which a few are taken, so that the learning rate hardly falls
TASKS = {
    "SFT step": named("sft"),
    "stage-2 step": named("r2d-always", {"warmup": 0.0}),  # a = 0.7, p = 0.9 at every step
}
TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}  # of the losses, relative; oneDNN rounds differently
R2D, TORCH, NAIVE = "r2d", "torch", "naive"


class Steps(Trainer):
    """The project's trainer, one step at a time, without validation or checkpoints."""

    def __init__(
        self, decoder: Decoder, objective: Objective, chosen: TrainSettings, records: list[Record]
    ):
        AcceleratorState._reset_state(True)  # else it keeps the precision of the first trainer
        super().__init__(decoder.model, decoder, objective, chosen, SEED, Path(), "")
        self._prepare(records, records[:1])

    def take(self, step: int) -> dict:
        """One optimiser step; what the log would keep of it."""
        return self._step(step)


@dataclass(frozen=True)
class Row:
    """One line of the tables: seconds are medians, `ratio` is naive's over ours, pair by pair."""

    size: str
    parameters: int
    task: str
    engine: str
    naive: float
    ours: float
    ratio: tuple[float, float, float]  # median, lowest, highest
    limit: float  # seconds that the machine's limit allows
    p95: tuple[float, float] | None = None  # naive's, ours, where cases come one at a time
    equal: float | None = None  # share of texts that are naive's


def settings(size: Size, precision: str, lr: float) -> TrainSettings:
    """Those of a step of the size."""
    return TrainSettings(
        steps=STEPS,
        lr=lr,
        batch=size.batch,
        dropout=0.0,
        eval_every=STEPS,
        patience=1,
        precision=precision,
    )


def train(size: Size, decoder: Decoder, records: list[Record]) -> None:
    """Teach the decoder's model for as long as the size says."""
    trainer = Steps(decoder, TASKS["stage-2 step"], settings(size, "fp32", TEACHING), records)
    for step in range(size.trained):
        trainer.take(step)


def training(size: Size, decoder: Decoder, records: list[Record], task: str, precision: str) -> Row:
    """Steps of both from the same weights, in turn; their losses have to agree."""
    objective, chosen = TASKS[task], settings(size, precision, size.lr)
    ours = Steps(around(deepcopy(decoder.model), decoder), objective, chosen, records)
    written = straightforward(deepcopy(decoder.model), decoder)
    naive = NaiveTraining(written, records, size.batch, size.lr, STEPS)
    weights = objective.label_weight_at(0, STEPS), objective.sampling_probability_at(0, STEPS)
    calls = {NAIVE: lambda step: naive.step(step, SEED, *weights), R2D: ours.take}
    seconds, results = in_turn(calls, range(size.rounds + 1))
    for step, result in enumerate(results):
        expect_equal_losses(step, result[NAIVE], result[R2D], TOLERANCE[precision])
    limit = limits.of_steps(decoder, objective, [each[NAIVE] for each in results[1:]], precision)
    return row(size, decoder, task, f"{R2D}, {precision}", (seconds[NAIVE], seconds[R2D]), limit)


def decoding(
    size: Size, engines: dict[str, Decoder], records: list[Record], singly: bool
) -> list[Row]:
    """Label and rationale of the records by each engine, all together or one case at a time.

    Texts have to be naive's, but for an engine in int8: of a trained model the share of equal ones
    is in its row, of random weights it would say nothing.
    """
    decoder, objective = engines[TORCH], TASKS["stage-2 step"]
    parts = [[record] for record in records[: size.singles]] if singly else [records] * size.rounds
    naive = straightforward(decoder.model, decoder)
    calls = {NAIVE: lambda part: naive.predict(part, size.cases)}
    for name, each in engines.items():
        calls[name] = lambda part, each=each: each.predict(part, objective)
    seconds, results = in_turn(calls, [parts[0], *parts])
    answers = [each[NAIVE] for each in results[1:]]
    task, rows = "one case at a time" if singly else f"{size.cases} cases together", []
    for name in engines:
        number = "int8" if "int8" in name else "fp32"
        equal = fmean(share_equal(result[NAIVE], result[name]) for result in results)
        if number == "fp32" and equal < 1:
            raise AssertionError(f"{size.name}: {equal:.1%} of the texts of {name} are naive's.")
        if number == "int8" and not size.trained:
            equal = None
        limit = limits.of_decoding(decoder, parts, answers, number)
        pair = seconds[NAIVE], seconds[name]
        slow = tuple(float(np.percentile(taken, 95)) for taken in pair) if singly else None
        rows.append(row(size, decoder, task, name, pair, limit, p95=slow, equal=equal))
    return rows


def in_turn(
    calls: dict[str, Callable[[Any], Any]], arguments: Sequence
) -> tuple[dict[str, list[float]], list[dict[str, Any]]]:
    """Call all of `calls` with one argument after the other, and time them.

    Seconds by name leave out the first round, which warms up; results have every round.
    """
    seconds = {name: [] for name in calls}
    results = []
    gc.collect()  # the weights of earlier rows
    for argument in arguments:
        results.append({})
        for name, call in calls.items():
            began = time.perf_counter()
            results[-1][name] = call(argument)
            seconds[name].append(time.perf_counter() - began)
    return {name: taken[1:] for name, taken in seconds.items()}, results


def row(
    size: Size,
    decoder: Decoder,
    task: str,
    engine: str,
    seconds: tuple[list[float], list[float]],
    limit: float,
    **more: Any,
) -> Row:
    """The row of a task's seconds, naive's and ours by pair."""
    naive, ours = seconds
    ratios = [slow / fast for slow, fast in zip(naive, ours, strict=True)]
    return Row(
        size=size.name,
        parameters=count_parameters(decoder.model)["parameters"],
        task=task,
        engine=engine,
        naive=median(naive),
        ours=median(ours),
        ratio=(median(ratios), min(ratios), max(ratios)),
        limit=limit,
        **more,
    )


def expect_equal_losses(step: int, naive: dict, ours: dict, tolerance: float) -> None:
    """Raise `AssertionError` where a step sampled other examples, or its loss is another."""
    sampled = sum(naive["sampled"])
    if ours["sampled"] != sampled:
        raise AssertionError(f"Step {step}: {ours['sampled']} sampled labels, naive {sampled}.")
    if abs(ours["loss"] - naive["loss"]) > tolerance * abs(naive["loss"]):
        raise AssertionError(f"Step {step}: loss {ours['loss']}, naive {naive['loss']}.")


def share_equal(naive: list[dict], ours: list[dict]) -> float:
    """Of labels and rationales together, the share that is the same text in both."""
    pairs = zip(naive, ours, strict=True)
    return fmean(a[name] == b[name] for a, b in pairs for name in ("label", "rationale"))


@contextmanager
def engines(decoder: Decoder) -> Iterator[dict[str, Decoder]]:
    """What decodes, by name: the network itself, and its conversions where there are any."""
    with ctranslate.converted(decoder.network, keep=False) as folder:
        found = {TORCH: decoder}
        for precision in ("float32", "int8") if folder else ():
            each = around(decoder.model, decoder)
            each.engine = ctranslate.CTranslate2(decoder.network, folder, precision)
            found[str(each.engine)] = each
        yield found


def around(model: nn.Module, decoder: Decoder) -> Decoder:
    """A decoder as the given one around another model."""
    limits = decoder.max_input, decoder.max_rationale
    return Decoder(model, decoder.tokenizer, decoder.labels, limits)


def straightforward(model: nn.Module, decoder: Decoder) -> Naive:
    """The straightforward implementation of the same."""
    limits = decoder.max_input, decoder.max_rationale
    return Naive(model, decoder.tokenizer, decoder.labels, limits)
