"""What a result was made from, as hashes: settings, data, and the code that can change its numbers.

The code counts by its syntax trees without comments and docstrings, over every module that an entry
module imports, directly or not: what is read from the source cannot be forgotten in a list.
"""

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from r2d import paths

CHECKPOINT_FILES = {".bin", ".jinja", ".json", ".model", ".safetensors", ".txt"}


def digest(*parts) -> str:
    """Twelve hex digits over values as JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


@lru_cache
def code(*entries: str, without: str = "") -> str:
    """Twelve hex digits that change when the code changes that the modules `entries` run.

    `without` names a room (`r2d.recipes`) whose effect is in the settings already.
    """
    whole = hashlib.sha256()
    for module in reach(*entries):
        if not (without and module.startswith(without)):
            whole.update(f"{module}\n{tree(source_of(module))}\n".encode())
    return whole.hexdigest()[:12]


def reach(*entries: str) -> list[str]:
    """The modules of r2d that `entries` are and import, directly or not, in alphabetical order.

    Imports inside functions count; the package itself, which gives `r2d.load`, does not.
    """
    known: set[str] = set()
    left = list(entries)
    while left:
        module = left.pop()
        if module not in known:
            known.add(module)
            left += imported(source_of(module))
            left += [parent for parent in _parents(module) if parent not in known]
    return sorted(known)


def imported(source: Path) -> list[str]:
    """The modules of r2d that a source file names in its imports."""
    modules = []
    for module, name in _imports(source.read_text(encoding="utf-8")):
        inner = f"{module}.{name}"
        modules.append(inner if name and source_of(inner) else module)
    return [module for module in modules if module != "r2d"]


def source_of(module: str) -> Path | None:
    """The source file of a module of r2d; None where there is no such module."""
    stem = paths.PACKAGE.joinpath(*module.split(".")[1:])
    for file in (stem.with_suffix(".py"), stem / "__init__.py"):
        if file.is_file():
            return file
    return None


def tree(source: Path) -> str:
    """A module's code in one spelling, without comments and docstrings."""
    return _spelling(source.read_text(encoding="utf-8"))


def files(paths_in_order: Iterable[Path]) -> str:
    """Twelve hex digits over the content of files, in their order."""
    whole = hashlib.sha256()
    for file in paths_in_order:
        whole.update(file.read_bytes())
    return whole.hexdigest()[:12]


def sha256(path: Path) -> str:
    """The hash of one file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checkpoint(folder: Path) -> str:
    """Hash of a checkpoint folder: names, sizes and 17 MiB of each file, evenly spread.

    All of it would take minutes at thirty billion parameters.
    """
    whole = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in CHECKPOINT_FILES):
        size = path.stat().st_size
        whole.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for k in range(17):
                file.seek(max(0, size - (1 << 20)) * k // 16)
                whole.update(file.read(1 << 20))
    return whole.hexdigest()


@lru_cache(maxsize=1000)
def _imports(text: str) -> list[tuple[str, str | None]]:
    """What of r2d a module's text imports: (module, None), or (module, name) for a name from it."""
    pairs: list[tuple[str, str | None]] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and _ours(node.module):
            pairs += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            pairs += [(alias.name, None) for alias in node.names if _ours(alias.name)]
    return pairs


@lru_cache(maxsize=1000)
def _spelling(text: str) -> str:
    parsed = ast.parse(text)
    for node in ast.walk(parsed):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(parsed)


def _ours(module: str) -> bool:
    return module == "r2d" or module.startswith("r2d.")


def _parents(module: str) -> list[str]:
    """The rooms that a module lies in, whose `__init__` runs before it."""
    parts = module.split(".")
    return [".".join(parts[:k]) for k in range(2, len(parts))]
