"""Decoding a run's test set: by which engine, with what outcome, and how long one case takes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from r2d.data.dataset import Dataset
from r2d.data.record import Record
from r2d.method.objective import Objective
from r2d.models import ctranslate
from r2d.models.ctranslate import CTranslate2
from r2d.models.decode import Decoder, Engine

WORTH = 200  # test cases; of fewer, finding out costs more than it saves
COMPARED = 64  # validation cases that both engines have to decode to the same texts
TIMED = 32  # test cases that are decoded one by one


def decode(
    decoder: Decoder, loaded: Dataset, objective: Objective, how: str
) -> tuple[list[dict], dict]:
    """Predictions of the test set, probed for the measures, and a record of how they were made.

    CTranslate2 decodes where it gives the validation cases the texts that torch gives them. The
    record has the `engine`, what came of that comparison, seconds, and the `latency` of a case by
    each engine.
    """
    test = loaded.test
    with _engines(decoder, len(test)) as others:
        record = _choose(decoder, others, loaded.validation[:COMPARED], objective, how)
        began = time.perf_counter()
        predictions = decoder.predict(test, objective, how)
        decoded = time.perf_counter()
        if objective.explains:
            decoder.probe(test, predictions, objective, how)
        record["test_seconds"] = decoded - began
        record["probe_seconds"] = time.perf_counter() - decoded
        chosen = decoder.engine
        record["latency"] = {}
        for engine in (None, *others):
            decoder.engine = engine
            record["latency"][name(engine)] = latency(decoder, test[:TIMED], objective, how)
        decoder.engine = chosen
    return predictions, record


def latency(decoder: Decoder, records: Sequence[Record], objective: Objective, how: str) -> dict:
    """Seconds from one case to its label and rationale: median and 95th percentile.

    Cases are decoded one at a time, by the engine that the decoder has.
    """
    decoder.predict(records[:1], objective, how)  # what happens once is no part of it
    seconds = []
    for record in records:
        began = time.perf_counter()
        decoder.predict([record], objective, how)
        seconds.append(time.perf_counter() - began)
    median, p95 = np.quantile(seconds, [0.5, 0.95]).round(6).tolist()
    return {"median": median, "p95": p95, "cases": len(records)}


def name(engine: Engine | None) -> str:
    """What an engine is called in the record of a run; None is torch."""
    return str(engine or "torch")


@contextmanager
def _engines(decoder: Decoder, cases: int) -> Iterator[list[CTranslate2]]:
    """What could decode in the network's place: CTranslate2 in float32, which goes first, and int8.

    Its conversion is not kept.
    """
    if cases < WORTH:
        yield []
        return
    with ctranslate.converted(decoder.network, keep=False) as folder:
        precisions = ("float32", "int8") if folder else ()
        yield [CTranslate2(decoder.network, folder, precision) for precision in precisions]


def _choose(
    decoder: Decoder,
    engines: Sequence[CTranslate2],
    records: Sequence[Record],
    objective: Objective,
    how: str,
) -> dict:
    """Let the first of these engines decode if its texts are torch's; what was found, in a dict."""
    if not engines:
        return {"engine": name(None)}
    by_torch = decoder.predict(records, objective, how)
    decoder.engine = engines[0]
    by_engine = decoder.predict(records, objective, how)
    same = sum(a == b for a, b in zip(by_torch, by_engine, strict=True))
    if same < len(records):
        decoder.engine = None
    return {
        "engine": name(decoder.engine),
        "engine_check": {"cases": len(records), "same": same},
    }
