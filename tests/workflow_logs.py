"""Snakemake's log, as far as r2d reads it."""

from collections.abc import Mapping
from datetime import datetime, timedelta


def log(seconds: Mapping[str, float]) -> str:
    """The log of a workflow whose jobs, one after the other, took so many seconds."""
    date, lines = datetime(2026, 1, 1), []
    for number, (name, length) in enumerate(seconds.items(), 1):
        lines += [f"[{date:%a %b %d %H:%M:%S %Y}]", f"Job {number}: {name}"]
        date += timedelta(seconds=length)
        lines += [f"[{date:%a %b %d %H:%M:%S %Y}]", f"Finished jobid: {number} (Rule: x)"]
    return "\n".join(lines)
