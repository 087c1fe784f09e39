"""Two real servers on loopback: one that holds to JSON schemas, one that ignores them."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from r2d.errors import R2DError
from r2d.llms.ask import Replies, ask_all, template
from r2d.llms.chat import Chat
from r2d.models import assets
from r2d.recipes.settings import LlmSettings

KEY = "sk-secret-key-0123456789"
FAR = LlmSettings(title="A server", backend="server", model="m", parameters=1e9, batch=2)


def question(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


QUESTIONS = [
    question("What is 2+2?"),
    question("Name three vegetables and three kinds of fruit, please."),
]


@pytest.fixture
def chat(tmp_path):
    """Chats over one cache: `chat()`, `chat(other_settings)`."""
    return lambda settings=FAR: Chat(settings, cache=tmp_path / "answers.sqlite")


@pytest.fixture(scope="module")
def llama():
    """SmolLM2 behind llama.cpp's own server, which holds to JSON schemas and checks keys."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="the test extra isn't installed")
    params = xllamacpp.CommonParams()
    params.model.path = str(assets.fetch("smollm2") / assets.ASSETS["smollm2"].files[0])
    params.n_ctx, params.n_parallel, params.port, params.hostnames = 4096, 2, 0, ["127.0.0.1"]
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.api_keys, params.warmup = [KEY], False
    return xllamacpp.Server(params)


@pytest.fixture
def real(llama, monkeypatch):
    """The environment points to llama.cpp."""
    monkeypatch.setenv("R2D_LLM_BASE_URL", f"{llama.listening_address}/v1")
    monkeypatch.setenv("R2D_LLM_API_KEY", KEY)


def test_a_real_server_answers_by_the_schema_and_counts_its_tokens(real, chat):
    properties = {
        "sum": {"type": "integer", "minimum": 1, "maximum": 9},
        "why": {"type": "string", "minLength": 1, "maxLength": 20},
    }
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    first = chat(FAR.model_copy(update={"max_new_tokens": 80}))
    answers = first.ask(QUESTIONS, "v1", schema=schema)
    for answer in answers:
        assert answer.finish == "stop" and set(json.loads(answer.text)) == {"sum", "why"}
    assert first.totals.tokens_in > 40
    assert first.totals.tokens_out == sum(answer.tokens_out for answer in answers) > 10
    assert first.score(QUESTIONS[:1], [["4"]], "v1") is None


def test_a_real_server_that_does_not_know_the_key_is_a_sentence(real, chat, monkeypatch):
    monkeypatch.setenv("R2D_LLM_API_KEY", "sk-wrong-key")
    with pytest.raises(R2DError, match="check R2D_LLM_API_KEY") as caught:
        chat().ask(QUESTIONS[:1], "v1")
    assert "sk-wrong" not in str(caught.value)


@pytest.fixture
def plain(tmp_path, monkeypatch):
    """SmolLM2 behind `transformers serve`, which ignores schemas; gives the settings to ask it."""
    pytest.importorskip("fastapi", reason="the test extra isn't installed")
    folder = str(assets.converted("smollm2"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host, port = free.getsockname()
    code = "from transformers.cli.transformers import main; main()"
    options = ["--host", host, "--port", str(port), "--device", "cpu"]
    log = tmp_path / "serve.log"
    with log.open("w") as file:
        child = subprocess.Popen(
            [sys.executable, "-c", code, "serve", folder, *options],
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            stdout=file,
            stderr=file,
        )
    try:
        _wait_for(child, (host, port))
        assert child.poll() is None, log.read_text()[-2000:]
        monkeypatch.setenv("R2D_LLM_BASE_URL", f"http://{host}:{port}/v1")
        yield FAR.model_copy(update={"model": folder, "max_new_tokens": 12})
    finally:
        child.kill()
        child.wait()


def _wait_for(child: subprocess.Popen, address: tuple[str, int]) -> None:
    """Until it accepts calls, or gives up."""
    deadline = time.monotonic() + 180
    while child.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(address):
            return
        time.sleep(0.2)


def test_a_real_server_that_ignores_schemas_loses_and_repeats_nothing(plain, chat):
    prompt = template("rationale")
    item = {"question": "Crushing chest pain", "label": "Go to ED now"}
    for calls, hits in ((2, 0), (0, 2)):
        each = chat(plain)
        # Twelve tokens of prose, or JSON that was cut.
        assert ask_all(each, prompt, [item]) == Replies([None], 0.0, 1.0, 1, 0)
        totals = each.totals
        assert (totals.calls, totals.hits, totals.faults) == (calls, hits, 0)
        assert (totals.tokens_out == 24) == (calls == 2)
        assert each.score([question("Hi")], [["4"]], "v1") is None
