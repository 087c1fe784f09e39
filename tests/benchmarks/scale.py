"""1,000 to 100,000 training notes: `cd tests && python -m benchmarks.scale` fills its table.

Each number of notes has a process of its own, so that memory is counted from nothing.
"""

import argparse
import json
import subprocess
import sys
import time
from statistics import median

import pandas as pd
import psutil

from benchmarks import machine, report
from benchmarks.measure import TASKS, Steps
from r2d import data, env, recipes
from r2d.models.decode import Decoder
from r2d.models.load import load_model, load_tokenizer
from r2d.reporting import escape

COUNTS = (1_000, 10_000, 100_000)
STEPS = 15  # timed, after two that warm up


def main() -> None:
    """Measure every number of notes and fill the table; with `--notes`, print one as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=main.__doc__)
    parser.add_argument("--notes", type=int)
    parser.add_argument("--dry-run", action="store_true", help="print the table, write nothing")
    options = parser.parse_args()
    if options.notes:
        print(json.dumps(measured(options.notes)))
        return
    text = table([in_a_process(count) for count in COUNTS])
    if options.dry_run:
        print(text)
    else:
        report.fill(report.HERE / "README.md", "scale", text)


def in_a_process(count: int) -> dict[str, float]:
    """What a process of its own measures."""
    command = [sys.executable, "-m", "benchmarks.scale", "--notes", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measured(count: int) -> dict[str, float]:
    """Seconds of preparation and of a stage-2 step under the recipe `mini`, memory in MiB."""
    recipe = recipes.load("mini", {"datasets.triage.train": count})
    chosen = recipe.training("r2d-full", "triage")
    model = load_model("mini-base", "full", recipe.lora, chosen.dropout)
    tokenizer, started = load_tokenizer("mini-base"), psutil.Process().memory_info().rss
    began = time.perf_counter()
    loaded = data.load("triage", recipe.datasets["triage"])
    read = time.perf_counter()
    decoder = Decoder(model, tokenizer, loaded.labels, recipe.limits("triage"))
    trainer = Steps(decoder, TASKS["stage-2 step"], chosen, loaded.train)
    tokenised = time.perf_counter()
    kept = psutil.Process().memory_info().rss
    seconds = []
    for step in range(STEPS + 2):
        before = time.perf_counter()
        trainer.take(step)
        seconds.append(time.perf_counter() - before)
    return {
        "notes": count,
        "loading": read - began,
        "tokenising": tokenised - read,
        "kept": (kept - started) / 2**20,
        "peak": env.peak_memory_mb(),
        "step": median(seconds[2:]),
    }


def table(rows: list[dict[str, float]]) -> str:
    """The numbers, and preparation and memory by the thousand notes, in Markdown."""
    lines = []
    for row in rows:
        thousands = row["notes"] / 1000
        preparing = row["loading"] + row["tokenising"]
        lines.append(
            {
                "training notes": f"{row['notes']:,}",
                "loading (s)": f"{row['loading']:.2f}",
                "tokenising (s)": f"{row['tokenising']:.2f}",
                "both, a thousand notes (ms)": f"{1000 * preparing / thousands:.0f}",
                "kept (MiB)": f"{row['kept']:.1f}",
                "kept, a thousand notes (MiB)": f"{row['kept'] / thousands:.2f}",
                "peak of the process (MiB)": f"{row['peak']:,}",
                "stage-2 step (ms)": f"{1000 * row['step']:.0f}",
            }
        )
    return f"{escape.table(pd.DataFrame(lines))}\n\nOn {machine.describe()}; commit {env.commit()}."


if __name__ == "__main__":
    main()
