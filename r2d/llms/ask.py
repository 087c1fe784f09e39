"""Prompts as data (`r2d/prompts/<task>/<version>.yaml`) and answers as checked values."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError, create_model, model_validator

from r2d import paths
from r2d.errors import R2DError
from r2d.llms.chat import Answer, Chat, Message
from r2d.recipes.settings import Settings

PROMPTS = paths.PROMPTS
Shot = tuple[dict, dict]  # the fields of a worked example and its answer


class Item(Settings):
    """One field of an answer. `max_length` (characters) keeps a server from running on; a longer text is no fault."""

    name: str
    type: Literal["str", "int"]
    meaning: str
    min: int | None = None
    max: int | None = None
    max_length: int | None = Field(None, gt=0)
    enum: tuple[str, ...] = ()

    def shape(self) -> dict:
        """This field in a JSON schema."""
        if self.type == "int":
            limits = {"minimum": self.min, "maximum": self.max}
            return {"type": "integer"} | {k: v for k, v in limits.items() if v is not None}
        if self.enum:
            return {"type": "string", "enum": list(self.enum)}
        return {"type": "string", "minLength": 1} | (
            {"maxLength": self.max_length} if self.max_length else {}
        )

    def checked(self):
        """This field as a type that pydantic checks."""
        if self.type == "int":
            return Annotated[int, BeforeValidator(_number), Field(ge=self.min, le=self.max)]
        if self.enum:
            return Annotated[
                Literal[self.enum], BeforeValidator(lambda text: _spelled(text, self.enum))
            ]
        return Annotated[str, Field(min_length=1)]


class Limits(Settings):
    """What a prompt needs of the model."""

    max_new_tokens: int = Field(gt=0)


class Template(Settings):
    """One version of one prompt; its `fenced` fields are marked as data, so that text in them can't pose as instructions."""

    name: str
    system: str
    user: str
    fenced: tuple[str, ...] = ()
    answer: tuple[Item, ...] = Field(min_length=1)
    example: dict[str, Any] | None = None
    settings: Limits

    @model_validator(mode="after")
    def _consistent(self):
        if strange := set(self.fenced) - set(self.fields):
            raise ValueError(f"fenced names {sorted(strange)}, which `user` doesn't use")
        if self.example is not None and self.parse(json.dumps(self.example)) is None:
            raise ValueError("the example is not an answer as `answer` describes it")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """What `messages` needs, by name."""
        return tuple(dict.fromkeys(name for _, name, _, _ in Formatter().parse(self.user) if name))

    def choosing(self, **options: Sequence[str]) -> "Template":
        """This prompt where the named answers must be one of the options: `choosing(label=dataset.labels)`."""
        items = [
            i.model_copy(update={"enum": tuple(options[i.name])}) if i.name in options else i
            for i in self.answer
        ]
        return self.model_copy(update={"answer": tuple(items)})

    def messages(self, shots: Sequence[Shot] = (), **fields: str | Sequence[str]) -> list[Message]:
        """The conversation about one case, worked examples first; a list among `fields` is written one line an entry."""
        turns = [{"role": "system", "content": f"{self.system.strip()}\n\n{self._form()}"}]
        for given, answer in shots:
            turns.append({"role": "user", "content": self._user(given)})
            ordered = {item.name: answer[item.name] for item in self.answer}
            turns.append({"role": "assistant", "content": json.dumps(ordered, ensure_ascii=False)})
        return [*turns, {"role": "user", "content": self._user(fields)}]

    def schema(self) -> dict:
        """The answer as a strict JSON schema."""
        properties = {item.name: item.shape() for item in self.answer}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def parse(self, text: str) -> dict[str, Any] | None:
        """The first JSON object in an answer, checked and without other keys; None when there is none that fits."""
        found = _first_object(text.rpartition("</think>")[2])
        if found is None:
            return None
        try:
            return _model(self.answer).model_validate(found).model_dump()
        except ValidationError:
            return None

    def repair(self, messages: list[Message], answer: Answer) -> list[Message]:
        """The same conversation with a last turn that asks for the answer in its form again."""
        turn = f"This could not be read. {self._form()}"
        if answer.text:
            said = {"role": "assistant", "content": answer.text[:2000]}
            return [*messages, said, {"role": "user", "content": turn}]
        return [
            *messages[:-1],
            {"role": "user", "content": f"{messages[-1]['content']}\n\n{self._form()}"},
        ]

    def _form(self) -> str:
        keys = "\n".join(f'- "{item.name}" ({_kind(item)}): {item.meaning}' for item in self.answer)
        example = (
            f"\nFor example: {json.dumps(self.example, ensure_ascii=False)}" if self.example else ""
        )
        return f"Answer with one JSON object and nothing else. Its keys, in this order:\n{keys}{example}"

    def _user(self, fields: dict) -> str:
        if missing := set(self.fields) - set(fields):
            raise R2DError(
                f"Prompt {self.name} needs {', '.join(sorted(missing))}: give it when asking."
            )
        return self.user.strip().format(**{k: self._filled(k, fields[k]) for k in self.fields})

    def _filled(self, name: str, value: str | Sequence[str]) -> str:
        if not isinstance(value, str):
            return "\n".join(f"- {_harmless(each)}" for each in value)
        return (
            f"<<<{name.upper()}\n{_harmless(value)}\n{name.upper()}>>>"
            if name in self.fenced
            else _harmless(value)
        )


@dataclass(frozen=True)
class Asked:
    """Answers in the order of the items (None: missing) and how they came: shares, and numbers of items."""

    answers: list[dict[str, Any] | None]
    parse_rate_first: float
    missing_rate: float
    retried: int
    refused: int


def template(task: str, version: str = "v1") -> Template:
    """The prompt `task`/`version`; raises `R2DError` when there is none or its file is broken."""
    path = PROMPTS / task / f"{version}.yaml"
    if path not in PROMPTS.glob("*/*.yaml"):
        known = ", ".join(sorted(f"{p.parent.name}/{p.stem}" for p in PROMPTS.glob("*/*.yaml")))
        raise R2DError(f"There is no prompt {task}/{version} in {PROMPTS}: choose one of {known}.")
    try:
        return Template(
            name=f"{task}/{version}", **yaml.safe_load(path.read_text(encoding="utf-8"))
        )
    except (yaml.YAMLError, ValidationError, ValueError, TypeError) as error:
        raise R2DError(f"The prompt file {path} is broken: {error}") from None


def ask_all(
    chat: Chat,
    template: Template,
    items: Sequence[dict],
    shots: Sequence[Shot] = (),
    title: str = "asking",
    repeat: int = 0,
) -> Asked:
    """Ask about every item; what can't be read is asked once more, with a turn that says so, and is missing after that.

    Each item holds the template's fields. A refusal is taken as the answer it is and not asked again.
    """
    how = {"version": template.name, "schema": template.schema(), "repeat": repeat}
    how["max_new_tokens"] = template.settings.max_new_tokens
    conversations = [template.messages(shots, **item) for item in items]
    replies = chat.ask(conversations, title=title, **how)
    answers = [_read(template, reply) for reply in replies]
    first = sum(answer is not None for answer in answers)
    again = [
        i for i, answer in enumerate(answers) if answer is None and replies[i].finish != "refusal"
    ]
    if again:
        repairs = [template.repair(conversations[i], replies[i]) for i in again]
        for i, reply in zip(again, chat.ask(repairs, title=f"{title}, again", **how), strict=True):
            replies[i], answers[i] = reply, _read(template, reply)
    total, refused = len(items) or 1, sum(reply.finish == "refusal" for reply in replies)
    return Asked(answers, first / total, answers.count(None) / total, len(again), refused)


def _read(template: Template, reply: Answer) -> dict[str, Any] | None:
    return None if reply.finish == "refusal" else template.parse(reply.text)


@lru_cache
def _model(items: tuple[Item, ...]):
    return create_model("Reply", **{item.name: (item.checked(), ...) for item in items})


def _first_object(text: str) -> dict | None:
    for start in re.finditer("{", text):
        try:
            found, _ = json.JSONDecoder(strict=False).raw_decode(text, start.start())
        except (ValueError, RecursionError):
            continue
        return found
    return None


def _number(value):
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    return value


def _spelled(text, options: Sequence[str]):
    """The option that `text` is but for case, outer blanks, quotes and a full stop."""
    known = {option.casefold(): option for option in options}
    return known.get(text.strip(" \t\n\"'.").casefold(), text) if isinstance(text, str) else text


def _kind(item: Item) -> str:
    if item.type == "int":
        return (
            f"whole number from {item.min} to {item.max}"
            if None not in (item.min, item.max)
            else "whole number"
        )
    return (
        "one of the options"
        if item.enum
        else f"text of at most {item.max_length} characters"
        if item.max_length
        else "text"
    )


def _harmless(text: str) -> str:
    """Text in which nothing looks like a fence or like the control tokens of a chat model."""
    return re.sub(r"<(?=[<|/A-Za-z])|>(?=>)|\[(?=/?[A-Z_]+\])", r"\g<0> ", text)
