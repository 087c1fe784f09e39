"""Changes to a recipe: `KEY=VALUE` texts of the command line, and dotted keys put into its YAML."""

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from r2d.errors import R2DError


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Overrides from `KEY=VALUE` texts.

    A value is JSON where it can be (YAML 1.1 takes 1e-3 for text), else YAML.
    """
    settings = {}
    for pair in pairs:
        key, mark, text = pair.partition("=")
        if not mark or not key:
            raise R2DError(f"A setting is written KEY=VALUE, not {pair!r}.")
        settings[key] = _value(key, text)
        _expect_storable(key, settings[key])
    return settings


def override(raw: dict, dotted: str, value: Any) -> None:
    """Set one value of a recipe as read from YAML.

    Every part of the `dotted` key but the last must exist; the recipe's model checks the last.
    """
    node = raw
    *parents, last = dotted.split(".")
    for part in parents:
        children = list(node) if isinstance(node, dict) else []
        if part not in children:
            guess = nearest(part, children)
            hint = f"; did you mean {guess!r}?" if guess else "."
            raise R2DError(f"Override {dotted!r}: the recipe has no {part!r}{hint}")
        node = node[part]
    if not isinstance(node, dict):
        raise R2DError(
            f"Override {dotted!r}: {'.'.join(parents)!r} is one value, without {last!r} below it."
        )
    node[last] = value


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant."""
    close = difflib.get_close_matches(name, sorted(names), 1)
    return close[0] if close else None


def _value(key: str, text: str) -> Any:
    try:
        return _parsed(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that no calendar has
        problem = " ".join(str(error).split())
        raise R2DError(f"{key}: the value is not valid YAML ({problem}).") from None
    except RecursionError:
        raise R2DError(f"{key}: the value is nested too deeply; make it flatter.") from None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return yaml.safe_load(text)


def _expect_storable(key: str, value: Any) -> None:
    """Refuse what no file of a run can hold: half a character, a date, a value inside itself."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        raise R2DError(
            f"{key}: a value is a text, a number, true, false, null, a list or a mapping; put "
            "quotes around anything else."
        ) from None
