"""An OpenAI-compatible server on loopback that fails as it is told to.

For the tests of chat models.
"""

import json
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text: str | None = "fine", finish: str = "stop", **more) -> dict:
    """A chat completion of 10 tokens in and 2 out."""
    choice = {
        "index": 0,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": text, **more},
    }
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


def body(content: bytes, status: int = 200, length: int | None = None, **headers) -> Callable:
    """A reply with these bytes; a `length` that isn't theirs makes a connection that breaks off."""

    def send(handler):
        handler.send_response(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"Content-Type": "application/json"} | named).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(length or len(content)))
        handler.end_headers()
        handler.wfile.write(content)
        handler.close_connection = True

    return send


def reply(text: str | None = "fine", finish: str = "stop", **more) -> Callable:
    """A good reply."""
    return body(json.dumps(completion(text, finish, **more)).encode())


def answering(rule: Callable[[dict], str]) -> Callable:
    """A good reply whose text is what `rule` makes of the request."""
    return lambda handler: reply(rule(handler.asked))(handler)


def slow(seconds: float, then: Callable) -> Callable:
    """A reply that takes its time."""

    def send(handler):
        time.sleep(seconds)
        then(handler)

    return send


def raw(*parts: bytes, pause: float = 0.0, times: int = 1) -> Callable:
    """These bytes as they are, so many times over with a pause after each; then it hangs up.

    `handler.server.hung_up` is set where the client was first.
    """

    def send(handler):
        handler.close_connection = True
        try:
            for _ in range(times):
                for part in parts:
                    handler.wfile.write(part)
                    time.sleep(pause)
        except OSError:
            handler.server.hung_up.set()

    return send


def dripping(opening: bytes = b"", drop: bytes = b" ") -> Callable:
    """A reply that goes on a byte at a time for a minute, after these first bytes."""

    def send(handler):
        raw(opening)(handler)
        raw(drop, pause=0.05, times=1200)(handler)

    return send


class Flaky(ThreadingHTTPServer):
    """Replies by `script`, one entry a request, then by `usual`.

    `seen` holds (last message, request, its key) of each; `callers` counts connections.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.usual, self.seen, self.lock = [], reply(), [], threading.Lock()
        self.hung_up = threading.Event()
        self.callers = 0

    def verify_request(self, request, client_address) -> bool:
        self.callers += 1
        return True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def prompts(self) -> list[str]:
        return [prompt for prompt, _, _ in self.seen]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.asked = request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append(
                (request["messages"][-1]["content"], request, self.headers["Authorization"])
            )
            act = self.server.script.pop(0) if self.server.script else self.server.usual
        try:
            act(self)
        except OSError:
            pass  # the client has hung up

    def log_message(self, *_):
        pass


@contextmanager
def running():
    """A `Flaky` server for the length of a `with`."""
    server = Flaky()
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    ).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
