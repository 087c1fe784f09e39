"""A program in a process group of its own, so that one signal ends all that it started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 30  # seconds that the rest of a group has to end by itself
LEFT_ALONE = 5  # the same where the process that started it was killed
# Waits for a word on its standard input. A pipe that closes without one was let go of by a process
# that was killed: then the group is ended, and killed if it does not end.
WATCHER = """
import os, signal, sys, time
group, ending, patience = map(int, sys.argv[1:])
if not sys.stdin.read():
    for number in [ending] + [0] * patience + [signal.SIGKILL]:
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):
            break
        time.sleep(number == 0)
"""


class ProcessGroup:
    """A context that runs a program; within it this process's stop signals end the whole group.

    The first INT, TERM or HUP sends `ending` to the group, another one kills it; if this process
    itself is killed, a watcher ends the group. `kept` are open files that the program inherits.
    Afterwards `status` is the program's exit status, and `stopped` whether such a signal came.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: dict[str, str],
        ending: signal.Signals = signal.SIGTERM,
        kept: Sequence[int] = (),
    ):
        self.command = command
        self.folder = folder
        self.environment = environment
        self.ending = ending
        self.kept = kept
        self.stopped = False
        self.status: int | None = None
        self._process: subprocess.Popen | None = None
        self._watcher: subprocess.Popen | None = None
        self._handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for each in SIGNALS:
            if signal.getsignal(each) is not signal.SIG_IGN:  # as HUP is under nohup
                self._handlers[each] = signal.signal(each, self._stop)
        self._process = subprocess.Popen(
            self.command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            pass_fds=self.kept,
        )
        words = [str(self._process.pid), str(int(self.ending)), str(LEFT_ALONE)]
        self._watcher = subprocess.Popen(
            [sys.executable, "-S", "-c", WATCHER, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if self.stopped:  # by a signal that came before there was anything to stop
            self._send(self.ending)
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None:
            self._send(self.ending)
        self._process.stdout.close()
        self.status = self._process.wait()
        end = time.monotonic() + PATIENCE
        while self._send(0):
            if time.monotonic() > end:
                self._send(signal.SIGKILL)
                break
            time.sleep(0.1)
        self._watcher.communicate(b"ended")
        for each, handler in self._handlers.items():
            signal.signal(each, handler)

    def lines(self) -> Iterator[bytes]:
        """The lines of output and errors, as they come."""
        yield from self._process.stdout

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._process is not None:
            self._send(signal.SIGKILL if self.stopped else self.ending)
        self.stopped = True

    def _send(self, number: int) -> bool:
        """Send a signal to the group (0: none); False when nothing of it is left."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):  # macOS gives the latter for the dead
            return False
        return True
