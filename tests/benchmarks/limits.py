"""The seconds that this machine's limits allow a step or a decoding."""

from functools import lru_cache
from statistics import median

from benchmarks import machine, work
from r2d.data.record import Record
from r2d.method import prompts
from r2d.method.objective import Objective
from r2d.models.decode import Decoder

WIDTH = {"fp32": 4, "int8": 1}  # bytes of a weight that decoding reads

product_rate = lru_cache(machine.product_rate)
copy_rate = lru_cache(machine.copy_rate)


def of_steps(decoder: Decoder, objective: Objective, steps: list[dict], number: str) -> float:
    """Median over naive's steps: their multiply-adds at the rate of a product of their tokens."""
    config, macs, tokens = decoder.model.config, [], []
    for step in steps:
        sources = lengths(decoder, _predict(step["records"]))
        labels = lengths(decoder, [record.label for record in step["records"]])
        tokens.append(sum(sources))
        macs.append(work.training(config, sources, labels))
        if objective.explains:
            explain = lengths(decoder, _explain(step["records"], step["prompted"]))
            rationales = [record.rationale for record in step["records"]]
            targets = lengths(decoder, rationales, decoder.max_rationale)
            macs[-1] += work.training(config, explain, targets) + _sampling(config, step, sources)
    rate = product_rate(round(median(tokens)), config.d_model, config.d_ff, number)
    return median(macs) / rate


def _sampling(config, step: dict, sources: list[int]) -> float:
    """Multiply-adds of the labels that the coins ask for."""
    chosen = [k for k, asked in enumerate(step["sampled"]) if asked]
    read, written = [sources[k] for k in chosen], [step["written"][k] for k in chosen]
    return work.reading(config, read) + work.writing(config, read, written)


def of_decoding(
    decoder: Decoder, parts: list[list[Record]], answers: list[list[dict]], number: str
) -> float:
    """Median over parts that are decoded together, of which `answers` are naive's.

    Prompts are read at the rate of a product of their tokens. Writing is held up by its bytes at
    the rate of a copy of the decoder's weights, or by its multiply-adds at the rate of a product of
    one token a row, whichever takes longer; the product is a feed-forward or the output layer's.
    """
    config = decoder.model.config
    read, written, moved, tokens = [], [], [], []
    for records, rows in zip(parts, answers, strict=True):
        labels = [each["label"] for each in rows]
        passes = (
            (lengths(decoder, _predict(records)), [each["label_tokens"] for each in rows]),
            (lengths(decoder, _explain(records, labels)), [r["rationale_tokens"] for r in rows]),
        )
        read.append(sum(work.reading(config, sources) for sources, _ in passes))
        written.append(sum(work.writing(config, *each) for each in passes))
        moved.append(sum(work.written_bytes(config, *each, WIDTH[number]) for each in passes))
        tokens.append(sum(passes[0][0]))
    reading = product_rate(round(median(tokens)), config.d_model, config.d_ff, number)
    multiplying = max(
        product_rate(len(parts[0]), config.d_model, columns, number)
        for columns in (config.d_ff, config.vocab_size)
    )
    moving = copy_rate(WIDTH[number] * work.step_weights(config))
    return median(read) / reading + max(median(moved) / moving, median(written) / multiplying)


def lengths(decoder: Decoder, texts: list[str], limit: int | None = None) -> list[int]:
    """How many tokens each text has, its end included."""
    limit = limit or decoder.max_input
    return [
        len(ids) for ids in decoder.tokenizer(texts, truncation=True, max_length=limit).input_ids
    ]


def _predict(records: list[Record]) -> list[str]:
    return [prompts.predict(record.question) for record in records]


def _explain(records: list[Record], labels: list[str]) -> list[str]:
    pairs = zip(records, labels, strict=True)
    return [prompts.explain(record.question, label) for record, label in pairs]
