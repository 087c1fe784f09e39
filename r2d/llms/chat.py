"""A chat model, read into this process or behind a server, that is never asked twice."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tqdm import tqdm

from r2d import paths
from r2d.llms.cache import Cache
from r2d.llms.types import Answer, Backend, Decoding, Keep, Message, Totals
from r2d.recipes.settings import LlmSettings


class Chat:
    """A chat model and its answers so far.

    What it was asked once, under the same settings, it is never asked again. Answers are written to
    `cache` as they come, so an interrupted run goes on where it was; faults are not kept. Of a
    prompt only a hash is stored; the answers are stored as they are.
    """

    def __init__(self, settings: LlmSettings, seed: int = 0, cache: Path | None = None):
        self.settings = settings
        self.seed = seed
        self.totals = Totals()
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
        """One answer a conversation, in order.

        It has at most the lower of `max_new_tokens` and the settings' own. `version` names the
        prompt; `schema` is a JSON schema that servers are asked to hold to (not all of them do);
        another `repeat` asks again. Raises `R2DError` when the model can't be had or the server
        turns the calls down.
        """
        limit = min(max_new_tokens or self.settings.max_new_tokens, self.settings.max_new_tokens)
        decoding = Decoding(limit, self.settings.temperature, self.seed, repeat)
        request = {
            "task": "ask",
            "version": version,
            "schema": schema,
            "decoding": asdict(decoding),
        }
        keys = [self._key(request | {"messages": messages}) for messages in conversations]

        def answer(todo: list[int], keep: Keep) -> None:
            self._backend.answer([conversations[i] for i in todo], decoding, schema, keep)

        return self._through_cache(keys, title, answer)

    def score(
        self,
        conversations: Sequence[list[Message]],
        options: Sequence[Sequence[str]],
        version: str,
        title: str = "scoring",
    ) -> list[list[float]] | None:
        """Log-probability of each option as the whole answer, its end included.

        None where the backend can't tell.
        """
        if not self._backend.can_score:
            return None
        request = {"task": "score", "version": version}
        keys = [
            self._key(request | {"messages": messages, "options": list(texts)})
            for messages, texts in zip(conversations, options, strict=True)
        ]

        def score(todo: list[int], keep: Keep) -> None:
            wanted = [list(options[i]) for i in todo]
            self._backend.score([conversations[i] for i in todo], wanted, keep)

        return [json.loads(answer.text) for answer in self._through_cache(keys, title, score)]

    def _key(self, request: dict) -> str:
        """Hash of everything that can change the answer."""
        text = json.dumps(self._backend.identity() | request, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _through_cache(
        self, keys: list[str], title: str, run: Callable[[list[int], Keep], None]
    ) -> list[Answer]:
        """The answers to `keys`; `run` gets the indices of those not known yet, each key once."""
        known = self._cache.get(keys)
        first: dict[str, int] = {}
        for i, key in enumerate(keys):
            first.setdefault(key, i)
        todo = [i for key, i in first.items() if key not in known]
        fresh: dict[int, Answer] = {}
        hits = len(keys) - len(todo)
        self.totals.hits += hits
        started = time.perf_counter()
        with tqdm(total=len(keys), initial=hits, desc=title, mininterval=10) as bar:
            bar.set_postfix(calls=0, hits=hits, refresh=False)

            def keep(position: int, answer: Answer) -> None:
                i = todo[position]
                with self._lock:
                    fresh[i] = answer
                    self._count(answer)
                    if answer.finish != "fault":
                        self._cache.put(keys[i], answer)
                    bar.set_postfix(calls=len(fresh), hits=hits, refresh=False)
                    bar.update()

            try:
                if todo:
                    self._cache.expect_to_write()
                    run(todo, keep)
            finally:
                self.totals.seconds += time.perf_counter() - started
        for i, answer in fresh.items():
            known[keys[i]] = replace(answer, cached=True)
        return [fresh[i] if i in fresh else known[key] for i, key in enumerate(keys)]

    def _count(self, answer: Answer) -> None:
        price_in, price_out = self.settings.price
        self.totals.calls += 1
        self.totals.faults += answer.finish == "fault"
        self.totals.tokens_in += answer.tokens_in
        self.totals.tokens_out += answer.tokens_out
        self.totals.cost += (answer.tokens_in * price_in + answer.tokens_out * price_out) / 1e6


def _backend(settings: LlmSettings) -> Backend:
    """The settings' backend; what it needs (torch, an HTTP client) is imported only here."""
    if settings.backend == "local":
        from r2d.llms.local import Local

        return Local(settings)
    from r2d.llms.server import Server

    return Server(settings)
