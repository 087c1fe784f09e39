"""The one kind of error that is meant for people, and others' errors in one sentence."""

from pydantic import ValidationError


class R2DError(ValueError):
    """A problem its reader can mend: one sentence saying what, where and how."""


def in_one_sentence(error: ValidationError, whole: str = "it") -> str:
    """The first problem that pydantic found, saying which key and what was expected.

    `whole` names what was checked, for a problem of all of it. Values are shown: not for texts.
    """
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or whole
    if first["type"] == "extra_forbidden":
        return f"key `{where}` is not known; remove it or mend its spelling."
    if first["type"] == "missing":
        return f"key `{where}` is missing; add it."
    if first["type"] == "value_error":
        text = str(first["ctx"]["error"])
        return text if text.endswith(("?", ".")) else f"{text}."
    return f"`{where}` is {first['input']!r}: {first['msg'].lower()}."
