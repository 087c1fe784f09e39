"""Reading the files that this project wrote, which a disk may have damaged since.

What is wrong with one is one sentence: its path, what is wrong, and the cure that the caller gives;
nothing in the file is quoted, as it may be a note. Users' files are read by `r2d.data.files`.

A shape says what a value must be: `str`, `int`, `float` (finite; an `int` will do), `bool`, `None`,
`object` (anything), `[shape]` for a list, `{str: shape}` for an object of any keys, `{"key": shape,
"other?": shape}` for one with these keys, of which those with a ? may be absent, and a tuple of
shapes for any of them.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from r2d.errors import R2DError

Shape = Any  # as said above
CUT_SHORT = "perhaps cut short"


def read_text(path: Path, cure: str) -> str:
    """The whole of a UTF-8 file, which may be empty; raises `R2DError` for any fault."""
    if path.exists() and not path.is_file():
        raise R2DError(f"{path} is not a file; {cure}.")
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise R2DError(f"{path} is not there; {cure}.") from None
    except OSError as error:
        raise R2DError(
            f"{path} could not be read ({error.strerror}); mend its permissions or its disk."
        ) from None
    except UnicodeDecodeError as error:
        raise R2DError(f"{path} is not UTF-8 at byte offset {error.start}; {cure}.") from None


def read_json(path: Path, shape: Shape, cure: str) -> Any:
    """The JSON value in a file, which has to have the `shape`."""
    text = read_text(path, cure)
    return _expect(str(path), _parse(str(path), text, cure), shape, cure)


def read_lines(path: Path, shape: Shape, cure: str) -> list[Any]:
    """The JSON values in a file that holds one a line, each of the `shape`."""
    return list(_values(path, shape, cure))


def read_yaml(path: Path, shape: Shape, cure: str) -> Any:
    """The YAML value in a file, which has to have the `shape`."""
    text = read_text(path, cure)
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise R2DError(f"{path} is not YAML, {CUT_SHORT}; {cure}.") from None
    return _expect(str(path), value, shape, cure)


def _values(path: Path, shape: Shape, cure: str) -> Iterator[Any]:
    # Not splitlines(): a text may hold U+2028.
    for number, line in enumerate(read_text(path, cure).split("\n"), 1):
        if line:
            place = f"{path}, line {number},"
            yield _expect(place, _parse(place, line, cure), shape, cure)


def _parse(place: str, text: str, cure: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise R2DError(f"{place} is not JSON, {CUT_SHORT}; {cure}.") from None


def _expect(place: str, value: Any, shape: Shape, cure: str) -> Any:
    fault = _fault(value, shape)
    if fault:
        raise R2DError(f"{place} {fault}; {cure}.")
    return value


def _fault(value: Any, shape: Shape) -> str | None:
    """What is wrong, by the key at the top: one further down may be a user's text."""
    if has_shape(value, shape):
        return None
    if isinstance(value, dict) and isinstance(shape, dict) and str not in shape:
        for key, inner in shape.items():
            name = key.removesuffix("?")
            if name not in value and name == key:
                return f"has no `{name}`"
            if name in value and not has_shape(value[name], inner):
                return f"has something in `{name}` that does not belong there"
    return "does not hold what it should"


def has_shape(value: Any, shape: Shape) -> bool:
    """Whether a value is what a shape says."""
    if isinstance(shape, tuple):
        return any(has_shape(value, each) for each in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(each, shape[0]) for each in value)
    if isinstance(shape, dict):
        return isinstance(value, dict) and _has_keys(value, shape)
    if shape is None or shape is object:
        return shape is object or value is None
    if isinstance(value, bool):
        return shape is bool
    if shape is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, shape)


def _has_keys(value: dict, shape: dict) -> bool:
    if str in shape:
        pairs = [(name, shape[str]) for name in value]
    else:
        pairs = [(key.removesuffix("?"), inner) for key, inner in shape.items()]
        if any(key not in value for key in shape if not key.endswith("?")):
            return False
    return all(has_shape(value[name], inner) for name, inner in pairs if name in value)
