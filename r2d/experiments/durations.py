"""How long notebooks took: by the logs of runs on this machine, and by a record that is shipped."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from r2d import env, files, paths

# Lines of Snakemake's, each of the last two after one with a date.
DATE = re.compile(r"\[(\w{3} \w{3} [ \d]\d .+)\]$")
START = re.compile(r"Job (\d+): (.+)$")
END = re.compile(r"Finished jobid: (\d+) ")


@dataclass(frozen=True)
class Record:
    """A finished run of a profile: the machine in words, and each job's seconds by its name."""

    machine: str
    seconds: dict[str, float]


def shipped(profile: str) -> Record | None:
    """The record of a profile that the package has, if it has one."""
    path = _place(profile)
    if not path.is_file():
        return None
    shape = {"machine": str, "seconds": {str: float}}
    return Record(**files.read_json(path, shape, "get the project's files again"))


def ship(profile: str, seconds: Mapping[str, float]) -> Path:
    """Make these, which are this machine's, the package's record of a profile; its path."""
    rounded = {name: round(seconds[name]) for name in sorted(seconds)}
    text = json.dumps({"machine": env.machine(), "seconds": rounded}, indent=1)
    path = _place(profile)
    paths.write(path, f"{text}\n")
    return path


def in_logs(folder: Path) -> dict[str, float]:
    """The seconds of each job by its name that the logs in a folder have; the last log counts."""
    seconds: dict[str, float] = {}
    for log in sorted(folder.glob("run-*.log")):
        seconds |= in_log(log.read_text(encoding="utf-8", errors="replace").splitlines())
    return seconds


def in_log(lines: Iterable[str]) -> dict[str, float]:
    """The same of the lines of one log."""
    date, begun, seconds = None, {}, {}
    for line in lines:
        dated, start, end = DATE.match(line), START.match(line), END.match(line)
        if dated:
            date = datetime.strptime(dated[1], "%a %b %d %H:%M:%S %Y")
        elif start and date:
            begun[start[1]] = (start[2], date)
        elif end and end[1] in begun:
            name, since = begun[end[1]]
            seconds[name] = (date - since).total_seconds()
    return seconds


def _place(profile: str) -> Path:
    return paths.DURATIONS / f"{paths.named(profile)}.json"
