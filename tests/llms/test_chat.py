"""What was answered once is never asked again, and nothing secret is written down."""

import json
import logging
import signal
import subprocess
import sys
import time

import pytest
import servers

from r2d.errors import R2DError
from r2d.llms.chat import Chat
from r2d.recipes.settings import LlmSettings

KEY = "sk-secret-key-0123456789"
FAR = LlmSettings(
    title="A server", backend="server", model="m", parameters=1e9, batch=2, price=(1.0, 10.0)
)
EMPTY = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def question(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


QUESTIONS = [question("What is 2+2?"), question("Name three vegetables, please.")]


@pytest.fixture
def chat(tmp_path):
    """Chats over one cache: `chat()`, `chat(other_settings)`."""
    return lambda settings=FAR, seed=0: Chat(settings, seed, cache=tmp_path / "answers.sqlite")


def test_whatever_can_change_an_answer_makes_it_a_new_question(server, chat):
    first = QUESTIONS[:1]
    longer = [*first[0], {"role": "assistant", "content": "4"}, *question("Sure?")]
    calls = [
        lambda: chat().ask(first, "v1"),
        lambda: chat().ask([longer], "v1"),
        lambda: chat().ask(first, "v2"),
        lambda: chat().ask(first, "v1", schema=EMPTY),
        lambda: chat().ask(first, "v1", repeat=1),
        lambda: chat().ask(first, "v1", max_new_tokens=5),
        lambda: chat(seed=1).ask(first, "v1"),
    ]
    for change in (
        {"model": "n"},
        {"revision": "2"},
        {"temperature": 0.5},
        {"max_new_tokens": 9},
    ):
        other = FAR.model_copy(update=change)
        calls.append(lambda other=other: chat(other).ask(first, "v1"))
    for call in calls * 2:
        call()
    assert len(server.seen) == len(calls)
    for change in ({"title": "B"}, {"batch": 5}, {"price": (0.0, 0.0)}):
        assert chat(FAR.model_copy(update=change)).ask(first, "v1")[0].cached
    requests = [request for _, request, _ in server.seen]
    assert requests[3]["response_format"]["json_schema"]["schema"] == EMPTY
    assert [requests[i]["max_tokens"] for i in (0, 5)] == [256, 5]
    assert [requests[i]["temperature"] for i in (0, 9)] == [0, 0.5]
    assert [requests[i]["seed"] for i in (0, 4, 6)] == [0, 1, 1000]


def test_neither_key_nor_prompt_is_written_down(server, chat, tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("R2D_LLM_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    chat().ask(QUESTIONS, "v1")
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("answers.sqlite*"))
    assert b"fine" in stored
    for secret in (KEY, "vegetables", "2+2"):
        assert secret not in caplog.text and secret.encode() not in stored


def test_an_interrupted_run_repeats_no_call(server, tmp_path):
    server.usual = servers.slow(0.2, servers.reply())
    questions = [question(f"question {i}") for i in range(12)]
    script = f"""
import json, pathlib
from r2d.llms.chat import Chat
from r2d.recipes.settings import LlmSettings

settings = LlmSettings(**json.loads('{FAR.model_dump_json()}'))
chat = Chat(settings, 0, pathlib.Path('{tmp_path}/answers.sqlite'))
chat.ask(json.loads('{json.dumps(questions)}'), 'v1')
"""
    child = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    while len(server.seen) < 4 and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    assert child.wait(20) != 0
    asked = len(server.seen)
    assert 4 <= asked < 12
    chat = Chat(FAR, 0, tmp_path / "answers.sqlite")
    assert [answer.text for answer in chat.ask(questions, "v1")] == ["fine"] * 12
    assert (chat.totals.hits, chat.totals.calls) == (asked, 12 - asked)
    assert sorted(server.prompts) == sorted(each[0]["content"] for each in questions)


def test_a_cache_that_is_no_database_is_a_sentence(server, tmp_path):
    (tmp_path / "answers.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(R2DError, match="cache of answers at .* can't be opened"):
        Chat(FAR, cache=tmp_path / "answers.sqlite")
