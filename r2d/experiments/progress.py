"""What the terminal shows of Snakemake's output: how far it is, and what failed."""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from r2d.experiments.durations import END, START
from r2d.experiments.estimate import LAST, until_done

COUNT = re.compile(r"total +(\d+)$")
FAILED = re.compile(r" *log: ([^,(]*)\.[a-z]*[ ,].*\(check log file")


class Progress:
    """Which notebooks start and end, how many of all that is, and how long the rest takes.

    `expected` has the seconds of every job that there may be, None where nothing is known. What is
    left is measured by them, at the pace of the jobs that have ended; one of which nothing is known
    takes as long as the slower half of those.
    """

    def __init__(self, expected: Mapping[str, float | None]) -> None:
        self.expected = expected
        self.names: dict[str, str] = {}
        self.began: dict[str, float] = {}
        self.took: dict[str, float] = {}
        self.total = 0
        self.at_a_time = 1

    def shown(self, line: str) -> str | None:
        """What a line of Snakemake's means for the terminal, if anything."""
        count, start, end = COUNT.match(line), START.match(line), END.match(line)
        if count:
            self.total = int(count[1]) - 1  # the rule `all` is no notebook
        elif start:
            name = self.names[start[1]] = start[2]
            self.began[name] = time.monotonic()
            self.at_a_time = max(self.at_a_time, len(self.began) - len(self.took))
            return f"  {time.strftime('%H:%M')}  start  {name}"
        elif end and end[1] in self.names:
            name = self.names[end[1]]
            self.took[name] = time.monotonic() - self.began[name]
            done = f"{len(self.took)} of {self.total}{self._left()}"
            return f"  {time.strftime('%H:%M')}  done   {name}  ({done})"
        return None

    def _left(self) -> str:
        if self.total <= len(self.took):
            return ""
        seconds = until_done(self._running() + self._waiting(), self.at_a_time)
        return f", about {seconds // 60 + 1:.0f} min left"

    def _running(self) -> list[tuple[str, float]]:
        """What begun jobs still need."""
        now = time.monotonic()
        running = [name for name in self.began if name not in self.took]
        return [(name, max(0, self._length(name) - now + self.began[name])) for name in running]

    def _waiting(self) -> list[tuple[str, float]]:
        """What jobs need that have not begun: the last ones, and of the others as many as wait.

        Which those are is not said where some are up to date.
        """
        ahead = [name for name in self.expected if name not in self.began]
        last = [(name, self._length(name)) for name in LAST if name in ahead]
        others = [self._length(name) for name in ahead if name not in LAST]
        number = self.total - len(self.began) - len(last)
        if len(others) > number:
            others = [mean(others)] * max(0, number)
        return last + [("", length) for length in others]

    def _length(self, name: str) -> float:
        """The seconds of a job, as far as they can be told by now."""
        known = {each: self.expected.get(each) for each in self.took}
        known = {each: seconds for each, seconds in known.items() if seconds}
        seconds = self.expected.get(name)
        if seconds is None:
            return mean(sorted(self.took.values())[len(self.took) // 2 :])
        if not known:
            return seconds
        return seconds * sum(self.took[each] for each in known) / sum(known.values())


def sentence(lines: Sequence[str]) -> str:
    """Why Snakemake could not start: the sentence of an `R2DError`, else its last words."""
    for line, following in zip(lines, lines[1:], strict=False):
        if line.startswith("R2DError in file") and following:
            return following
    return "\n".join(lines[-5:])


def is_locked(lines: Sequence[str]) -> bool:
    """Whether Snakemake refused to start beside another run, or after a killed one."""
    return any("LockException" in line for line in lines)


def failures(lines: Sequence[str]) -> str:
    """The notebooks that failed, or logs where there is no notebook, each with its sentence."""
    matches = [FAILED.match(line) for line in lines]
    stems = sorted({match[1] for match in matches if match})
    return "\n".join(_failure(stem) for stem in stems) or sentence(lines)


def _failure(stem: str) -> str:
    notebook, log = Path(f"{stem}.ipynb"), Path(f"{stem}.log")
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    sentences = re.findall(r"^.*R2DError: (.+)$", text, re.MULTILINE)
    shown = [f"  {notebook if notebook.is_file() else log}"]
    shown += [f"    {each}" for each in sentences[-1:]]
    return "\n".join(shown)
