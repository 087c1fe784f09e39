"""Chat models behind any OpenAI-compatible server, asked several at once.

Whatever the server sends, the run goes on or says why. `R2D_LLM_BASE_URL` and `R2D_LLM_API_KEY` say
where and with which key; else `OPENAI_BASE_URL` and `OPENAI_API_KEY`. A key only ever goes to the
URL it was set with. Without a URL nothing is sent anywhere: notes are sensitive.
"""

import logging
import random
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from email.utils import parsedate_to_datetime
from time import time

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
)

from r2d.errors import R2DError
from r2d.llms.completion import read_completion
from r2d.llms.endpoint import from_environment
from r2d.llms.types import Answer, Decoding, Fault, Keep, Message
from r2d.recipes.settings import LlmSettings

TRIES = 6
BASE_DELAY = 1.0  # seconds before the second try; doubled at each further one
MAX_DELAY = 60.0
GIVE_UP = 20  # calls in a row that failed for good: the server is down
_WORTH_RETRYING = {408, 409, 429}  # of the statuses below 500


class Server:
    """The server of the environment, asked for `settings.model` by `settings.batch` at a time."""

    can_score = False  # few servers tell the probability of a text that they didn't write

    def __init__(self, settings: LlmSettings):
        self.settings = settings
        for name in ("httpx2", "httpcore2"):
            # Below warnings they log addresses.
            logging.getLogger(name).setLevel(logging.WARNING)
        self._endpoint = from_environment(settings.title)

    def identity(self) -> dict:
        """What the model is; not where it is served."""
        settings = self.settings
        return {"backend": "server", "model": settings.model, "revision": settings.revision}

    def answer(
        self,
        conversations: Sequence[list[Message]],
        decoding: Decoding,
        schema: dict | None,
        keep: Keep,
    ) -> None:
        """Hand the answer to each conversation to `keep`.

        A call that failed `TRIES` times is a fault. Raises `R2DError` when the server turns a call
        down, or is down; then, as when stopped, the calls under way are kept.
        """
        stop = threading.Event()
        failed_in_a_row = 0

        def work(i: int) -> None:
            nonlocal failed_in_a_row
            try:
                answer = self._persist(self._request(conversations[i], decoding, schema), stop)
                if answer is None:
                    return
                keep(i, answer)
                failed_in_a_row = failed_in_a_row + 1 if answer.finish == "fault" else 0
                if failed_in_a_row >= GIVE_UP:
                    raise R2DError(
                        f"{failed_in_a_row} calls in a row failed, {answer.fault}: check "
                        f"{self._endpoint.url_name}, then run again."
                    )
            except BaseException:
                stop.set()  # at once, before another call begins
                raise

        with ThreadPoolExecutor(self.settings.batch) as pool:
            try:
                futures = [pool.submit(work, i) for i in range(len(conversations))]
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            finally:
                stop.set()

    def _request(self, messages: list[Message], decoding: Decoding, schema: dict | None) -> dict:
        request = {
            "model": self.settings.model,
            "messages": messages,
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "seed": 1000 * decoding.seed + decoding.repeat,
        }
        if schema is not None:
            form = {"name": "answer", "strict": True, "schema": schema}
            request["response_format"] = {"type": "json_schema", "json_schema": form}
        return request

    def _persist(self, request: dict, stop: threading.Event) -> Answer | None:
        """Ask until there is an answer, `TRIES` at most; None when stopped before the next try."""

        def ask_once() -> Answer | None:
            return None if stop.is_set() else self._ask_once(request)

        def give_up(state: RetryCallState) -> Answer:
            return Answer("", "fault", fault=f"{state.outcome.exception()} ({TRIES} tries)")

        retrying = Retrying(
            retry=retry_if_exception_type(Fault),
            wait=_delay,
            stop=stop_after_attempt(TRIES),
            sleep=sleep_using_event(stop),
            retry_error_callback=give_up,
        )
        return retrying(ask_once)

    def _ask_once(self, request: dict) -> Answer:
        """The server's answer.

        Raises `Fault` where another try may help, `R2DError` when the call is turned down.
        """
        reply = self._endpoint.post(request)
        status = reply.status
        if 200 <= status < 300:
            return read_completion(reply.body, reply.content_type)
        if status >= 500 or status in _WORTH_RETRYING:
            seconds = seconds_asked_for(reply.retry_after)
            raise Fault(f"the server answered with status {status}", seconds)
        raise self._refused(status)

    def _refused(self, status: int) -> R2DError:
        """A sentence of our own: a server may repeat the key or the prompt in its message."""
        url_name, key_name = self._endpoint.url_name, self._endpoint.key_name
        advice = {
            400: "it may not know JSON schemas or a setting, or the prompt is longer than the "
            "model's context",
            401: f"check {key_name}",
            403: f"check what the key in {key_name} may use",
            404: f"check the model's name in the recipe and {url_name}, which usually ends in /v1",
            413: "the prompt is too long for it",
        }.get(status, f"check {url_name} and the server's own log")
        if status < 400:
            advice = f"it points elsewhere, where nothing is sent; set {url_name} to the address "
            advice += "that answers itself"
        return R2DError(
            f"The server turned down a call to {self.settings.title} (status {status}): {advice}."
        )


def _delay(state: RetryCallState) -> float:
    """Seconds before the next try: doubled at each, with jitter; no less than the server asks."""
    backoff = min(BASE_DELAY * 2 ** (state.attempt_number - 1), MAX_DELAY)
    return max(backoff * random.uniform(0.5, 1.0), state.outcome.exception().retry_after)


def seconds_asked_for(value: str | None) -> float:
    """Seconds a server asks to wait, given in seconds or as a date.

    0 when it doesn't say, an hour at most.
    """
    if not value:
        return 0.0
    try:
        if value.strip().replace(".", "").isdigit():
            seconds = float(value)
        else:
            seconds = parsedate_to_datetime(value).timestamp() - time()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), 3600.0)
