"""Chat servers that drip, flood, lie and point elsewhere: each call ends, and says why."""

import gzip
import json
import random
import socket
import time

import pytest
import servers

from r2d.errors import R2DError
from r2d.llms import endpoint
from r2d.llms import server as backend
from r2d.llms.chat import Chat
from r2d.llms.completion import read_completion
from r2d.llms.types import Answer, Fault
from r2d.recipes.settings import LlmSettings

KEY = "sk-secret-key-0123456789"
PASSWORD = "swordfish"
FAR = LlmSettings(title="A server", backend="server", model="m", parameters=1e9, batch=1)
QUESTION = [{"role": "user", "content": "What is 2+2?"}]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GOOD = json.dumps(servers.completion()).encode()


@pytest.fixture
def server(server, monkeypatch):
    """The failing server, with a key; each call is tried once."""
    monkeypatch.setenv("R2D_LLM_API_KEY", KEY)
    monkeypatch.setattr(backend, "TRIES", 1)
    return server


@pytest.fixture
def chat(tmp_path):
    """Chats over one cache."""
    return lambda: Chat(FAR, cache=tmp_path / "answers.sqlite")


def expect_fault(chat, reason: str) -> None:
    """One question brings this fault, which is counted and not kept."""
    for _ in range(2):
        asked = chat()
        assert asked.ask([QUESTION], "v1") == [Answer("", "fault", fault=f"{reason} (1 tries)")]
        assert (asked.totals.calls, asked.totals.hits, asked.totals.faults) == (1, 0, 1)


# --- time and size

LATE = {
    "silence": servers.slow(2, servers.reply()),
    "a status line a byte at a time": servers.dripping(drop=b"H"),
    "headers a byte at a time": servers.dripping(OK + b"X: ", b"x"),
    "a body a byte at a time": servers.dripping(OK + b"Content-Length: 1000\r\n\r\n"),
    "chunks of a byte": servers.dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a body without an end": servers.dripping(OK + b"\r\n"),
    "progress without an end": servers.dripping(drop=b"HTTP/1.1 102 Processing\r\n\r\n"),
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
def test_a_call_ends_at_its_deadline_and_its_connection_with_it(server, chat, monkeypatch, late):
    monkeypatch.setattr(endpoint, "DEADLINE", 0.4)
    server.usual = late
    started = time.perf_counter()
    expect_fault(chat, "the server did not answer in time")
    assert time.perf_counter() - started < 5
    assert late is LATE["silence"] or server.hung_up.wait(5)


def test_a_handshake_that_never_ends_does(chat, monkeypatch, server):
    monkeypatch.setattr(endpoint, "DEADLINE", 0.4)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("R2D_LLM_BASE_URL", f"https://127.0.0.1:{deaf.getsockname()[1]}/v1")
        expect_fault(chat, "the server did not answer in time")


def test_a_server_that_only_drips_stops_the_run_with_a_sentence(server, chat, monkeypatch):
    monkeypatch.setattr(endpoint, "DEADLINE", 0.2)
    monkeypatch.setattr(backend, "GIVE_UP", 3)
    server.script, server.usual = [servers.reply()], LATE["a body a byte at a time"]
    questions = [[{"role": "user", "content": f"question {i}"}] for i in range(20)]
    with pytest.raises(R2DError) as caught:
        chat().ask(questions, "v1")
    assert str(caught.value) == (
        "3 calls in a row failed, the server did not answer in time (1 tries): check "
        "R2D_LLM_BASE_URL, then run again."
    )
    server.usual = servers.reply()
    assert [answer.cached for answer in chat().ask(questions[:2], "v1")] == [True, False]


@pytest.mark.parametrize(
    "opening", [b"\r\n", b"Content-Length: 99999999999\r\n\r\n"], ids=["no end", "99 GB"]
)
def test_an_answer_is_read_up_to_a_size(server, chat, opening):
    server.usual = servers.raw(OK + opening, *[b" " * 2**16] * 2000)
    expect_fault(chat, "the server's answer is longer than 4 MiB")
    assert server.hung_up.wait(5)


def test_what_is_packed_small_is_not_unpacked(server, chat):
    bomb = gzip.compress(b" " * 10**7)
    server.usual = servers.body(bomb, Content_Encoding="gzip")
    expect_fault(chat, "the server's answer could not be read as JSON")


# --- what is no chat completion


def changed(**keys) -> bytes:
    """A good completion but for some of its keys."""
    return json.dumps(servers.completion() | keys).encode()


def with_message(message) -> bytes:
    return changed(choices=[{"index": 0, "finish_reason": "stop", "message": message}])


def with_usage(count) -> bytes:
    return changed(usage={"prompt_tokens": count, "completion_tokens": 2})


NOT_JSON = "the server's answer could not be read as JSON"
COUNT = "the server's answer has no usable `usage.prompt_tokens`"
CONTENT = "the server's answer has no usable `choices.0.message.content`"
CHOICES = "the server's answer has no usable `choices`"
MALFORMED = {
    "usage as text": (changed(usage="many"), "the server's answer has no usable `usage`"),
    "a count as text": (with_usage("10"), COUNT),
    "a negative count": (with_usage(-1), COUNT),
    "a huge count": (with_usage(10**18), COUNT),
    "half a count": (with_usage(1.5), COUNT),
    "true as a count": (with_usage(True), COUNT),
    "a message as text": (
        with_message("fine"),
        "the server's answer has no usable `choices.0.message`",
    ),
    "content as a list": (with_message({"content": [{"type": "text", "text": "fine"}]}), CONTENT),
    "content as a number": (with_message({"content": 4}), CONTENT),
    "half a surrogate pair": (with_message({"content": "fine \ud83d"}), CONTENT),
    "half a pair in a refusal": (
        with_message({"content": None, "refusal": "\udc00"}),
        "the server's answer has no usable `choices.0.message.refusal`",
    ),
    "a finish as a number": (
        changed(choices=[{"finish_reason": 1, "message": {"content": "fine"}}]),
        "the server's answer has no usable `choices.0.finish_reason`",
    ),
    "no choices": (changed(choices=[]), CHOICES),
    "choices as an object": (changed(choices={"0": {}}), CHOICES),
    "choices as null": (changed(choices=None), CHOICES),
    "a choice as a number": (changed(choices=[1]), "the server's answer has no usable `choices.0`"),
    "a million choices": (changed(choices=[1] * 10**6), CHOICES),
    "another object": (b'{"hello": 1}', CHOICES),
    "a list": (b"[1, 2]", "the server's answer has no usable `JSON object`"),
    "null": (b"null", "the server's answer has no usable `JSON object`"),
    "an error": (
        json.dumps({"error": {"message": f"bad key {KEY}"}}).encode(),
        "the server sent an error in place of an answer",
    ),
    "an error beside choices": (
        changed(error="overloaded"),
        "the server sent an error in place of an answer",
    ),
    "HTML": (b"<html><body>Log in</body></html>", NOT_JSON),
    "nothing": (b"", NOT_JSON),
    "NaN": (GOOD.replace(b'"created": 1', b'"created": NaN'), NOT_JSON),
    "infinity": (GOOD.replace(b'"created": 1', b'"created": -Infinity'), NOT_JSON),
    "a key twice": (GOOD.replace(b'"id": "1"', b'"id": "1", "id": "2"'), NOT_JSON),
    "broken UTF-8": (GOOD.replace(b"fine", b"f\xffne"), NOT_JSON),
    "UTF-16": (GOOD.decode().encode("utf-16"), NOT_JSON),
    "half of it": (GOOD[: len(GOOD) // 2], NOT_JSON),
    "two of it": (GOOD + GOOD, NOT_JSON),
    "depth": (b'{"choices": ' + b"[" * 10**6, NOT_JSON),
    "5,000 digits": (GOOD.replace(b'"created": 1', b'"created": ' + b"1" * 5000), NOT_JSON),
    "an empty answer": (with_message({"content": " "}), "the answer was empty"),
    "no content": (with_message({}), "the answer was empty"),
}


@pytest.mark.parametrize(("content", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_reply_is_a_fault_that_quotes_nothing(content, reason):
    try:
        fault = read_completion(content, "application/json").fault
    except Fault as error:
        fault = str(error)
    assert fault == reason


@pytest.mark.parametrize("name", ["usage as text", "half a surrogate pair", "HTML", "depth"])
def test_a_malformed_reply_is_counted_and_the_next_one_is_read(server, chat, name):
    content, reason = MALFORMED[name]
    server.usual = servers.body(content)
    expect_fault(chat, reason)
    server.usual = servers.reply()
    assert chat().ask([QUESTION], "v1") == [Answer("fine", "stop", 10, 2)]


def test_what_a_completion_need_not_have_may_be_missing():
    for usage in (None, {}, {"prompt_tokens": None}, {"prompt_tokens": 10}):
        answer = read_completion(changed(usage=usage, more=[1]), "application/json; charset=utf-8")
        assert (answer.text, answer.finish, answer.tokens_out) == ("fine", "stop", 0)
    assert read_completion(b"\xef\xbb\xbf" + GOOD, "text/json").text == "fine"


HUNG_UP = "the server could not be reached or hung up"
CHUNK = b"40\r\n" + GOOD[:64] + b"\r\n"
WIRE = {
    "HTML": (servers.body(GOOD, Content_Type="text/html"), NOT_JSON),
    "no content type": (servers.raw(b"HTTP/1.1 200 OK\r\n\r\n" + GOOD), NOT_JSON),
    "no content": (servers.raw(b"HTTP/1.1 204 No Content\r\n\r\n"), NOT_JSON),
    "chunks cut short": (
        servers.raw(OK + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK, b"40\r\n"),
        HUNG_UP,
    ),
    "a chunk without a length": (
        servers.raw(OK + b"Transfer-Encoding: chunked\r\n\r\nmany\r\n"),
        HUNG_UP,
    ),
    "a body cut short": (servers.body(GOOD, length=5000), HUNG_UP),
    "a negative length": (servers.raw(OK + b"Content-Length: -1\r\n\r\n" + GOOD), HUNG_UP),
    "no HTTP": (servers.raw(b"220 mail.example ESMTP\r\n"), HUNG_UP),
    "nothing at all": (servers.raw(b""), HUNG_UP),
    "a header of 1 MB": (servers.raw(OK + b"X: " + b"x" * 10**6 + b"\r\n\r\n" + GOOD), HUNG_UP),
    "a status beyond all": (
        servers.raw(b"HTTP/1.1 999 Hm\r\n\r\n"),
        "the server answered with status 999",
    ),
    "a strange wait": (
        servers.body(b"{}", 429, Retry_After="Mon, 01 Jan 99999 00:00:00 GMT"),
        "the server answered with status 429",
    ),
}


@pytest.mark.parametrize(("reply", "reason"), WIRE.values(), ids=WIRE)
def test_what_breaks_the_protocol_is_a_fault(server, chat, reply, reason):
    server.usual = reply
    expect_fault(chat, reason)


def test_damaged_replies_are_answers_faults_or_sentences_without_the_key(server):
    whole = OK + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(GOOD) + GOOD
    rng = random.Random(11)
    target = endpoint.from_environment("A server")
    outcomes = set()
    for _ in range(60):
        damaged = bytearray(whole[: rng.choice((len(whole), rng.randrange(1, len(whole))))])
        for _ in range(rng.choice((0, 1, 8))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        server.usual = servers.raw(bytes(damaged))
        try:
            reply = target.post({"messages": QUESTION})
            outcomes.add(type(read_completion(reply.body, reply.content_type)))
        except Fault as fault:
            assert KEY not in str(fault)
            outcomes.add(Fault)
    assert outcomes == {Answer, Fault}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(server, chat, status):
    with servers.running() as elsewhere:
        server.usual = servers.body(b"", status, Location=f"{elsewhere.url}/chat/completions")
        with pytest.raises(R2DError) as caught:
            chat().ask([QUESTION], "v1")
        assert str(caught.value) == (
            f"The server turned down a call to A server (status {status}): it points elsewhere, "
            "where nothing is sent; set R2D_LLM_BASE_URL to the address that answers itself."
        )
        assert (server.callers, elsewhere.callers) == (1, 0)


# --- addresses, keys and proxies

HOST = "names no host that can be looked up: write it as http://host:port/v1."
SCHEME = "doesn't begin with http:// or https://: write it as http://host:port/v1."
PORT = "has a port that is not a number from 1 to 65535: mend it."
SECRET = "holds a user name or password: take it out; a key has a variable of its own."
BLANK = "holds a blank or a line break: take it out."
URLS = {
    "localhost:8000/v1": SCHEME,
    "ftp://localhost/v1": SCHEME,
    "file:///etc/passwd": SCHEME,
    "//localhost/v1": SCHEME,
    f"http://user:{PASSWORD}@localhost/v1": SECRET,
    f"user:{PASSWORD}@localhost/v1": SECRET,
    f"https://user:{PASSWORD}/#?@localhost/v1": SECRET,
    f"http://user:{PASSWORD} @localhost:99999/v1": BLANK,
    " http://localhost/v1": BLANK,
    "http://local host/v1": BLANK,
    "http://localhost/v1\n": BLANK,
    "http://localhost/\u00a0v1": BLANK,
    "http://localhost:99999/v1": PORT,
    "http://localhost:0/v1": PORT,
    f"http://localhost:{PASSWORD}/v1": PORT,
    "http:///v1": HOST,
    "http://[::1/v1": HOST,
    "http://a..b/v1": HOST,
    f"http://{'a' * 70}/v1": HOST,
    f"http://localhost/v1#{PASSWORD}": "holds a #: take it and what follows out.",
}


@pytest.mark.parametrize("name", ["R2D_LLM_BASE_URL", "OPENAI_BASE_URL"])
@pytest.mark.parametrize(("url", "sentence"), URLS.items(), ids=map(str, range(len(URLS))))
def test_a_bad_address_is_a_sentence_without_it(chat, monkeypatch, name, url, sentence):
    monkeypatch.delenv("R2D_LLM_BASE_URL", raising=False)
    monkeypatch.setenv(name, url)
    with pytest.raises(R2DError) as caught:
        chat()
    assert str(caught.value) == f"{name} {sentence}"
    assert PASSWORD not in str(caught.value)


def test_an_address_may_have_a_query_and_a_slash_at_its_end(server, chat, monkeypatch):
    for url in (f"{server.url}/", f"{server.url}?api-version=1"):
        monkeypatch.setenv("R2D_LLM_BASE_URL", url)
        target = endpoint.from_environment("A server")
        assert target.post({"messages": QUESTION}).status == 200
        assert target.url.startswith(f"{server.url}/chat/completions")
        assert KEY not in repr(target) and "127.0.0.1" not in repr(target)


@pytest.mark.parametrize("key", [f"{KEY}\n", f"Bearer {KEY}", "sk-schlüssel", f"{KEY}\u200b"])
def test_a_bad_key_is_a_sentence_without_it(chat, monkeypatch, server, key):
    monkeypatch.setenv("R2D_LLM_API_KEY", key)
    with pytest.raises(R2DError) as caught:
        chat()
    assert str(caught.value) == (
        "R2D_LLM_API_KEY holds a blank, a line break or a character outside ASCII: set it again."
    )


@pytest.mark.parametrize(
    "proxy", [f"ftp://user:{PASSWORD}@a", f"socks5://user:{PASSWORD}@a", "http://[::1"]
)
def test_a_bad_proxy_is_a_sentence_without_its_password(chat, monkeypatch, server, proxy):
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(R2DError) as caught:
        chat()
    assert str(caught.value) == (
        "The proxy that the environment names (HTTP_PROXY, HTTPS_PROXY or ALL_PROXY) can't be "
        "used: write it as http://host:port, or unset it."
    )


def test_a_proxy_that_is_not_there_is_a_fault(chat, monkeypatch, server):
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{PASSWORD}@127.0.0.1:99999")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    expect_fault(chat, HUNG_UP)
