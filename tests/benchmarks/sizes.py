"""What is timed: T5 in three sizes behind one tokenizer, and notes of 60 to 120 tokens."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from r2d import data
from r2d.data.record import Record
from r2d.models.decode import Decoder
from r2d.models.load import load_model, load_tokenizer
from r2d.recipes.settings import DataSettings, LoraSettings

SEED = 811
SHORTEST, LONGEST = 60, 120  # tokens of a note
VOCABULARY = 32_128  # of T5's checkpoints; the tokenizer has fewer tokens
SPREAD = 1.5  # times T5's usual initial weights: what is written depends on the note then
TEACHING = 7e-4  # learning rate by which the small base is trained first


@dataclass(frozen=True)
class Size:
    """One size with the amounts it is timed with.

    `shape` is what its `T5Config` differs in, None for the small base that ships with the project.
    That one is first trained for `trained` steps; the others have random weights, which hardly ever
    end by themselves: they write rationales up to the limit. Random weights also make much of
    rounding, hence the small `lr` of the timed steps.
    """

    name: str
    shape: dict | None
    batch: int  # examples of an optimiser step
    cases: int  # decoded together
    singles: int  # decoded one at a time
    rounds: int  # timed, after one that warms up
    rationale: int  # token limit
    trained: int = 0
    lr: float = 1e-6


def t5(d_model: int, layers: int, heads: int, d_ff: int, d_kv: int = 64) -> dict:
    """The dimensions of one of T5's first checkpoints (Raffel et al. 2020)."""
    return {
        "d_model": d_model,
        "d_kv": d_kv,
        "d_ff": d_ff,
        "num_heads": heads,
        "num_layers": layers,
        "num_decoder_layers": layers,
    }


SIZES = (
    Size("mini", None, 16, 32, 32, 7, rationale=96, trained=100, lr=5e-5),
    Size("T5-small", t5(512, 6, 8, 2048), 8, 16, 12, 5, rationale=40),
    Size("T5-base", t5(768, 12, 12, 3072), 4, 8, 6, 3, rationale=40),
)


def decoder(size: Size, labels: tuple[str, ...]) -> Decoder:
    """The untrained size behind the mini base's tokenizer."""
    tokenizer = load_tokenizer("mini-base")
    return Decoder(network(size, len(tokenizer)), tokenizer, labels, (LONGEST + 20, size.rationale))


def network(size: Size, tokens: int) -> nn.Module:
    """The shipped base, or random weights that write none but the tokenizer's `tokens`."""
    if size.shape is None:
        return load_model("mini-base", "full", LoraSettings(), dropout=0.0)
    torch.manual_seed(SEED)
    vocabulary = max(VOCABULARY, tokens)
    config = T5Config(
        vocab_size=vocabulary,
        initializer_factor=SPREAD,
        dropout_rate=0.0,
        decoder_start_token_id=0,
        **size.shape,
    )
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        model.shared.weight[tokens:] = 0  # the output layer's, too: these logits are 0
    return model


def notes(count: int) -> data.Dataset:
    """Synthetic records, `count` of them to train on and as many to decide.

    A note is several of the generator's, as many as have 60 to 120 tokens together; label and
    rationale are those of the first.
    """
    wanted = 6 * count
    settings = DataSettings(card="triage", train=wanted, validation=6, test=wanted, seed=SEED)
    loaded = data.load("triage", settings)
    splits = {split: list(_joined(records))[:count] for split, records in loaded.splits.items()}
    return replace(loaded, splits=splits)


def _joined(records: list[Record]) -> Iterator[Record]:
    tokenizer, rng = load_tokenizer("mini-base"), random.Random(SEED)
    first, texts, wanted = None, [], 0
    for record in records:
        first = first or record
        texts.append(record.question)
        wanted = wanted or rng.randint(SHORTEST, LONGEST - 1)
        words = ". ".join(texts)
        if len(tokenizer(words)["input_ids"]) >= wanted:
            ids = tokenizer(words, add_special_tokens=False)["input_ids"][:wanted]
            yield replace(first, question=tokenizer.decode(ids))
            first, texts, wanted = None, [], 0
