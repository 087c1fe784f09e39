"""What the terminal shows of Snakemake's output: how far it is, and what failed."""

import re
import time
from collections.abc import Sequence
from pathlib import Path

COUNT = re.compile(r"total +(\d+)$")
START = re.compile(r"Job (\d+): (.+)$")
END = re.compile(r"Finished jobid: (\d+) ")
FAILED = re.compile(r" *log: ([^,(]*)\.[a-z]*[ ,].*\(check log file")


class Progress:
    """Which notebooks start and end, how many of all that is, and how long the rest takes."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.names: dict[str, str] = {}
        self.total = 0
        self.ended = 0

    def shown(self, line: str) -> str | None:
        """What a line of Snakemake's means for the terminal, if anything."""
        count, start, end = COUNT.match(line), START.match(line), END.match(line)
        if count:
            self.total = int(count[1]) - 1  # the rule `all` is no notebook
        elif start:
            self.names[start[1]] = start[2]
            return f"  {time.strftime('%H:%M')}  start  {start[2]}"
        elif end and end[1] in self.names:
            self.ended += 1
            done = f"{self.ended} of {self.total}{self._left()}"
            return f"  {time.strftime('%H:%M')}  done   {self.names[end[1]]}  ({done})"
        return None

    def _left(self) -> str:
        if self.total <= self.ended:
            return ""
        elapsed = time.monotonic() - self.began
        seconds = elapsed * (self.total - self.ended) / self.ended
        return f", about {seconds // 60 + 1:.0f} min left"


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
