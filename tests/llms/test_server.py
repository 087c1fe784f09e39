"""A server that fails in every way known: nothing is lost, paid twice or repeated aloud."""

import json
import logging
import time
from email.utils import formatdate

import pytest
import servers

from r2d.errors import R2DError
from r2d.llms import endpoint
from r2d.llms import server as backend
from r2d.llms.chat import Chat
from r2d.llms.types import Answer
from r2d.recipes.settings import LlmSettings

KEY = "sk-secret-key-0123456789"
FAR = LlmSettings(
    title="A server", backend="server", model="m", parameters=1e9, batch=2, price=(1.0, 10.0)
)


def question(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


QUESTIONS = [
    question("What is 2+2?"),
    question("Name three vegetables and three kinds of fruit, please."),
    question("Hi!"),
]


@pytest.fixture
def server(server, monkeypatch):
    """The failing server, with a key."""
    monkeypatch.setenv("R2D_LLM_API_KEY", KEY)
    return server


@pytest.fixture
def chat(tmp_path):
    """Chats over one cache."""
    return lambda: Chat(FAR, cache=tmp_path / "answers.sqlite")


CUT = json.dumps(servers.completion()).encode()[:60]
PASSING = {
    "429 with Retry-After": servers.body(b"{}", 429, Retry_After="0.3"),
    "500": servers.body(b"oops", 500),
    "no answer in time": servers.slow(1.5, servers.reply("late")),
    "a JSON body cut off": servers.body(CUT),
    "a connection cut off": servers.body(CUT, length=1000),
    "a page instead of JSON": servers.body(b"<html>", Content_Type="text/html"),
    "JSON of another kind": servers.body(b'{"hello": 1}'),
    "empty choices": servers.body(json.dumps(servers.completion() | {"choices": []}).encode()),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_after_a_passing_fault_nothing_is_lost_and_nothing_counted_twice(
    server, chat, monkeypatch, fault
):
    if fault is PASSING["no answer in time"]:
        monkeypatch.setattr(endpoint, "DEADLINE", 0.5)
    server.script = [fault]
    first, started = chat(), time.perf_counter()
    assert [answer.text for answer in first.ask(QUESTIONS, "v1")] == ["fine"] * 3
    if fault is PASSING["429 with Retry-After"]:
        assert time.perf_counter() - started >= 0.3
    totals = first.totals
    assert (totals.calls, totals.hits, totals.faults) == (3, 0, 0)
    assert (totals.tokens_in, totals.tokens_out) == (30, 6)
    assert totals.cost == pytest.approx((30 + 60) / 1e6)
    assert len(server.seen) == 4
    second = chat()
    assert all(answer.cached for answer in second.ask(QUESTIONS, "v1"))
    assert (second.totals.calls, second.totals.hits, len(server.seen)) == (0, 3, 4)


def test_what_fails_for_good_is_a_fault_that_the_next_run_asks_again(server, chat):
    server.usual = servers.body(b"busy", 503)
    first = chat()
    busy = Answer("", "fault", fault="the server answered with status 503 (6 tries)")
    assert first.ask(QUESTIONS[:2], "v1") == [busy, busy]
    totals = first.totals
    assert (totals.calls, totals.faults, totals.cost, len(server.seen)) == (2, 2, 0, 12)
    server.usual = servers.reply()
    second = chat()
    assert [answer.finish for answer in second.ask(QUESTIONS[:2], "v1")] == ["stop", "stop"]
    assert second.totals.hits == 0


def test_a_server_that_is_down_stops_the_run_and_what_it_answered_is_kept(server, chat):
    good, bad = servers.reply(), servers.body(b"", 500)
    known = [f"question {i}" for i in range(3)]  # by name: two calls at a time arrive in any order

    def usual(handler):
        text = handler.asked["messages"][0]["content"]
        (good if text in known else bad)(handler)

    server.usual = usual
    with pytest.raises(R2DError, match="20 calls in a row failed, .* status 500"):
        chat().ask([question(f"question {i}") for i in range(100)], "v1")
    assert len(server.seen) <= 3 + 6 * (20 + FAR.batch)
    assert all(answer.cached for answer in chat().ask(list(map(question, known)), "v1"))


@pytest.mark.parametrize(
    ("reply", "finish", "kept"),
    [
        (servers.reply(""), "fault", False),
        (servers.reply(None), "fault", False),
        (servers.reply(" \n"), "fault", False),
        (servers.reply(None, refusal="I can't help with that."), "refusal", True),
        (servers.reply("", "content_filter"), "refusal", True),
        (servers.reply("half an ans", "length"), "length", True),
    ],
)
def test_answers_that_are_none_say_so(server, chat, reply, finish, kept):
    server.usual = reply
    assert chat().ask(QUESTIONS[:1], "v1")[0].finish == finish
    assert chat().ask(QUESTIONS[:1], "v1")[0].cached == kept
    assert len(server.seen) == (1 if kept else 2)


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "R2D_LLM_API_KEY"), (400, "context"), (404, "model's name"), (418, "own log")],
)
def test_a_call_turned_down_stops_the_run_with_a_sentence_that_repeats_nothing(
    server, chat, caplog, status, advice
):
    caplog.set_level(logging.DEBUG)
    error = {"message": f"bad key {KEY}; you said What is 2+2?", "code": KEY}
    echo = json.dumps({"error": error}).encode()
    server.script = [servers.slow(0.3, servers.reply()), servers.body(echo, status)]
    questions = [*QUESTIONS, *map(question, "abcdefgh")]
    with pytest.raises(R2DError) as caught:
        chat().ask(questions, "v1")
    message = str(caught.value)
    assert advice in message and str(status) in message
    for text in (message, caplog.text):
        assert KEY not in text and "2+2" not in text and "vegetables" not in text
    asked = len(server.seen)
    assert asked <= 4
    server.usual = servers.reply("later")
    texts = [answer.text for answer in chat().ask(questions, "v1")]
    assert texts.count("fine") == asked - 1  # the calls under way were kept


def test_a_run_that_stops_does_not_wait_for_the_next_try(server, chat):
    wait = servers.body(b"{}", 429, Retry_After="60")
    server.script = [wait, servers.slow(0.3, servers.body(b"{}", 401))]
    started = time.perf_counter()
    with pytest.raises(R2DError, match="status 401"):
        chat().ask(QUESTIONS[:2], "v1")
    assert time.perf_counter() - started < 20
    assert len(server.seen) == 2


def test_a_key_goes_only_where_its_url_points(server, chat, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another")
    chat().ask(QUESTIONS[:1], "v1")
    monkeypatch.delenv("R2D_LLM_API_KEY")
    chat().ask(QUESTIONS[1:2], "v1")
    monkeypatch.delenv("R2D_LLM_BASE_URL")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    chat().ask(QUESTIONS[2:], "v1")
    keys = [key for _, _, key in server.seen]
    assert keys == [f"Bearer {KEY}", "Bearer none", "Bearer sk-of-another"]
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(R2DError, match="set R2D_LLM_BASE_URL"):
        chat()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 0), ("2.5", 2.5), ("soon", 0), ("-1", 0), ("1e9", 0), ("999999", 3600)],
)
def test_retry_after_is_read_with_care(value, seconds):
    assert backend.seconds_asked_for(value) == seconds


def test_retry_after_may_be_a_date():
    date = formatdate(time.time() + 30, usegmt=True)
    assert backend.seconds_asked_for(date) == pytest.approx(30, abs=2)


def test_a_server_that_is_not_there_is_a_fault(monkeypatch, chat):
    monkeypatch.setattr(backend, "BASE_DELAY", 0.001)
    monkeypatch.setenv("R2D_LLM_BASE_URL", "http://127.0.0.1:9/v1")
    gone = "the server could not be reached or hung up (6 tries)"
    assert chat().ask(QUESTIONS[:1], "v1") == [Answer("", "fault", fault=gone)]
