"""Peak memory of training at T5-Large's dimensions: `cd tests && python -m benchmarks.memory`.

It fills its table. The weights are random, and each way of training has a process of its own, as
peaks are counted from a process's start: some steps of stage 2, then validation and a checkpoint.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import torch
from transformers import T5Config, T5ForConditionalGeneration

from benchmarks import machine, report
from benchmarks.sizes import VOCABULARY, t5
from r2d import data, env
from r2d.data.record import Record
from r2d.method import objective
from r2d.models.decode import Decoder
from r2d.models.load import load_model, load_tokenizer
from r2d.recipes.settings import DataSettings, LoraSettings, TrainSettings, Tuning
from r2d.reporting import escape
from r2d.training.loop import Trainer

SHAPE = t5(1024, 24, 16, 2816) | {"feed_forward_proj": "gated-gelu"}  # T5 v1.1 Large
BATCH, STEPS = 2, 2
NOTE, RATIONALE = 128, 64  # tokens, of every example
GIB = 2**30


@dataclass(frozen=True)
class Way:
    """A way to train: its tuning and what it sets; `gpu` where the CPU can't."""

    title: str
    tuning: Tuning
    train: dict = field(default_factory=dict)
    gpu: bool = False


WAYS = (
    Way("full", "full"),
    Way("full, paged optimiser", "full", {"optimizer": "paged_adamw"}, gpu=True),
    Way("LoRA", "lora"),
    Way("QLoRA", "qlora"),
    Way("QLoRA, gradient checkpointing", "qlora", {"gradient_checkpointing": True}),
)


def main() -> None:
    """Measure every way that this machine has and fill the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=main.__doc__)
    parser.add_argument("--only", nargs="+", choices=[way.title for way in WAYS], metavar="WAY")
    parser.add_argument("--model", type=Path, help="where the weights are kept, 3 GB; else nowhere")
    parser.add_argument("--dry-run", action="store_true", help="print the table, write nothing")
    parser.add_argument("--do", choices=["make", *(way.title for way in WAYS)], help="a part")
    options = parser.parse_args()
    if options.do == "make":
        make(options.model)
    elif options.do:
        (way,) = (way for way in WAYS if way.title == options.do)
        print(json.dumps(measured(way, options.model)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(options.model or Path(folder) / "model", options.only)
        if options.dry_run:
            print(table(rows))
        else:
            report.fill(report.HERE / "README.md", "memory", table(rows))


def measure(model: Path, only: list[str] | None) -> list[dict]:
    """A row a way, each measured by a process of its own, and the model made by one."""
    if not model.is_dir():
        _process("make", model)
    rows = []
    for way in WAYS:
        if way.title in (only or [way.title]) and (torch.cuda.is_available() or not way.gpu):
            rows.append({"way": way.title, **json.loads(_process(way.title, model))})
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _process(part: str, model: Path) -> str:
    """The last line that a process of its own prints."""
    command = [sys.executable, "-m", "benchmarks.memory", "--do", part, "--model", str(model)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip().rpartition("\n")[2]


def make(folder: Path) -> None:
    """Save random weights of the size with the mini base's tokenizer."""
    tokenizer = load_tokenizer("mini-base")
    config = T5Config(vocab_size=VOCABULARY, decoder_start_token_id=0, **SHAPE)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def measured(way: Way, folder: Path) -> dict[str, float]:
    """Bytes of the weights; peaks of this process when they are read, and when training ends."""
    began = env.peak_memory_mb()
    model = load_model(str(folder), way.tuning, LoraSettings(), dropout=0.0)
    read = env.peak_memory_mb()
    loaded = data.load("triage", DataSettings(card="triage", train=BATCH, validation=2, test=2))
    tokenizer = load_tokenizer(str(folder))
    decoder = Decoder(model, tokenizer, loaded.labels, (NOTE, RATIONALE), BATCH)
    settings = TrainSettings(
        steps=STEPS,
        lr=1e-5,
        batch=BATCH,
        dropout=0.0,
        eval_every=STEPS,
        patience=1,
        precision="bf16" if torch.cuda.is_available() else "fp32",
        **way.train,
    )
    with tempfile.TemporaryDirectory() as run:
        trainer = Trainer(
            model, decoder, objective.named("r2d-always"), settings, 1, Path(run), "memory"
        )
        outcome = trainer.fit(long(loaded.train), long(loaded.validation))
    return {
        "weights": sum(weight.nbytes for weight in model.parameters()),
        "began": began * 2**20,
        "read": read * 2**20,
        "trained": outcome["peak_memory_mb"] * 2**20,
    }


def long(records: list[Record]) -> list[Record]:
    """The records with texts that reach both limits."""
    return [
        replace(r, question=" ".join([r.question] * 20), rationale=" ".join([r.rationale] * 20))
        for r in records
    ]


def table(rows: list[dict]) -> str:
    """Peaks beside full training's, in Markdown."""
    frame = pd.DataFrame(rows)
    shown = pd.DataFrame({"tuning": frame["way"]})
    for name, title in (
        ("weights", "weights (GiB)"),
        ("read", "peak while they are read (GiB)"),
        ("trained", "peak of training (GiB)"),
    ):
        shown[title] = [f"{value / GIB:.1f}" for value in frame[name]]
    full = frame.loc[frame["way"] == "full", "trained"]
    if len(full):
        shown["share of full"] = [f"{value / full.iloc[0]:.2f}" for value in frame["trained"]]
    if torch.cuda.is_available():
        where = f"Memory that torch allocated on one {torch.cuda.get_device_name()}, in bf16"
    else:
        where = f"Resident memory on {machine.describe()}, in fp32"
    began = f"Before the weights are read it is {frame['began'].max() / GIB:.1f} GiB."
    return f"{where}; commit {env.commit()}. {began}\n\n{escape.table(shown)}"


if __name__ == "__main__":
    main()
