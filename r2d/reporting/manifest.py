"""How a figure or table is kept: beside `manifest.json`, which says what each was made from."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from r2d import env, files, paths, provenance
from r2d.recipes import Recipe
from r2d.reporting import spreadsheet

ENTRIES = {str: {"caption?": str, "sha256": str, "inputs": {str: str}}}


def read(folder: Path) -> dict[str, dict]:
    """The manifest of a figures folder by name; empty where there is none yet."""
    file = folder / "manifest.json"
    if not file.is_file():
        return {}
    return files.read_json(file, ENTRIES, "delete it and rerun, which makes it again")


def save(
    figure: Figure,
    name: str,
    source: pd.DataFrame,
    recipe: Recipe,
    inputs: Sequence[Path],
    caption: str = "",
) -> Path:
    """Write a figure's PNG, PDF, source CSV and entry in the manifest; returns the PNG.

    The PDF has no date, so equal figures are equal files.
    """
    folder = paths.figures(recipe.profile)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=160)
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    file = folder / f"{name}.csv"
    spreadsheet.write(source, file, float_format="%.6g", lineterminator="\n")
    record_origin(name, file, recipe, inputs, caption)
    return folder / f"{name}.png"


def record_origin(
    name: str, file: Path, recipe: Recipe, inputs: Sequence[Path], caption: str = ""
) -> None:
    """Note the hash of a table or of a figure's source, and what it was made from."""
    entry = {"caption": caption} if caption else {}
    entry |= {
        "sha256": _digest(file),
        "profile": recipe.profile,
        "recipe": recipe.fingerprint(),
        "commit": env.commit(),
        "inputs": {str(path.relative_to(paths.home())): _digest(path) for path in sorted(inputs)},
    }
    folder = paths.figures(recipe.profile)
    _write(folder, read(folder) | {name: entry})


def is_current(entry: dict) -> bool:
    """Whether what a figure was made from is still as it was."""
    files_now = {name: paths.home() / name for name in entry["inputs"]}
    return all(
        files_now[name].is_file() and _digest(files_now[name]) == digest
        for name, digest in entry["inputs"].items()
    )


def keep_only(recipe: Recipe, names: set[str]) -> None:
    """Drop what an earlier run left: every figure, table and entry that is not in `names`."""
    folder = paths.figures(recipe.profile)
    _write(folder, {name: entry for name, entry in read(folder).items() if name in names})
    for file in folder.iterdir():
        made_here = file.suffix in {".png", ".pdf", ".csv", ".md"}
        if made_here and not {file.name, file.stem} & names:
            file.unlink()


def _write(folder: Path, entries: dict[str, dict]) -> None:
    text = json.dumps(dict(sorted(entries.items())), indent=1)
    paths.write(folder / "manifest.json", text + "\n")


def _digest(path: Path) -> str:
    return provenance.sha256(path)[:12]
