"""A server's chat completion as an answer, read as if nothing in it could be trusted."""

import json
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, Field, ValidationError

from r2d.llms.types import Answer, Fault, Text

Count = Annotated[int, Field(strict=True, ge=0, le=10**9)]


class _Message(BaseModel):
    content: Text | None = None
    refusal: Text | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None


class _Completion(BaseModel):
    """What must be in a completion, and what may be; all else in it is left unread."""

    choices: list[_Choice] = Field(min_length=1, max_length=16)
    usage: _Usage | None = None


def read_completion(body: bytes, content_type: str) -> Answer:
    """The answer in the body of a server's reply.

    Raises `Fault` for anything but a chat completion in JSON: another content type, broken UTF-8,
    NaN, a key that stands twice, an error in its place, a lone surrogate, counts of tokens that are
    none.
    """
    value = _json(body, content_type)
    if isinstance(value, dict) and value.get("error"):
        raise Fault("the server sent an error in place of an answer")
    try:
        completion = _Completion.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "JSON object"
        raise Fault(f"the server's answer has no usable `{where}`") from None
    usage = completion.usage or _Usage()
    counts = (usage.prompt_tokens or 0, usage.completion_tokens or 0)
    choice = completion.choices[0]
    text = choice.message.content or ""
    if choice.message.refusal or choice.finish_reason == "content_filter":
        return Answer(text, "refusal", *counts)
    if choice.finish_reason == "length":
        return Answer(text, "length", *counts)
    if not text.strip():
        return Answer("", "fault", *counts, fault="the answer was empty")
    return Answer(text, "stop", *counts)


def _json(body: bytes, content_type: str) -> Any:
    """The JSON value in a body that says that it is one."""
    try:
        if "json" not in content_type.lower():
            raise ValueError
        text = body.decode("utf-8-sig")
        return json.loads(text, parse_constant=_not_json, object_pairs_hook=distinct)
    except (ValueError, RecursionError):
        raise Fault("the server's answer could not be read as JSON") from None


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object of which no key stands twice; raises `ValueError` for another."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key stands twice")
    return value


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
