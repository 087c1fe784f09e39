"""Where an OpenAI-compatible server is, and one call to it that surely ends.

The address and the key are checked before anything is sent, and appear in no message. No call goes
on beyond `DEADLINE` or reads more than `LARGEST`, however the server sends; none follows a
redirect, so notes and key go nowhere else.
"""

import asyncio
import json
import os
import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

import httpx2

from r2d.errors import R2DError
from r2d.llms.types import Fault

DEADLINE = 300.0  # seconds for a whole call, from connecting to the last byte of the answer
LARGEST = 4 * 2**20  # bytes of an answer


@dataclass(frozen=True)
class Reply:
    """What a server sent; its body is read only where the status says that it is an answer."""

    status: int
    content_type: str
    retry_after: str | None
    body: bytes = b""


@dataclass(frozen=True)
class Endpoint:
    """The address that completions are asked of, its key, and the variables that say so."""

    url: str = field(repr=False)
    key: str = field(repr=False)
    url_name: str
    key_name: str

    def post(self, request: dict) -> Reply:
        """The server's reply; raises `Fault` where there is none in time, or one too large.

        The whole call is one task that is cancelled at the deadline, which closes its connection: a
        timeout of each read alone would let a byte now and then go on for ever.
        """
        try:
            return asyncio.run(self._post(json.dumps(request).encode()))
        except TimeoutError:
            raise Fault("the server did not answer in time") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, ExceptionGroup):
            raise Fault("the server could not be reached or hung up") from None

    async def _post(self, content: bytes) -> Reply:
        headers = {
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # what is packed may grow a thousandfold
        }
        options = {"content": content, "headers": headers, "follow_redirects": False}
        async with asyncio.timeout(DEADLINE), _client() as client:
            async with client.stream("POST", self.url, **options) as response:
                content_type = response.headers.get("content-type", "")
                retry_after = response.headers.get("retry-after")
                body = await _body(response) if response.is_success else b""
                return Reply(response.status_code, content_type, retry_after, body)


def from_environment(title: str) -> Endpoint:
    """The endpoint that the environment names for the chat model `title`.

    Raises `R2DError` for an address, key or proxy that can't be used.
    """
    prefix = "R2D_LLM" if os.environ.get("R2D_LLM_BASE_URL") else "OPENAI"
    url_name, key_name = f"{prefix}_BASE_URL", f"{prefix}_API_KEY"
    url = os.environ.get(url_name)
    if not url:
        raise R2DError(
            f"No server is set for {title}: set R2D_LLM_BASE_URL (and R2D_LLM_API_KEY if it needs "
            "one)."
        )
    problem = wrong_with(url)
    if problem:
        raise R2DError(f"{url_name} {problem}.")
    key = os.environ.get(key_name) or "none"
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise R2DError(
            f"{key_name} holds a blank, a line break or a character outside ASCII: set it again."
        )
    try:
        _client()
    except (httpx2.InvalidURL, ImportError, ValueError):
        raise R2DError(
            "The proxy that the environment names (HTTP_PROXY, HTTPS_PROXY or ALL_PROXY) can't be "
            "used: write it as http://host:port, or unset it."
        ) from None
    parts = urlsplit(url)
    whole = parts._replace(path=f"{parts.path.rstrip('/')}/chat/completions").geturl()
    return Endpoint(whole, key, url_name, key_name)


def wrong_with(url: str) -> str | None:
    """What is wrong with a base URL and how to mend it, without a part of it; None if nothing is.

    A password may stand anywhere in one that can't be read.
    """
    if not url.isprintable() or " " in url:
        return "holds a blank or a line break: take it out"
    if "@" in url:
        return "holds a user name or password: take it out; a key has a variable of its own"
    if not url.lower().startswith(("http://", "https://")):
        return "doesn't begin with http:// or https://: write it as http://host:port/v1"
    if not _names_a_host(url):
        return "names no host that can be looked up: write it as http://host:port/v1"
    if not _port_is_possible(url):
        return "has a port that is not a number from 1 to 65535: mend it"
    if "#" in url:
        return "holds a #: take it and what follows out"
    return None


def _names_a_host(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        host.encode("idna")
    except ValueError:
        return False
    return host != ""


def _port_is_possible(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _client() -> httpx2.AsyncClient:
    """A client for one call; it has no timeouts of its own."""
    return httpx2.AsyncClient(verify=_certificates(), timeout=None)


@lru_cache
def _certificates() -> ssl.SSLContext:
    """Whom this machine trusts; it takes a tenth of a second to read."""
    return httpx2.create_ssl_context()


async def _body(response: httpx2.Response) -> bytes:
    """The whole body as it was sent, if it is not too large."""
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > LARGEST:
            raise Fault(f"the server's answer is longer than {LARGEST / 2**20:g} MiB")
    return bytes(body)
