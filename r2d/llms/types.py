"""What chat models and those who ask them share: messages, answers, and what a backend must do."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Protocol

from pydantic import AfterValidator

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}


def encodable(text: str) -> str:
    """The text, if it can be written as UTF-8: not with half of a surrogate pair alone."""
    text.encode()
    return text


Text = Annotated[str, AfterValidator(encodable)]


@dataclass(frozen=True)
class Answer:
    """One answer of a chat model.

    `finish` is "stop", "length" (cut off), "refusal", or "fault" (no answer: why is in `fault`).
    `tokens_in` and `tokens_out` are 0 where a server doesn't count them.
    """

    text: str
    finish: str
    tokens_in: int = 0
    tokens_out: int = 0
    cached: bool = False
    fault: str = ""


class Fault(Exception):
    """Why a call brought no answer, where another try may: after `retry_after` seconds at least."""

    def __init__(self, reason: str, retry_after: float = 0.0):
        super().__init__(reason)
        self.retry_after = retry_after


Keep = Callable[[int, Answer], None]


@dataclass
class Totals:
    """What was asked, counted over the life of a chat.

    Calls that reached the model, answers out of the cache, tokens, dollars and seconds of the
    calls.
    """

    calls: int = 0
    hits: int = 0
    faults: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    seconds: float = 0.0

    def since(self, before: "Totals") -> "Totals":
        """What was added to an earlier copy."""
        earlier = asdict(before)
        return Totals(**{name: value - earlier[name] for name, value in asdict(self).items()})

    def __str__(self) -> str:
        price = f", ${self.cost:.2f}" if self.cost else ""
        return (
            f"{self.calls} calls, {self.hits} answers known before, {self.faults} faults, "
            f"{self.tokens_in:,} tokens read, {self.tokens_out:,} written{price}, "
            f"{self.seconds:.0f} s"
        )


@dataclass(frozen=True)
class Decoding:
    """How one answer is drawn; temperature 0 is greedy, another `repeat` asks again."""

    max_new_tokens: int
    temperature: float
    seed: int
    repeat: int


class Backend(Protocol):
    """Where answers come from.

    Both methods hand each answer to `keep(index, answer)`, from any thread, as it comes. `score` is
    for a backend that `can_score`; the text of its answers is a JSON list.
    """

    can_score: bool

    def identity(self) -> dict:
        """All of the backend that can change an answer."""

    def answer(
        self,
        conversations: Sequence[list[Message]],
        decoding: Decoding,
        schema: dict | None,
        keep: Keep,
    ) -> None:
        """An answer to each conversation."""

    def score(
        self,
        conversations: Sequence[list[Message]],
        options: Sequence[Sequence[str]],
        keep: Keep,
    ) -> None:
        """The log-probability of each of `options[i]` as the whole answer to conversation i."""
