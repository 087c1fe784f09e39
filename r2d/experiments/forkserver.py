"""Notebooks' processes, forked from one that has imported what they import.

Most of a small notebook's time goes into importing torch, transformers and papermill. A workflow on
this machine's CPU therefore runs under this file, as a script: `forkserver.py COMMAND ...` runs the
command and serves requests until it ends. `forkserver.py -m MODULE ...` is such a request: it does
what `python -m MODULE ...` would, in a fork of the server, which imports `PRELOADED` at the first.

What is forked has computed nothing with torch, has not touched CUDA and has one thread (and that of
pyarrow's jemalloc, which looks after forks by itself). Nothing of r2d is imported before a fork:
each has it as it is on the disk. A fork and the request that asked for it end together, whichever
ends first, and a request ends with the process that made it.
"""

import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

ADDRESS = "R2D_FORKSERVER"  # where it listens, in the environment of the command
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PRELOADED = (
    "typer",
    "papermill",
    "ipykernel.ipkernel",
    "torch",
    "transformers.models.t5.modeling_t5",
    "peft",
    "sklearn.linear_model",
    "nltk.translate",
    "sacrebleu",
    "matplotlib.figure",
)


def python() -> list[str]:
    """What a command line begins with that goes on with `-m MODULE`: Python, or a request."""
    if ADDRESS in os.environ:
        return [sys.executable, "-S", "-P", __file__]
    return [sys.executable]


def serve(command: Sequence[str]) -> int:
    """Run a command, and fork on request until it ends; its exit status."""
    # A signal to the group is the command's to answer. One that is ignored stays so.
    heard = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    handlers = {each: signal.signal(each, lambda *_: None) for each in heard}
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,  # a socket's path must be short
        socket.socket(socket.AF_UNIX) as listener,
    ):
        listener.bind(f"{folder}/socket")
        listener.listen()
        environment = os.environ | {ADDRESS: f"{folder}/socket"}
        running = subprocess.Popen(command, env=environment, close_fds=False)
        forks: dict[int, tuple[socket.socket, int]] = {}
        events = select.poll()
        events.register(listener, select.POLLIN)
        while running.poll() is None:
            for number, _ in events.poll(50):
                if number in forks:  # the request was killed
                    os.kill(forks[number][1], signal.SIGKILL)
                else:
                    _preload()
                    connection = listener.accept()[0]
                    others = [listener, *(each for each, _ in forks.values())]
                    forks[connection.fileno()] = connection, _fork(connection, others, handlers)
                    events.register(connection, select.POLLRDHUP)
            for number, (connection, fork) in list(forks.items()):
                ended, status = os.waitpid(fork, os.WNOHANG)
                if ended:
                    events.unregister(connection)
                    _answer(connection, os.waitstatus_to_exitcode(status))
                    del forks[number]
    return _as_of_a_shell(running.returncode)


def request(arguments: Sequence[str]) -> int:
    """Have the server run a module with arguments in the place of this process; its status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Jupyter interrupts a kernel before it ends it
    parent = os.getppid()
    told = json.dumps([os.getcwd(), dict(os.environ), arguments]).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[ADDRESS])
        socket.send_fds(connection, [b"%9d" % len(told)], [0, 1, 2])
        connection.sendall(told)
        while not select.select([connection], [], [], 1)[0]:
            if os.getppid() != parent:  # whoever asked was killed
                return 1
        return int(connection.recv(3) or 1)


def _answer(connection: socket.socket, status: int) -> None:
    with connection, suppress(OSError):  # of a request that was killed
        connection.sendall(b"%d" % _as_of_a_shell(status))


def _as_of_a_shell(status: int) -> int:
    return status if status >= 0 else 128 - status


def _preload() -> None:
    if "torch" in sys.modules:
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # no library starts threads of its own
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # as a kernel sets it
    for module in PRELOADED:
        with suppress(ImportError):  # said by the notebook that needs it
            import_module(module)
    gc.collect()
    gc.freeze()  # the forks leave it alone, and so share it


def _fork(connection: socket.socket, others: Sequence[socket.socket], handlers: dict) -> int:
    fork = os.fork()
    if fork:
        return fork
    status = 1
    try:
        for each in others:
            each.close()
        for each, handler in handlers.items():
            signal.signal(each, handler)
        module, *arguments = _take_place(connection)
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # what was set up before the fork is not taken down here


def _take_place(connection: socket.socket) -> list[str]:
    """Take over folder, environment and standard streams; what is to be run."""
    with connection:
        length, streams, *_ = socket.recv_fds(connection, 9, 3)
        folder, environment, arguments = json.loads(
            connection.recv(int(length), socket.MSG_WAITALL)
        )
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, folder)  # as `python -m` has it
    return arguments


if __name__ == "__main__":
    if sys.argv[1] == "-m":
        sys.exit(request(sys.argv[2:]))
    sys.exit(serve(sys.argv[1:]))
