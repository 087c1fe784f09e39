"""Prompts as data (`r2d/llms/prompts/<task>/<version>.yaml`) and answers as checked values."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    create_model,
    model_validator,
)

from r2d import files, paths
from r2d.data.record import canonical
from r2d.errors import R2DError, in_one_sentence
from r2d.llms.chat import Chat
from r2d.llms.completion import distinct
from r2d.llms.types import Answer, Message, Text
from r2d.recipes.settings import Settings

Shot = tuple[dict, dict]  # the fields of a worked example and its answer
LONGEST = 50_000  # characters of an answer that are read; a longer one is none
STARTS = 20  # places in an answer where an object may begin that are tried


class Item(Settings):
    """One field of an answer.

    `max_length` (characters) keeps a server from running on; a longer text is no fault.
    """

    name: str
    type: Literal["str", "int"]
    meaning: str
    min: int | None = None
    max: int | None = None
    max_length: int | None = Field(None, gt=0)
    enum: tuple[str, ...] = ()

    def schema_entry(self) -> dict:
        """This field in a JSON schema."""
        if self.type == "int":
            entry = {"type": "integer", "minimum": self.min, "maximum": self.max}
        elif self.enum:
            entry = {"type": "string", "enum": list(self.enum)}
        else:
            entry = {"type": "string", "minLength": 1, "maxLength": self.max_length}
        return {key: value for key, value in entry.items() if value is not None}

    def checked_type(self):
        """This field as a type that pydantic checks."""
        if self.type == "int":
            return Annotated[int, BeforeValidator(_number), Field(ge=self.min, le=self.max)]
        if self.enum:
            spelled = BeforeValidator(lambda text: _as_spelled(text, self.enum))
            return Annotated[Literal[self.enum], spelled]
        return Annotated[Text, Field(min_length=1)]

    def described(self) -> str:
        """What kind of value it is, in words."""
        if self.type == "int":
            bounded = self.min is not None and self.max is not None
            return f"whole number from {self.min} to {self.max}" if bounded else "whole number"
        if self.enum:
            return "one of the options"
        return f"text of at most {self.max_length} characters" if self.max_length else "text"


class Limits(Settings):
    """What a prompt needs of the model."""

    max_new_tokens: int = Field(gt=0)


class Template(Settings):
    """One version of one prompt.

    Its `fenced` fields are marked as data, so that text in them can't pose as instructions.
    """

    name: str
    system: str
    user: str
    fenced: tuple[str, ...] = ()
    answer: tuple[Item, ...] = Field(min_length=1)
    example: dict[str, Any] | None = None
    settings: Limits

    @model_validator(mode="after")
    def _consistent(self):
        unused = set(self.fenced) - set(self.fields)
        if unused:
            raise ValueError(f"fenced names {sorted(unused)}, which `user` doesn't use")
        if self.example is not None and self.parse(json.dumps(self.example)) is None:
            raise ValueError("the example is not an answer as `answer` describes it")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """What `messages` needs, by name."""
        return tuple(dict.fromkeys(name for _, name, _, _ in Formatter().parse(self.user) if name))

    def choosing(self, **options: Sequence[str]) -> "Template":
        """This prompt where the named answers must be one of the options.

        As in `choosing(label=dataset.labels)`.
        """
        items = [
            item.model_copy(update={"enum": tuple(options.get(item.name, item.enum))})
            for item in self.answer
        ]
        return self.model_copy(update={"answer": tuple(items)})

    def messages(self, shots: Sequence[Shot] = (), **fields: str | Sequence[str]) -> list[Message]:
        """The conversation about one case, worked examples first.

        A list among `fields` is written one line an entry.
        """
        turns = [{"role": "system", "content": f"{self.system.strip()}\n\n{self._form()}"}]
        for example, answer in shots:
            turns.append({"role": "user", "content": self._user(example)})
            ordered = {item.name: answer[item.name] for item in self.answer}
            turns.append({"role": "assistant", "content": json.dumps(ordered, ensure_ascii=False)})
        return [*turns, {"role": "user", "content": self._user(fields)}]

    def schema(self) -> dict:
        """The answer as a strict JSON schema."""
        properties = {item.name: item.schema_entry() for item in self.answer}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def parse(self, text: str) -> dict[str, Any] | None:
        """The first JSON object in an answer, checked and without other keys.

        None when there is none that fits: nor in an answer that is too long to search, or in which
        a key stands twice.
        """
        value = _first_object(text.rpartition("</think>")[2])
        if value is None:
            return None
        try:
            return _checked_model(self.answer).model_validate(value).model_dump()
        except ValidationError:
            return None

    def repair(self, messages: list[Message], answer: Answer) -> list[Message]:
        """The same conversation with a last turn that asks for the answer in its form again."""
        if not answer.text:
            last = {"role": "user", "content": f"{messages[-1]['content']}\n\n{self._form()}"}
            return [*messages[:-1], last]
        return [
            *messages,
            {"role": "assistant", "content": answer.text[:2000]},
            {"role": "user", "content": f"This could not be read. {self._form()}"},
        ]

    def _form(self) -> str:
        lines = ["Answer with one JSON object and nothing else. Its keys, in this order:"]
        lines += [f'- "{item.name}" ({item.described()}): {item.meaning}' for item in self.answer]
        if self.example:
            lines.append(f"For example: {json.dumps(self.example, ensure_ascii=False)}")
        return "\n".join(lines)

    def _user(self, fields: dict) -> str:
        missing = set(self.fields) - set(fields)
        if missing:
            raise R2DError(
                f"Prompt {self.name} needs {', '.join(sorted(missing))}: give it when asking."
            )
        filled = {name: self._filled(name, fields[name]) for name in self.fields}
        return self.user.strip().format(**filled)

    def _filled(self, name: str, value: str | Sequence[str]) -> str:
        if not isinstance(value, str):
            return "\n".join(f"- {_harmless(each)}" for each in value)
        if name in self.fenced:
            return f"<<<{name.upper()}\n{_harmless(value)}\n{name.upper()}>>>"
        return _harmless(value)


@dataclass(frozen=True)
class Replies:
    """Checked answers in the order of the items (None: missing) and how they came.

    Shares of the items, and numbers of items.
    """

    answers: list[dict[str, Any] | None]
    parse_rate_first: float
    missing_rate: float
    retried: int
    refused: int


def template(task: str, version: str = "v1") -> Template:
    """The prompt `task`/`version`; raises `R2DError` when there is none or its file is broken."""
    path = paths.PROMPTS / task / f"{version}.yaml"
    shipped = sorted(paths.PROMPTS.glob("*/*.yaml"))
    if path not in shipped:
        known = ", ".join(f"{file.parent.name}/{file.stem}" for file in shipped)
        raise R2DError(
            f"There is no prompt {task}/{version} in {paths.PROMPTS}: choose one of {known}."
        )
    broken = "The prompt file is broken"
    try:
        content = files.read_yaml(path, {str: object}, "mend it there, or get it again")
        return Template(name=f"{task}/{version}", **content)
    except ValidationError as error:
        raise R2DError(f"{broken}: in {path} {in_one_sentence(error)}") from None
    except TypeError:  # of a key that is no text, or that is `name`
        raise R2DError(f"{broken}: {path} has a key that is not known; remove it.") from None
    except R2DError as error:
        raise R2DError(f"{broken}: {error}") from None


def ask_all(
    chat: Chat,
    template: Template,
    items: Sequence[dict],
    shots: Sequence[Shot] = (),
    title: str = "asking",
    repeat: int = 0,
) -> Replies:
    """Ask about every item, each of which holds the template's fields.

    What can't be read is asked once more, with a turn that says so, and is missing after that. A
    refusal is taken as the answer it is and not asked again.
    """
    request = {
        "version": template.name,
        "schema": template.schema(),
        "repeat": repeat,
        "max_new_tokens": template.settings.max_new_tokens,
    }
    conversations = [template.messages(shots, **item) for item in items]
    replies = chat.ask(conversations, title=title, **request)
    answers = [_read(template, reply) for reply in replies]
    total = len(items) or 1
    parse_rate_first = sum(answer is not None for answer in answers) / total

    again = [i for i, answer in enumerate(answers) if answer is None]
    again = [i for i in again if replies[i].finish != "refusal"]
    if again:
        repairs = [template.repair(conversations[i], replies[i]) for i in again]
        second = chat.ask(repairs, title=f"{title}, again", **request)
        for i, reply in zip(again, second, strict=True):
            replies[i] = reply
            answers[i] = _read(template, reply)
    refused = sum(reply.finish == "refusal" for reply in replies)
    return Replies(answers, parse_rate_first, answers.count(None) / total, len(again), refused)


def _read(template: Template, reply: Answer) -> dict[str, Any] | None:
    return None if reply.finish == "refusal" else template.parse(reply.text)


@lru_cache
def _checked_model(items: tuple[Item, ...]) -> type[BaseModel]:
    return create_model("Reply", **{item.name: (item.checked_type(), ...) for item in items})


def _first_object(text: str) -> dict | None:
    """The first JSON object in a text.

    None without one: also where the text is longer than `LONGEST`, or none of the first `STARTS`
    places will do, so that a text made to be slow to read takes no longer than others.
    """
    if len(text) > LONGEST:
        return None
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=distinct)
    for start in islice(re.finditer(r"\{(?=[ \t\n\r]*[\"}])", text), STARTS):
        try:
            value, _ = decoder.raw_decode(text, start.start())
        except (json.JSONDecodeError, RecursionError):
            continue
        except ValueError:  # a key that stands twice: what is meant can't be told
            return None
        return value
    return None


def _number(value):
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    return value


def _as_spelled(text, options: Sequence[str]):
    """The option that `text` is but for case, outer blanks, quotes and a full stop."""
    if not isinstance(text, str):
        return text
    return canonical(text.strip(" \t\n\"'."), options) or text


def _harmless(text: str) -> str:
    """Text in which nothing looks like a fence or like the control tokens of a chat model."""
    return re.sub(r"<(?=[<|/A-Za-z])|>(?=>)|\[(?=/?[A-Z_]+\])", r"\g<0> ", text)
