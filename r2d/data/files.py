"""Where a user's file is, and its text; what is wrong with it is said without quoting it."""

import difflib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from r2d import paths, provenance
from r2d.data.record import listed
from r2d.errors import R2DError

HUB = "hub:"


@dataclass(frozen=True)
class HubTable:
    """One split of a hub dataset, `hub:<id>[:<config>][@<revision>][#<split>]`; train unless said.

    A dataset that is still a script can be read at the revision `refs/convert/parquet`, which the
    hub makes.
    """

    name: str

    @property
    def parts(self) -> tuple[str, str | None, str | None, str]:
        """Dataset id, configuration (None: the only one), revision (None: the newest), split."""
        rest, _, split = self.name.removeprefix(HUB).partition("#")
        rest, _, revision = rest.partition("@")
        repo, _, config = rest.partition(":")
        return repo, config or None, revision or None, split or "train"


Source = Path | HubTable


def find(path: str) -> Source:
    """The file or folder `path`: a relative one is looked for here, in `R2D_DATA`, in the project.

    `hub:<id>[:<config>][@<revision>][#<split>]` is a hub dataset, which is fetched when it is read.
    Raises `R2DError`, with near names, when a file is in none of those places.
    """
    if path.startswith(HUB):
        return HubTable(path)
    wanted = paths.of_user(path)
    for root in (Path.cwd(), paths.data(), paths.ROOT):
        if root and _exists(root / wanted):
            return root / wanted
    raise R2DError(f"{wanted} is not there: {_near(wanted)}")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise R2DError(
            f"{path} can't be looked at ({error.strerror}): mend its permissions or its name."
        ) from None


def located(path: str) -> str:
    """Absolute path of a file, or `hub:<id>` for a name with a slash that is no file.

    Raises `R2DError`, with near names, for a file that is not there.
    """
    try:
        source = find(path)
    except R2DError:
        if _may_be_on_the_hub(path):
            return HUB + path
        raise
    return path if isinstance(source, HubTable) else str(source.resolve())


def _may_be_on_the_hub(path: str) -> bool:
    wanted = paths.of_user(path)
    local = wanted.is_absolute() or wanted.parent.is_dir() or wanted.suffix
    return path.count("/") == 1 and not local


def _near(wanted: Path) -> str:
    folder = wanted.parent if wanted.parent.is_dir() else Path()
    try:
        names = [file.name for file in folder.iterdir() if file.is_file()]
    except OSError:
        names = []
    near = difflib.get_close_matches(wanted.name, names, 3)
    if near:
        return f"did you mean {listed(near)}?"
    return "mend the path (relative to where you are, R2D_DATA or the project)."


def digest(sources: Iterable[Source]) -> str:
    """Twelve hex digits over the content of files, in their order.

    A hub dataset counts by its name, an absent file as such.
    """
    whole = hashlib.sha256()
    for source in sources:
        part = str(source)
        if isinstance(source, Path) and source.is_file():
            part = _sha256(source, source.stat().st_size, source.stat().st_mtime_ns)
        whole.update(part.encode())
    return whole.hexdigest()[:12]


@lru_cache
def _sha256(path: Path, size: int, changed: int) -> str:
    return provenance.sha256(path)


def read_bytes(path: Path) -> bytes:
    """The whole of a file; raises `R2DError` for one that is absent, unreadable or empty."""
    if path.is_dir():
        raise R2DError(f"{path} is a folder: name the file in it.")
    if path.exists() and not path.is_file():
        raise R2DError(f"{path} is a pipe or a device: save what comes from it as a file.")
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise R2DError(f"{path} is not there: mend the path.") from None
    except OSError as error:
        raise R2DError(
            f"{path} can't be read ({error.strerror}): mend its permissions or copy it elsewhere."
        ) from None
    if not raw.removeprefix(b"\xef\xbb\xbf").strip():
        raise R2DError(f"{path.name} is empty: get or write it again.")
    return raw


def read_text(path: Path) -> str:
    """The whole of a UTF-8 file, without its byte order mark; raises `R2DError` for any fault."""
    raw = read_bytes(path)
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, raw, error.start) from None
    if "\0" in text:
        raise _not_utf8(path, raw, raw.index(0))
    return text


def _not_utf8(path: Path, raw: bytes, offset: int) -> R2DError:
    begins_utf16 = raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in raw[:2]
    guess = "UTF-16" if begins_utf16 else "WINDOWS-1252"
    fault = "has a NUL byte" if raw[offset] == 0 else "is not UTF-8"
    return R2DError(
        f"{path.name} {fault} at byte offset {offset}: save it as UTF-8, or convert it, e.g. "
        f"`iconv -f {guess} -t UTF-8 {path.name} > new-{path.name}`."
    )


def read_json(path: Path) -> Any:
    """The JSON value in a file; raises `R2DError` naming line and column."""
    return parse_json(path, read_text(path))


def parse_json(path: Path, text: str, line: int = 1) -> Any:
    """The JSON value in `text`, which starts at `line` of the file; no key may stand twice in it.

    Raises `R2DError`, which quotes nothing of the text.
    """
    place = path.name if "\n" in text else f"{path.name}, line {line}"
    try:
        return json.loads(text, object_pairs_hook=_without_twins)
    except json.JSONDecodeError as error:
        place = f"{path.name}, line {line + error.lineno - 1}, column {error.colno}"
        fault = f"not JSON ({error.msg}), perhaps cut short; get the whole file again"
        if error.msg == "Extra data":
            fault = "a second JSON value begins; if each line is a record, name it .jsonl"
    except _Twins:
        fault = "a record has the same key twice; rename or remove one"
    except RecursionError:
        fault = "lists or objects are nested too deeply; write records of plain values"
    except ValueError:
        fault = "a number has more than 4,300 digits; write it as text, in quotes"
    raise R2DError(f"{place}: {fault}.")


class _Twins(Exception):
    """An object has a key twice."""


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _Twins
    return values
