"""The notebooks without a browser: papermill, its parameters checked before a kernel starts."""

import difflib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from r2d import paths
from r2d.errors import R2DError
from r2d.experiments import forkserver

# The notebooks' kernel: an installation puts it into the environment's share/jupyter/kernels.
KERNEL, SPECIFICATION = "r2d", Path(__file__).with_name("kernel")
# papermill gives a default as Python source; the literals used here are YAML but for these.
SAYS_ITSELF = ("R2DError", "AssertionError")  # sentences of ours, which quote no note
CONSTANTS = {"True": "true", "False": "false", "None": "null"}


def execute(name: str, out: Path, parameters: dict[str, Any]) -> None:
    """Run notebook `name` into `out`, which only its owner can read: it may show cases.

    A failed one is left there with its error and raises papermill's exception. Raises `R2DError`
    for an unknown notebook or parameter.
    """
    import papermill

    source = paths.NOTEBOOKS / f"{name}.ipynb"
    known = sorted(path.stem for path in paths.NOTEBOOKS.glob("*.ipynb"))
    if name not in known:
        raise R2DError(f"There is no notebook {name!r}; choose one of {', '.join(known)}.")
    check(source, parameters)
    out.parent.mkdir(parents=True, exist_ok=True)
    paths.keep_private(out)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a socket's path must be short
        papermill.execute_notebook(
            str(source),
            str(out),
            parameters,
            kernel_name=KERNEL,
            kernel_manager_class=_kernels(folder),
            shutdown_kernel="immediate",  # it has nothing left to do, and takes seconds to say so
            cwd=str(paths.NOTEBOOKS),
            start_timeout=180,
            progress_bar=False,
            stderr_file=sys.stderr,
        )


def run(name: str, out: Path, parameters: dict[str, Any]) -> int:
    """Run a notebook for a command: 0 when every cell ran, 1 with a sentence when one failed.

    What an error says that is not ours is left in the notebook: it may quote a note.
    """
    from papermill.exceptions import PapermillExecutionError

    try:
        execute(name, out, parameters)
    except PapermillExecutionError as error:
        reason = f"{error.ename}: "
        reason += error.evalue if error.ename in SAYS_ITSELF else f"{out} has its message."
        print(f"{name} failed in cell {error.exec_count}: {reason}", file=sys.stderr)
        return 1
    return 0


def check(source: Path, parameters: dict[str, Any]) -> None:
    """Raise `R2DError` for a parameter the notebook lacks, or one of another type than its default.

    papermill alone would only warn.
    """
    defaults = declared(source)
    for name, value in parameters.items():
        if name not in defaults:
            near = difflib.get_close_matches(name, defaults, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(defaults)}."
            raise R2DError(f"{source.name} declares no parameter {name!r}; {hint}")
        default = defaults[name]
        if default is not None and type(value) is not type(default):
            raise R2DError(
                f"{source.name}: parameter {name!r} is {value!r}; give a "
                f"{type(default).__name__} like {default!r}."
            )


def declared(source: Path) -> dict[str, Any]:
    """The parameters a notebook declares, with their default values."""
    from papermill import inspect_notebook

    parameters = inspect_notebook(str(source))
    literals = {name: parameter["default"] for name, parameter in parameters.items()}
    return {name: yaml.safe_load(CONSTANTS.get(text, text)) for name, text in literals.items()}


def _kernels(folder: str) -> type:
    """What starts a notebook's kernel: forked where that is to be had, with sockets in `folder`."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class Kernels(AsyncKernelManager):
        # Of kernels that start together two may be given one port, and the second dies: no ports.
        transport, ip = "ipc", f"{folder}/kernel"

        @property
        def kernel_spec(self) -> KernelSpec:
            # The project's own, also where it is run without having been installed.
            return KernelSpec.from_resource_dir(str(SPECIFICATION))

        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            # This environment's, not one of the user's of the same name.
            command = ["-m", "ipykernel_launcher", "-f", os.path.realpath(self.connection_file)]
            command.append("--HistoryManager.enabled=False")  # which would keep notes in cells
            return [*forkserver.python(), *command, *(extra_arguments or [])]

    return Kernels
