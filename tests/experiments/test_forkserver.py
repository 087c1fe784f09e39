"""Forks of one process: they do what `python -m` would, and end with the request for them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from r2d import paths
from r2d.experiments import forkserver

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="is used on Linux alone")
SERVER = """
import importlib.util, sys

spec = importlib.util.spec_from_file_location("forkserver", sys.argv[1])
forkserver = importlib.util.module_from_spec(spec)
spec.loader.exec_module(forkserver)
forkserver.PRELOADED = ("decimal", "no_such_module")
sys.exit(forkserver.serve(sys.argv[2:]))
"""
MODULE = """
import os, sys
print(__name__, sys.argv[1:], os.getcwd(), os.environ["WORD"], sys.stdin.read(), end="")
print("decimal" in sys.modules, file=sys.stderr)
"""


@pytest.fixture
def served(tmp_path):
    """What a shell script prints and its status, under a server; `$fork -m MODULE` in it asks."""

    def run(script: str, **modules: str) -> subprocess.CompletedProcess:
        for name, code in modules.items():
            (tmp_path / f"{name}.py").write_text(code)
        return subprocess.run(
            command(script), cwd=tmp_path, capture_output=True, text=True, timeout=60
        )

    return run


def command(script: str) -> list[str]:
    request = f"fork='{sys.executable} -S -P {forkserver.__file__}'; "
    return [sys.executable, "-c", SERVER, forkserver.__file__, "sh", "-c", request + script]


def test_a_fork_does_what_python_would_in_the_place_of_the_request(served, tmp_path):
    done = served("echo given | WORD=said $fork -m told one 'two words'", told=MODULE)
    assert (done.stderr, done.returncode) == ("True\n", 0)
    assert done.stdout == f"__main__ ['one', 'two words'] {tmp_path} said given\n"


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("pass", 0, ""),
        ("raise SystemExit", 0, ""),
        ("raise SystemExit(3)", 3, ""),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("import os; os.kill(os.getpid(), 9)", 137, ""),
    ],
)
def test_the_request_ends_as_its_fork_ends(served, code, status, said):
    done = served("$fork -m ends; echo $?; exit 4", ends=code)
    assert (done.stdout, done.returncode) == (f"{status}\n", 4)
    assert said in done.stderr and bool(said) == bool(done.stderr)


def test_a_fork_imports_what_is_on_the_disk_by_then_and_shares_nothing_with_others(served):
    script = "$fork -m one; echo 'print(2)' > two.py; $fork -m one"
    done = served(
        script, one="import two, sys; sys.two = 3", two="import sys; print(hasattr(sys, 'two'))"
    )
    assert done.stdout == "False\n2\n"


@pytest.mark.parametrize("asking", ["$fork -m waits", 'sh -c "$fork -m waits; true"'])
def test_a_fork_ends_when_its_request_is_killed_or_what_made_the_request(served, tmp_path, asking):
    waits = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    script = f"{asking} & until [ -s pid ]; do sleep 0.05; done; kill -9 $!; sleep 2"
    assert served(script, waits=waits).returncode == 0
    until(lambda: not alive(int((tmp_path / "pid").read_text())))


def test_a_signal_to_all_ends_the_forks_and_leaves_the_end_to_the_command(tmp_path):
    (tmp_path / "waits.py").write_text("print('waits', flush=True); import time; time.sleep(60)")
    script = "trap 'echo ending; wait; echo $?; exit 5' TERM; $fork -m waits & wait; wait"
    running = subprocess.Popen(
        command(script), cwd=tmp_path, stdout=subprocess.PIPE, text=True, process_group=0
    )
    assert running.stdout.readline() == "waits\n"
    os.killpg(running.pid, signal.SIGTERM)
    assert running.communicate(timeout=30)[0].startswith("ending\n")
    assert running.returncode == 5


def test_all_forks_end_when_what_started_the_server_is_killed(tmp_path):
    (tmp_path / "waits.py").write_text(
        "import os, time; open(f'{os.getpid()}.pid', 'w'); time.sleep(60)"
    )
    script = command("$fork -m waits & $fork -m waits & wait")
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from r2d.experiments.process_group import ProcessGroup\n"
        "with ProcessGroup(sys.argv[1:], Path.cwd(), dict(os.environ)) as group:\n"
        "    list(group.lines())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT)}
    running = subprocess.Popen([sys.executable, "-c", code, *script], cwd=tmp_path, env=environment)
    until(lambda: len(list(tmp_path.glob("*.pid"))) == 2, 30)
    running.kill()
    running.wait()
    for file in tmp_path.glob("*.pid"):
        until(lambda pid=int(file.stem): not alive(pid), 30)


PRELOAD = """
import os, sys
import forkserver

forkserver._preload()
import torch

others = [id for id in os.listdir("/proc/self/task") if int(id) != os.getpid()]
threads = [open(f"/proc/self/task/{id}/comm").read().strip() for id in others]
loaded = [name for name in sys.modules if name.startswith("r2d") or name.endswith("pyplot")]
print([name for name in forkserver.PRELOADED if name not in sys.modules])
print(threads, torch.cuda.is_initialized(), loaded)
"""


def test_what_is_preloaded_is_there_and_may_be_forked():
    folder = Path(forkserver.__file__).parent
    command = [sys.executable, "-c", PRELOAD]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    missing, state = done.stdout.splitlines()
    assert missing == "[]"
    # That of pyarrow's jemalloc, which looks after forks by itself, is the only one that may be.
    assert state in ("['jemalloc_bg_thd'] False []", "[] False []")


def until(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
