"""Chat models behind any OpenAI-compatible server, asked several at once; whatever it sends, the run goes on or says why.

`R2D_LLM_BASE_URL` and `R2D_LLM_API_KEY` say where and with which key; else `OPENAI_BASE_URL` and `OPENAI_API_KEY`. A key only
ever goes to the URL it was set with. Without a URL nothing is sent anywhere: notes are sensitive.
"""

import logging
import os
import random
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from email.utils import parsedate_to_datetime
from time import time

import openai

from r2d.errors import R2DError
from r2d.llms.chat import Answer, Decoding, Keep, Message
from r2d.recipes.settings import LlmSettings

TRIES = 6
BASE_DELAY = 1.0  # seconds before the second try; doubled at each further one
MAX_DELAY = 60.0
TIMEOUT = 300.0  # seconds of silence while waiting for an answer
GIVE_UP = 20  # calls in a row that failed for good: the server is down
_AGAIN = {408, 409, 429}


class Server:
    """The server of the environment, asked for `settings.model` by `settings.batch` calls at a time."""

    scores = False  # few servers tell the probability of a text that they didn't write

    def __init__(self, settings: LlmSettings):
        self.settings = settings
        for name in ("openai", "httpx2"):
            logging.getLogger(name).setLevel(
                logging.WARNING
            )  # below that they log prompts and addresses
        prefix = "R2D_LLM" if os.environ.get("R2D_LLM_BASE_URL") else "OPENAI"
        self._names = f"{prefix}_BASE_URL", f"{prefix}_API_KEY"
        url, key = (os.environ.get(name) for name in self._names)
        if not url:
            raise R2DError(
                f"No server is set for {settings.title}: set R2D_LLM_BASE_URL (and R2D_LLM_API_KEY if it needs one)."
            )
        self._client = openai.OpenAI(
            base_url=url, api_key=key or "none", max_retries=0, timeout=TIMEOUT
        )

    def identity(self) -> dict:
        """What the model is; not where it is served."""
        return {
            "backend": "server",
            "model": self.settings.model,
            "revision": self.settings.revision,
        }

    def answer(
        self, conversations: Sequence[list[Message]], how: Decoding, schema: dict | None, keep: Keep
    ) -> None:
        """Hand the answer to each conversation to `keep`; a call that failed `TRIES` times is a fault.

        Raises `R2DError` when the server turns a call down, or is down; then, as when stopped, the calls under way are kept.
        """
        stop, failed = threading.Event(), 0

        def work(i: int) -> None:
            nonlocal failed
            try:
                if stop.is_set() or not (
                    answer := self._persist(self._request(conversations[i], how, schema), stop)
                ):
                    return
                keep(i, answer)
                failed = failed + 1 if answer.finish == "fault" else 0
                if failed >= GIVE_UP:
                    raise R2DError(
                        f"{failed} calls in a row failed, {answer.fault}: check {self._names[0]}, then run again."
                    )
            except BaseException:
                stop.set()  # at once, before another call begins
                raise

        with ThreadPoolExecutor(self.settings.batch) as pool:
            try:
                done, _ = wait(
                    [pool.submit(work, i) for i in range(len(conversations))],
                    return_when=FIRST_EXCEPTION,
                )
                for future in done:
                    future.result()
            finally:
                stop.set()

    def _request(self, messages: list[Message], how: Decoding, schema: dict | None) -> dict:
        request = {
            "model": self.settings.model,
            "messages": messages,
            "max_tokens": how.max_new_tokens,
            "temperature": how.temperature,
            "seed": 1000 * how.seed + how.repeat,
        }
        if schema is not None:
            form = {"name": "answer", "strict": True, "schema": schema}
            request["response_format"] = {"type": "json_schema", "json_schema": form}
        return request

    def _persist(self, request: dict, stop: threading.Event) -> Answer | None:
        """Ask until there is an answer, `TRIES` at most; None when stopped while waiting for the next try."""
        fault, delay = "", 0.0
        for attempt in range(TRIES):
            if stop.wait(delay):
                return None
            delay = min(BASE_DELAY * 2**attempt, MAX_DELAY) * random.uniform(0.5, 1.0)
            try:
                return _read(self._client.chat.completions.create(**request))
            except openai.APIStatusError as error:
                status = error.status_code
                if status < 500 and status not in _AGAIN:
                    raise self._refused(status) from None
                fault = f"the server answered with status {status}"
                delay = max(delay, _retry_after(error.response.headers.get("retry-after")))
            except openai.APITimeoutError:
                fault = "the server did not answer in time"
            except openai.APIConnectionError:
                fault = "the server could not be reached or hung up"
            except (openai.APIResponseValidationError, _Unreadable, ValueError):
                fault = "the server's answer could not be read"
        return Answer("", "fault", fault=f"{fault} ({TRIES} tries)")

    def _refused(self, status: int) -> R2DError:
        """A sentence of our own: a server may repeat the key or the prompt in its message."""
        url, key = self._names
        advice = {
            400: "it may not know JSON schemas or a setting, or the prompt is longer than the model's context",
            401: f"check {key}",
            403: f"check what the key in {key} may use",
            404: f"check the model's name in the recipe and {url}, which usually ends in /v1",
            413: "the prompt is too long for it",
        }.get(status, f"check {url} and the server's own log")
        return R2DError(
            f"The server turned down a call to {self.settings.title} (status {status}): {advice}."
        )


class _Unreadable(Exception):
    """A reply without what a chat completion must have."""


def _read(reply) -> Answer:
    """A server's reply as an answer, read as if nothing in it could be trusted."""
    choices = getattr(reply, "choices", None)
    message = (
        getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
    )
    if message is None:
        raise _Unreadable
    used = reply.usage
    counts = (getattr(used, "prompt_tokens", 0) or 0, getattr(used, "completion_tokens", 0) or 0)
    text = message.content if isinstance(message.content, str) else ""
    if message.refusal or choices[0].finish_reason == "content_filter":
        return Answer(text, "refusal", *counts)
    if choices[0].finish_reason == "length":
        return Answer(text, "length", *counts)
    if not text.strip():
        return Answer("", "fault", *counts, fault="the answer was empty")
    return Answer(text, "stop", *counts)


def _retry_after(value: str | None) -> float:
    """Seconds a server asks to wait, given in seconds or as a date; 0 when it doesn't say, an hour at most."""
    if not value:
        return 0.0
    try:
        seconds = (
            float(value)
            if value.strip().replace(".", "").isdigit()
            else parsedate_to_datetime(value).timestamp() - time()
        )
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), 3600.0)
