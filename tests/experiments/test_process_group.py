"""A program in its own process group: one signal ends all of it, another one kills it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from r2d import paths
from r2d.experiments.process_group import ProcessGroup

RUNNER = """
import os, sys
from pathlib import Path
from r2d.experiments.process_group import ProcessGroup

with ProcessGroup(["sh", "-c", sys.argv[1]], Path.cwd(), dict(os.environ)) as group:
    for line in group.lines():
        print(line.decode(), end="", flush=True)
print("stopped" if group.stopped else "ended", group.status)
"""
GRANDCHILD = "sleep 60 & echo $!; wait"


@pytest.fixture
def start():
    """Starts a process that runs a shell command in a group."""
    started = []

    def run(script: str, **options) -> subprocess.Popen:
        command = [sys.executable, "-c", RUNNER, script]
        # Whatever started the tests may have been told to ignore a closed terminal.
        usual = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)}
        pipes = {"stdout": subprocess.PIPE, "text": True, "cwd": paths.ROOT}
        started.append(subprocess.Popen(command, **pipes, **(usual | options)))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_that_was_started(start, number):
    running = start(GRANDCHILD)
    child = int(running.stdout.readline())
    running.send_signal(number)
    assert running.communicate(timeout=20)[0].startswith("stopped")
    until(lambda: not alive(child))


def test_all_that_was_started_ends_when_its_starter_is_killed(start):
    running = start("trap '' TERM; sleep 60 & echo $!; wait; wait")
    child = int(running.stdout.readline())
    group = os.getpgid(child)
    running.kill()
    running.wait()
    until(lambda: not alive(child) and not alive(group), 60)


def test_a_second_signal_kills_what_ignores_the_first(start):
    running = start("trap '' TERM; sleep 60 & echo $!; wait; wait")
    child = int(running.stdout.readline())
    running.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert running.poll() is None
    running.send_signal(signal.SIGTERM)
    assert running.communicate(timeout=20)[0] == "stopped -9\n"
    until(lambda: not alive(child))


def test_a_closed_terminal_does_not_end_what_nohup_started(start):
    ignored = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    running = start("echo begun; sleep 1; echo done", **ignored)
    assert running.stdout.readline() == "begun\n"
    running.send_signal(signal.SIGHUP)
    assert running.communicate(timeout=20)[0] == "done\nended 0\n"


def test_output_and_errors_are_read_line_by_line_and_the_status_is_kept(tmp_path):
    script = "echo one; echo two >&2; pwd; cat; exit 3"
    before = signal.getsignal(signal.SIGTERM)
    with ProcessGroup(["sh", "-c", script], tmp_path, dict(os.environ)) as group:
        lines = list(group.lines())
    assert lines == [b"one\n", b"two\n", f"{tmp_path.resolve()}\n".encode()]
    assert (group.status, group.stopped) == (3, False)
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_error_in_the_reader_ends_the_group(tmp_path):
    with pytest.raises(BrokenPipeError):
        with ProcessGroup(["sh", "-c", GRANDCHILD], tmp_path, dict(os.environ)) as group:
            child = int(next(group.lines()))
            raise BrokenPipeError
    until(lambda: not alive(child))


def until(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """True for a process that still works; one that only waits to be collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and ") Z " in state.read_text())
