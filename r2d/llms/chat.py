"""Chat models: one interface over a local model and an OpenAI-compatible server, and a cache of what was ever answered."""

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from r2d import paths
from r2d.errors import R2DError
from r2d.recipes.settings import LlmSettings

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}


@dataclass(frozen=True)
class Answer:
    """One answer; `finish` is "stop", "length" (cut off), "refusal", or "fault" (no answer: why is in `fault`).

    `tokens_in` and `tokens_out` are 0 where a server doesn't count them.
    """

    text: str
    finish: str
    tokens_in: int = 0
    tokens_out: int = 0
    cached: bool = False
    fault: str = ""


@dataclass
class Totals:
    """What was asked: calls that reached the model, answers out of the cache, tokens, dollars and seconds of the calls."""

    calls: int = 0
    hits: int = 0
    faults: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    seconds: float = 0.0

    def since(self, before: "Totals") -> "Totals":
        """What was added to an earlier copy."""
        return Totals(
            **{name: value - getattr(before, name) for name, value in asdict(self).items()}
        )

    def __str__(self) -> str:
        price = f", ${self.cost:.2f}" if self.cost else ""
        tokens = f"{self.tokens_in:,} tokens read, {self.tokens_out:,} written{price}, {self.seconds:.0f} s"
        return (
            f"{self.calls} calls, {self.hits} answers known before, {self.faults} faults, {tokens}"
        )


@dataclass(frozen=True)
class Decoding:
    """How one answer is drawn; temperature 0 is greedy."""

    max_new_tokens: int
    temperature: float
    seed: int
    repeat: int


Keep = Callable[[int, Answer], None]


class Backend(Protocol):
    """Where answers come from; both methods hand each answer to `keep(index, answer)`, from any thread, as it comes.

    `score`, of a backend that `scores`, hands over a JSON list as the answer's text.
    """

    scores: bool

    def identity(self) -> dict:
        """All of the backend that can change an answer."""

    def answer(
        self, conversations: Sequence[list[Message]], how: Decoding, schema: dict | None, keep: Keep
    ) -> None:
        """An answer to each conversation."""

    def score(
        self, conversations: Sequence[list[Message]], options: Sequence[Sequence[str]], keep: Keep
    ) -> None:
        """The log-probability of each of `options[i]` as the whole answer to conversation i."""


class Chat:
    """A chat model and its answers so far: what it was asked once, under the same settings, it is never asked again.

    Answers are written to `cache` as they come, so an interrupted run goes on where it was; faults are not kept.
    Of a prompt only a hash is stored; the answers are stored as they are.
    """

    def __init__(self, settings: LlmSettings, seed: int = 0, cache: Path | None = None):
        self.settings, self.seed, self.totals = settings, seed, Totals()
        self._cache = Cache(cache or paths.cache() / "answers.sqlite")
        self._backend = _backend(settings)
        self._lock = threading.Lock()

    def ask(
        self,
        conversations: Sequence[list[Message]],
        version: str,
        schema: dict | None = None,
        repeat: int = 0,
        title: str = "asking",
        max_new_tokens: int | None = None,
    ) -> list[Answer]:
        """One answer a conversation, in order, of at most the lower of `max_new_tokens` and the settings' own.

        `version` names the prompt; `schema` is a JSON schema that servers are asked to hold to (not all of them do);
        another `repeat` asks again. Raises `R2DError` when the model can't be had or the server turns the calls down.
        """
        limit = min(max_new_tokens or self.settings.max_new_tokens, self.settings.max_new_tokens)
        how = Decoding(limit, self.settings.temperature, self.seed, repeat)
        shared = {"task": "ask", "version": version, "schema": schema, "decoding": asdict(how)}
        keys = [self._key(shared | {"messages": messages}) for messages in conversations]
        return self._through_cache(
            keys,
            title,
            lambda todo, keep: self._backend.answer(
                [conversations[i] for i in todo], how, schema, keep
            ),
        )

    def score(
        self,
        conversations: Sequence[list[Message]],
        options: Sequence[Sequence[str]],
        version: str,
        title: str = "scoring",
    ) -> list[list[float]] | None:
        """Log-probability of each option as the whole answer, its end included; None where the backend can't tell."""
        if not self._backend.scores:
            return None
        pairs = list(zip(conversations, map(list, options), strict=True))
        keys = [
            self._key({"task": "score", "version": version, "messages": m, "options": o})
            for m, o in pairs
        ]
        found = self._through_cache(
            keys,
            title,
            lambda todo, keep: self._backend.score(
                [pairs[i][0] for i in todo], [pairs[i][1] for i in todo], keep
            ),
        )
        return [json.loads(answer.text) for answer in found]

    def _key(self, request: dict) -> str:
        """Hash of everything that can change the answer."""
        text = json.dumps(self._backend.identity() | request, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _through_cache(
        self, keys: list[str], title: str, run: Callable[[list[int], Keep], None]
    ) -> list[Answer]:
        """The answers to `keys`; `run` is called with the indices of those not known yet, each key once."""
        known = {key: Answer(**value, cached=True) for key, value in self._cache.get(keys).items()}
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        todo = sorted(i for key, i in first.items() if key not in known)
        fresh: dict[int, Answer] = {}
        hits, started = len(keys) - len(todo), time.perf_counter()
        self.totals.hits += hits
        with tqdm(total=len(keys), initial=hits, desc=title, mininterval=10) as bar:
            bar.set_postfix(calls=0, hits=hits, refresh=False)

            def keep(position: int, answer: Answer) -> None:
                with self._lock:
                    fresh[todo[position]] = answer
                    self._count(answer)
                    if answer.finish != "fault":
                        self._cache.put(keys[todo[position]], answer)
                    bar.set_postfix(calls=len(fresh), hits=hits, refresh=False)
                    bar.update()

            try:
                if todo:
                    run(todo, keep)
            finally:
                self.totals.seconds += time.perf_counter() - started
        known |= {keys[i]: replace(answer, cached=True) for i, answer in fresh.items()}
        return [fresh.get(i) or known[key] for i, key in enumerate(keys)]

    def _count(self, answer: Answer) -> None:
        price_in, price_out = self.settings.price
        self.totals.calls += 1
        self.totals.faults += answer.finish == "fault"
        self.totals.tokens_in += answer.tokens_in
        self.totals.tokens_out += answer.tokens_out
        self.totals.cost += (answer.tokens_in * price_in + answer.tokens_out * price_out) / 1e6


class Cache:
    """Answers by the hash of their request, in one SQLite file that several processes may use at once."""

    def __init__(self, path: Path):
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(
                path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self._base.execute(
                "PRAGMA journal_mode=TRUNCATE"
            )  # a write-ahead log can't be shared by the nodes of a cluster
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            raise R2DError(
                f"The cache of answers at {path} can't be opened ({error}): move it away, or set R2D_HOME to another folder."
            ) from None

    def get(self, keys: Sequence[str]) -> dict[str, dict]:
        """The stored answers of those `keys` that have one."""
        query = "SELECT value FROM answers WHERE key = ?"
        rows = {key: self._base.execute(query, (key,)).fetchone() for key in set(keys)}
        return {key: json.loads(row[0]) for key, row in rows.items() if row}

    def put(self, key: str, answer: Answer) -> None:
        """Store an answer; it survives the end of this process, however that comes. Raises `R2DError` on a full disk."""
        value = json.dumps(
            {k: v for k, v in asdict(answer).items() if k not in ("cached", "fault")}
        )
        try:
            self._base.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, value))
        except sqlite3.Error as error:
            raise R2DError(
                f"An answer can't be written to {self.path} ({error}): free disk space, then run again."
            ) from None


def _backend(settings: LlmSettings) -> Backend:
    """The settings' backend; what it needs (torch, the openai client) is imported only here."""
    if settings.backend == "local":
        from r2d.llms.local import Local

        return Local(settings)
    from r2d.llms.server import Server

    return Server(settings)
