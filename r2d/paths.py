"""Where everything lives: every location in the project, and how a file gets there whole."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
RECIPES = PACKAGE / "recipes"
CARDS = PACKAGE / "data" / "cards"
BASE = PACKAGE / "models" / "base"
PROMPTS = PACKAGE / "llms" / "prompts"
PUBLISHED = PACKAGE / "reporting" / "published.yaml"
NOTEBOOKS = ROOT / "notebooks"


def home() -> Path:
    """The folder of everything made at run time: `R2D_HOME`, else the project itself."""
    return Path(os.environ.get("R2D_HOME") or ROOT).expanduser().resolve()


def runs(profile: str) -> Path:
    """All runs, tables' inputs and executed notebooks of one profile."""
    return home() / "runs" / profile


def run(profile: str, dataset: str, method: str, seed: int) -> Path:
    """One run's directory; if it exists, the run is finished."""
    return runs(profile) / dataset / method / f"seed{seed}"


def cache() -> Path:
    """Downloaded assets and chat models' answers: safe to delete, but got again at a price."""
    return home() / ".cache"


def figures(profile: str) -> Path:
    """Figures and tables of one profile."""
    return ROOT / "figures" / profile


def data() -> Path | None:
    """The folder of data sets the user brings (`R2D_DATA`), if one is set."""
    value = os.environ.get("R2D_DATA")
    return Path(value).expanduser().resolve() if value else None


def write(path: Path, text: str) -> None:
    """Write a text under another name and rename it.

    A kill or a full disk leaves the file as it was, or whole.
    """
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.rename(path)


def write_lines(path: Path, rows: Iterable[dict]) -> None:
    """Write rows as JSON lines."""
    write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
