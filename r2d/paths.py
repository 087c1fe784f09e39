"""Where everything lives: every location in the project, and how a file gets there whole."""

import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from r2d.errors import R2DError

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
RECIPES = PACKAGE / "recipes"
CARDS = PACKAGE / "data" / "cards"
BASE = PACKAGE / "models" / "base"
PROMPTS = PACKAGE / "llms" / "prompts"
DURATIONS = PACKAGE / "experiments" / "records"
PUBLISHED = PACKAGE / "reporting" / "published.yaml"
NOTEBOOKS = ROOT / "notebooks"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
OF_A_RUN = ("config.yaml", "env.json", "metrics.json")  # by which a run's folder is known


def home() -> Path:
    """The folder of everything made at run time: `R2D_HOME`, else the project itself."""
    return of_user(os.environ.get("R2D_HOME") or ROOT).resolve()


def runs(profile: str) -> Path:
    """All runs, tables' inputs and executed notebooks of one profile."""
    return home() / "runs" / named(profile)


def run(profile: str, dataset: str, method: str, seed: int) -> Path:
    """One run's directory; if it exists, the run is finished."""
    return runs(profile) / named(dataset) / named(method) / f"seed{seed}"


def cache() -> Path:
    """Assets, converted models, chat models' answers: safe to delete, but got again at a price."""
    return home() / ".cache"


def figures(profile: str) -> Path:
    """Figures and tables of one profile, as its last run made them."""
    return runs(profile) / "figures"


def committed(profile: str) -> Path:
    """Those that are kept with the project, and change only when they are asked to."""
    return ROOT / "figures" / named(profile)


def data() -> Path | None:
    """The folder of data sets the user brings (`R2D_DATA`), if one is set."""
    value = os.environ.get("R2D_DATA")
    return of_user(value).resolve() if value else None


def named(name: str) -> str:
    """`name`, if folders and files may be called so.

    Raises `R2DError` for one that could lead elsewhere, or that a shell might take for a command.
    """
    if isinstance(name, str) and NAME.fullmatch(name):
        return name
    raise R2DError(
        f"{name!r} is no name: use letters, digits, '.', '_', '+' and '-', a letter or digit first."
    )


def expect_outside_runs(path: Path) -> None:
    """Refuse to write where runs are: what is there is theirs, and is trusted to be."""
    place = path.resolve()
    around = [place, *place.parents]
    in_a_run = any(all((each / name).is_file() for name in OF_A_RUN) for each in around)
    if in_a_run or home() / "runs" in around:
        raise R2DError(f"{path} is among the runs, which nothing else may change: name another.")


def of_user(path: str | Path) -> Path:
    """A path as it was given, `~` and `~name` replaced by home folders.

    Raises `R2DError` for what no file system can hold, and for an unknown user.
    """
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise R2DError("A path holds half of a character: write it again as UTF-8.") from None
    if "\0" in str(path):
        raise R2DError("A path holds a NUL byte: take it out.")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise R2DError(
            f"{path} begins with a home folder that is not known here: write the folder in full."
        ) from None


def write(path: Path, text: str) -> None:
    """Write a text under another name and rename it.

    A kill or a full disk leaves the file as it was, or whole.
    """
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.rename(path)


def write_notes(path: Path, text: str) -> None:
    """As `write`, for a file that holds notes: nobody but its owner may read it."""
    part = path.with_name(f"{path.name}.part")
    keep_private(part)
    with part.open("w", encoding="utf-8", newline="") as file:  # a CSV has line ends of its own
        file.write(text)
    part.rename(path)


def keep_private(path: Path) -> None:
    """Let nobody but its owner read a file, which is made empty where there is none."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    if path.is_file():  # not a device, whose mode is not ours to change
        with suppress(PermissionError):  # a disk without modes, or another's file
            path.chmod(0o600)


def notes_in(*names: str | Path) -> str:
    """What a command says of the files with notes that it wrote."""
    if len(names) == 1:
        return f"{names[0]} holds notes: only you can read it."
    return f"{', '.join(map(str, names[:-1]))} and {names[-1]} hold notes: only you can read them."


def write_lines(path: Path, rows: Iterable[dict]) -> None:
    """Write rows that hold notes as JSON lines."""
    write_notes(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
