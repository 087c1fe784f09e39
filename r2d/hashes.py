"""The sha256 of a folder's files, kept beside them: what a disk has changed is noticed and named.

The list is written last, so a folder that has one is whole. A folder without one was made before
there were lists, or brought along, and is taken as it is. The list itself, and any other JSON
object that needs it, is sealed: it holds a digest of the rest of it.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from r2d import files, paths, provenance
from r2d.errors import R2DError

LIST, SEAL = "sha256.json", "seal"
LARGE = 32 << 20  # bytes: a larger file is hashed once on a machine, until its size or time changes


def record(folder: Path, names: Iterable[str]) -> None:
    """Write the hashes of these files of a folder, in place of earlier ones."""
    _write(folder, {name: provenance.sha256(folder / name) for name in names})


def record_again(folder: Path, name: str) -> None:
    """Renew the hash of one file of a folder, if hashes are kept there."""
    if are_recorded(folder):
        _write(folder, _read(folder) | {name: provenance.sha256(folder / name)})


def are_recorded(folder: Path) -> bool:
    """Whether hashes of a folder's files are kept in it."""
    return (folder / LIST).is_file()


def expect_whole(folder: Path, cure: str, *names: str) -> None:
    """Raise `R2DError` for the first of a folder's files that is not as it was recorded.

    `names` are those to look at, a folder for all that is in it; without them it is every one.
    `cure` ends the sentence.
    """
    if not are_recorded(folder):
        return
    for name, sha256 in _read(folder).items():
        if not names or any(name == each or name.startswith(f"{each}/") for each in names):
            _expect_as_recorded(folder, name, sha256, cure)


def sealed(value: dict) -> dict:
    """A JSON object with a digest of itself in it."""
    return value | {SEAL: provenance.digest(value)}


def is_sealed(value: dict) -> bool:
    """Whether a JSON object is as it was when it was sealed."""
    rest = {name: each for name, each in value.items() if name != SEAL}
    return value.get(SEAL) == provenance.digest(rest)


def read_sealed(path: Path, shape: files.Shape, cure: str) -> dict:
    """The JSON object in a file; raises `R2DError` where it is not as it was sealed, if it was."""
    value = files.read_json(path, shape, cure)
    if SEAL in value and not is_sealed(value):
        raise R2DError(f"{path} is not as it was written; {cure}.")
    return value


def _expect_as_recorded(folder: Path, name: str, sha256: str, cure: str) -> None:
    path = folder / name
    try:
        same = _is_same(path, sha256)
    except FileNotFoundError:
        raise R2DError(f"{path} is not there; {cure}.") from None
    except OSError as error:
        raise R2DError(
            f"{path} could not be read ({error.strerror}); mend its permissions or its disk."
        ) from None
    if not same:
        since = max(file.stat().st_mtime for file in (path, folder / LIST))
        when = datetime.fromtimestamp(since).strftime("%Y-%m-%d %H:%M")
        raise R2DError(
            f"{path} is not as it was written and can't be trusted since {when}; {cure}."
        )


def _is_same(path: Path, sha256: str) -> bool:
    if path.stat().st_size <= LARGE:
        return provenance.sha256(path) == sha256
    note = _note(path, sha256)
    if note.is_file():
        return True
    same = provenance.sha256(path) == sha256
    if same:
        with suppress(OSError):  # a cache that can't be written costs time only
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()
    return same


def _note(path: Path, sha256: str) -> Path:
    """The file that says that a large file was whole at its present size and time."""
    state = path.stat()
    name = provenance.digest(str(path.resolve()), state.st_size, state.st_mtime_ns, sha256)
    return paths.cache() / "checked" / name


def _read(folder: Path) -> dict[str, str]:
    """The hashes by file, which have to be as they were sealed."""
    cure = "delete it to trust the files beside it as they are"
    value = read_sealed(folder / LIST, {str: str}, cure)
    return {name: each for name, each in value.items() if name != SEAL}


def _write(folder: Path, known: dict[str, str]) -> None:
    text = json.dumps(sealed(dict(sorted(known.items()))), indent=1)
    paths.write(folder / LIST, text + "\n")
