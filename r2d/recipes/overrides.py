"""Changes to a recipe: `KEY=VALUE` texts of the command line, and dotted keys put into its YAML."""

import difflib
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from r2d.errors import R2DError
from r2d.paths import NAME

LONGEST = 60  # letters of a changed profile's name
WORD = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


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


def override(raw: dict, dotted: str, value: Any, model: type[BaseModel]) -> None:
    """Set one value of a recipe as read from YAML, which `model` is the shape of.

    Every part of the `dotted` key but the last must be in the recipe, or be a mapping of settings
    that may be; the model checks the last.
    """
    node, kind = raw, model
    *parents, last = dotted.split(".")
    for part in parents:
        children = node if isinstance(node, dict) else {}
        kind = _inside(kind, part)
        if part not in children and isinstance(node, dict) and _may_be_added(kind):
            node[part] = {}
        elif part not in children:
            guess = nearest(part, children)
            hint = f"; did you mean {guess!r}?" if guess else "."
            raise R2DError(f"Override {dotted!r}: the recipe has no {part!r}{hint}")
        node = node[part]
    if not isinstance(node, dict):
        raise R2DError(
            f"Override {dotted!r}: {'.'.join(parents)!r} is one value, without {last!r} below it."
        )
    node[last] = value


def short_name(profile: str, overrides: dict[str, Any], plain: dict[str, Collection[str]]) -> str:
    """A changed profile's name: `mini+cap0.3`.

    `plain` has the beginnings of keys that are left out of it (`train.common.`) with the settings
    that none of the others has. Two changes never share a name: where it would be longer than
    `LONGEST`, or a value is none that a file can be called by, it is a hash of the changes.
    """
    parts = []
    for key, value in sorted(overrides.items()):
        begin = next((b for b in plain if key.removeprefix(b) in plain[b]), "")
        shown = _shown(value)
        if shown is None:
            break
        parts.append(key.removeprefix(begin) + shown)
    text = "+".join([profile, *parts])
    if len(parts) == len(overrides) and len(text) <= LONGEST and NAME.fullmatch(text):
        return text
    changes = json.dumps(overrides, sort_keys=True).encode()
    return f"{profile}+{hashlib.sha256(changes).hexdigest()[:6]}"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant."""
    close = difflib.get_close_matches(name, sorted(names), 1)
    return close[0] if close else None


def _inside(kind: Any, part: str) -> Any:
    """The type of what stands under `part` in a value of the type `kind`; None where unknown."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(part)
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        return next((each for each in kinds if _is_mapping(each)), None)
    return get_args(kind)[1] if get_origin(kind) is dict else None


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) is dict or isinstance(kind, type) and issubclass(kind, BaseModel)


def _may_be_added(kind: Any) -> bool:
    """Whether settings may begin here: single values by name, not a new dataset or method."""
    return get_origin(kind) is dict and get_args(kind)[1] is Any


def _shown(value: Any) -> str | None:
    """A value as part of a name; None for one that no name can tell from others."""
    if isinstance(value, bool):
        return "-true" if value else "-false"
    if isinstance(value, int | float):
        return json.dumps(value)
    is_word = isinstance(value, str) and WORD.fullmatch(value)
    return f"-{value}" if is_word and value not in ("true", "false") else None


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
