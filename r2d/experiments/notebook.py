"""Headless execution of the project's notebooks: papermill, with parameters checked before a kernel starts.

python -m r2d.notebook 03_stage2 OUT.ipynb -p dataset=triage -p seed=1
"""

import argparse
import difflib
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from r2d import paths, recipes
from r2d.errors import R2DError


def declared(source: Path) -> dict[str, Any]:
    """The parameters a notebook declares, with their default values."""
    from papermill import inspect_notebook

    found = inspect_notebook(str(source))
    return {name: yaml.safe_load(_literal(entry["default"])) for name, entry in found.items()}


def check(source: Path, given: dict[str, Any]) -> None:
    """Raise `R2DError` for a parameter that the notebook does not declare, or one of another type than its default."""
    known = declared(source)
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}."
            raise R2DError(f"{source.name} declares no parameter {name!r}; {hint}")
        wanted = type(known[name])
        if known[name] is not None and type(value) is not wanted:
            raise R2DError(
                f"{source.name}: parameter {name!r} is {value!r}; give a {wanted.__name__} like {known[name]!r}."
            )


def execute(name: str, out: Path, parameters: dict[str, Any]) -> None:
    """Run notebook `name` into `out`; a failed one is left there with its error and raises papermill's exception."""
    import papermill
    from jupyter_client.manager import AsyncKernelManager

    source = paths.NOTEBOOKS / f"{name}.ipynb"
    if not source.is_file():
        known = sorted(p.stem for p in paths.NOTEBOOKS.glob("*.ipynb"))
        raise R2DError(f"There is no notebook {name!r}; choose one of {', '.join(known)}.")
    check(source, parameters)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir="/tmp") as sockets:  # a socket's path must be short
        # Files as sockets: of kernels that start together two may be given one port, and the second dies.
        manager = type(
            "Kernel", (AsyncKernelManager,), {"transport": "ipc", "ip": f"{sockets}/kernel"}
        )
        papermill.execute_notebook(
            str(source), str(out), parameters, kernel_name="python3", cwd=str(paths.NOTEBOOKS), start_timeout=180,
            progress_bar=False, stderr_file=sys.stderr, kernel_manager_class=manager,
        )  # fmt: skip


def main() -> int:
    """Command line: 0 when every cell ran, 2 on a sentence for the user, 1 when a cell failed."""
    parser = argparse.ArgumentParser(
        prog="python -m r2d.notebook", description="Execute one notebook headless."
    )
    parser.add_argument("name")
    parser.add_argument("out", type=Path)
    parser.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    from papermill.exceptions import PapermillExecutionError

    try:
        execute(given.name, given.out, recipes.settings_of(given.parameters))
    except R2DError as error:
        print(error, file=sys.stderr)
        return 2
    except PapermillExecutionError as error:
        print(
            f"{given.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}",
            file=sys.stderr,
        )
        return 1
    return 0


def _literal(text: str) -> str:
    """papermill gives a default as Python source; the literals used here are YAML too, but for True, False and None."""
    return {"True": "true", "False": "false", "None": "null"}.get(text, text)


if __name__ == "__main__":
    raise SystemExit(main())
