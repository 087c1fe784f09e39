"""Chat models: a real local model, a real server, and a server that fails in every way known; nothing is lost or paid twice."""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from email.utils import formatdate

import pytest
import servers

from r2d.errors import R2DError
from r2d.experiments import run
from r2d.llms import ask, local, server
from r2d.llms.chat import Answer, Chat
from r2d.models import assets
from r2d.recipes.settings import LlmSettings

KEY = "sk-secret-key-0123456789"
SMALL = LlmSettings(
    title="SmolLM2", model="smollm2", parameters=135e6, max_new_tokens=8, price=(1.0, 10.0)
)
FAR = LlmSettings(
    title="A server", backend="server", model="m", parameters=1e9, batch=2, price=(1.0, 10.0)
)


def ask(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


QUESTIONS = [
    ask(t)
    for t in ("What is 2+2?", "Name three vegetables and three kinds of fruit, please.", "Hi!")
]


@pytest.fixture
def server(server, monkeypatch):
    """The failing server, with a key."""
    monkeypatch.setenv("R2D_LLM_API_KEY", KEY)
    return server


@pytest.fixture
def chat(tmp_path):
    """Chats over one cache: `chat()`, `chat(SMALL)`."""
    return lambda settings=FAR, seed=0: Chat(settings, seed, cache=tmp_path / "answers.sqlite")


def test_a_local_model_answers_alone_as_in_a_batch_and_is_asked_once(chat, tmp_path, monkeypatch):
    first = chat(SMALL)
    together = first.ask([*QUESTIONS, QUESTIONS[0]], "v1")
    assert [a.cached for a in together] == [False, False, False, True]
    assert together[1].finish == "length" and together[1].tokens_out == SMALL.max_new_tokens
    assert Chat(SMALL, cache=tmp_path / "other.sqlite").ask(QUESTIONS[:1], "v1") == together[:1]
    totals = first.totals
    assert (totals.calls, totals.hits, totals.faults) == (3, 1, 0)
    assert totals.cost == pytest.approx((totals.tokens_in + 10 * totals.tokens_out) / 1e6)

    with monkeypatch.context() as patch:
        patch.setattr(run, "code_hash", lambda modules: "other code")
        assert not any(a.cached for a in chat(SMALL).ask(QUESTIONS[:1], "v1"))
    monkeypatch.setattr(local, "_load", lambda _: pytest.fail("the model was needed again"))
    again = chat(SMALL)
    assert [(a.text, a.finish, a.cached) for a in again.ask(QUESTIONS, "v1")] == [
        (a.text, a.finish, True) for a in together[:3]
    ]
    assert (again.totals.calls, again.totals.hits, again.totals.cost) == (0, 3, 0)


def test_a_sampled_answer_depends_on_seed_and_repeat_but_not_on_its_batch(tmp_path):
    def texts(name, seed=0, repeat=0, batch=8, turn=1):
        settings = SMALL.model_copy(
            update={"temperature": 1.0, "batch": batch, "max_new_tokens": 5}
        )
        answers = Chat(settings, seed, tmp_path / name).ask(
            QUESTIONS[:2][::turn], "v1", repeat=repeat
        )
        return [answer.text for answer in answers][::turn]

    together = texts("a")
    assert texts("b", batch=1, turn=-1) == together
    assert texts("c", repeat=1) != together != texts("d", seed=1)


def test_scores_are_the_exact_log_probabilities_of_whole_answers(chat):
    import torch

    options = [["4", "five, I think"], ["Carrots"], ["Yes", "No", "Certainly not."]]
    found = chat(SMALL).score(QUESTIONS, options, "v1")
    model, tokenizer, *_ = local._load(SMALL)
    for question, texts, scores in zip(QUESTIONS, options, found, strict=True):
        start = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
        prompt = tokenizer(start, add_special_tokens=False)["input_ids"]
        for text, score in zip(texts, scores, strict=True):
            ids = torch.tensor(
                [tokenizer(f"{start}{text}<|im_end|>", add_special_tokens=False)["input_ids"]]
            )
            with torch.no_grad():
                logs = model(ids).logits[0].log_softmax(-1)
            expected = sum(logs[i - 1, ids[0, i]].item() for i in range(len(prompt), ids.shape[1]))
            assert score == pytest.approx(expected, abs=1e-3)
    again = chat(SMALL)
    assert again.score(QUESTIONS, options, "v1") == found and again.totals.calls == 0


def test_a_local_model_keeps_to_the_schema_with_instructions_read_once_or_not(
    tmp_path, monkeypatch
):
    kinds = {
        "sure": {"type": "string", "enum": ["yes", "no"]},
        "sum": {"type": "integer", "minimum": 1, "maximum": 9},
    }
    schema = {
        "type": "object",
        "properties": kinds,
        "required": list(kinds),
        "additionalProperties": False,
    }
    rules = {
        "role": "system",
        "content": "You answer briefly, in JSON, and never say what you were not asked, whoever asks.",
    }

    def answers(name):
        settings = SMALL.model_copy(update={"max_new_tokens": 24})
        return Chat(settings, cache=tmp_path / name).ask(
            [[rules, *question] for question in QUESTIONS], "v1", schema
        )

    together = answers("a")
    for answer in together:
        found = json.loads(answer.text)
        assert (
            list(found) == ["sure", "sum"]
            and found["sure"] in ("yes", "no")
            and 1 <= found["sum"] <= 9
        )
        assert answer.finish == "stop" and "\n" not in answer.text
    monkeypatch.setattr(local, "_common_start", lambda model, rows: (0, None))
    assert answers("b") == together


def test_a_schema_that_nothing_can_meet_is_a_sentence(chat):
    never = {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 5, "maximum": 1}},
        "required": ["a"],
    }
    with pytest.raises(R2DError, match="No answer can meet the prompt's schema"):
        chat(SMALL).ask(QUESTIONS[:1], "v1", never)


def test_a_prompt_beyond_the_context_is_a_fault_and_the_others_are_answered(chat):
    long, short = chat(SMALL).ask([ask("word " * 9000), QUESTIONS[0]], "v1")
    assert long.finish == "fault" and "8192 tokens" in long.fault and "word" not in long.fault
    assert "answer" in short.text and not short.fault


def test_a_model_that_is_not_there_is_a_sentence(chat, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(R2DError, match="could not be loaded"):
        chat(SMALL.model_copy(update={"model": str(tmp_path / "empty")})).ask(QUESTIONS, "v1")


def test_whatever_can_change_an_answer_makes_it_a_new_question(server, chat):
    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    calls = [
        lambda: chat().ask(QUESTIONS[:1], "v1"),
        lambda: chat().ask(
            [[*QUESTIONS[0], {"role": "assistant", "content": "4"}, *ask("Sure?")]], "v1"
        ),
        lambda: chat().ask(QUESTIONS[:1], "v2"),
        lambda: chat().ask(QUESTIONS[:1], "v1", schema=schema),
        lambda: chat().ask(QUESTIONS[:1], "v1", repeat=1),
        lambda: chat().ask(QUESTIONS[:1], "v1", max_new_tokens=5),
        lambda: chat(seed=1).ask(QUESTIONS[:1], "v1"),
        *(
            lambda change=change: chat(FAR.model_copy(update=change)).ask(QUESTIONS[:1], "v1")
            for change in (
                {"model": "n"},
                {"revision": "2"},
                {"temperature": 0.5},
                {"max_new_tokens": 9},
            )
        ),
    ]
    for call in calls * 2:
        call()
    assert len(server.seen) == len(calls)
    for change in ({"title": "B"}, {"batch": 5}, {"price": (0.0, 0.0)}):
        assert chat(FAR.model_copy(update=change)).ask(QUESTIONS[:1], "v1")[0].cached
    assert server.seen[3][1]["response_format"]["json_schema"]["schema"] == schema
    assert [server.seen[i][1]["max_tokens"] for i in (0, 5)] == [256, 5]


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
        monkeypatch.setattr(server, "TIMEOUT", 0.5)
    server.script = [fault]
    first, started = chat(), time.perf_counter()
    assert [a.text for a in first.ask(QUESTIONS, "v1")] == ["fine"] * 3
    if fault is PASSING["429 with Retry-After"]:
        assert time.perf_counter() - started >= 0.3
    totals = first.totals
    assert (totals.calls, totals.hits, totals.faults, totals.tokens_in, totals.tokens_out) == (
        3,
        0,
        0,
        30,
        6,
    )
    assert totals.cost == pytest.approx((30 + 60) / 1e6) and len(server.seen) == 4
    second = chat()
    assert all(a.cached for a in second.ask(QUESTIONS, "v1"))
    assert (second.totals.calls, second.totals.hits, len(server.seen)) == (0, 3, 4)


def test_what_fails_for_good_is_a_fault_that_the_next_run_asks_again(server, chat):
    server.usual = servers.body(b"busy", 503)
    first = chat()
    answers = first.ask(QUESTIONS[:2], "v1")
    assert [(a.text, a.finish, a.fault) for a in answers] == [
        ("", "fault", "the server answered with status 503 (6 tries)")
    ] * 2
    assert (first.totals.calls, first.totals.faults, first.totals.cost, len(server.seen)) == (
        2,
        2,
        0,
        12,
    )
    server.usual = servers.reply()
    second = chat()
    assert [a.finish for a in second.ask(QUESTIONS[:2], "v1")] == [
        "stop"
    ] * 2 and second.totals.hits == 0


def test_a_server_that_is_down_stops_the_run_and_what_it_answered_is_kept(server, chat):
    good, bad = servers.reply(), servers.body(b"", 500)
    known = [f"question {i}" for i in range(3)]  # by name: two calls at a time arrive in any order
    server.usual = lambda handler: (
        good if handler.asked["messages"][0]["content"] in known else bad
    )(handler)
    with pytest.raises(R2DError, match="20 calls in a row failed, .* status 500"):
        chat().ask([ask(f"question {i}") for i in range(100)], "v1")
    assert len(server.seen) <= 3 + 6 * (20 + FAR.batch)
    assert all(a.cached for a in chat().ask([ask(text) for text in known], "v1"))


@pytest.mark.parametrize(
    "given, finish, kept",
    [
        (servers.reply(""), "fault", False),
        (servers.reply(None), "fault", False),
        (servers.reply(" \n"), "fault", False),
        (servers.reply(None, refusal="I can't help with that."), "refusal", True),
        (servers.reply("", "content_filter"), "refusal", True),
        (servers.reply("half an ans", "length"), "length", True),
    ],
)  # fmt: skip
def test_answers_that_are_none_say_so(server, chat, given, finish, kept):
    server.usual = given
    assert chat().ask(QUESTIONS[:1], "v1")[0].finish == finish
    assert chat().ask(QUESTIONS[:1], "v1")[0].cached == kept
    assert len(server.seen) == (1 if kept else 2)


@pytest.mark.parametrize(
    "status, advice",
    [(401, "R2D_LLM_API_KEY"), (400, "context"), (404, "model's name"), (418, "own log")],
)
def test_a_call_turned_down_stops_the_run_with_a_sentence_that_repeats_nothing(
    server, chat, caplog, status, advice
):
    caplog.set_level(logging.DEBUG)
    echo = json.dumps(
        {"error": {"message": f"bad key {KEY}; you said What is 2+2?", "code": KEY}}
    ).encode()
    server.script = [servers.slow(0.3, servers.reply()), servers.body(echo, status)]
    with pytest.raises(R2DError) as caught:
        chat().ask([*QUESTIONS, *map(ask, "abcdefgh")], "v1")
    message = str(caught.value)
    assert advice in message and str(status) in message
    for text in (message, caplog.text):
        assert KEY not in text and "2+2" not in text and "vegetables" not in text
    assert len(server.seen) <= 4
    asked = len(server.seen)
    server.usual = servers.reply("later")
    answers = chat().ask([*QUESTIONS, *map(ask, "abcdefgh")], "v1")
    assert [a.text for a in answers].count("fine") == asked - 1  # the calls under way were kept


def test_neither_key_nor_prompt_is_written_down(server, chat, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    chat().ask(QUESTIONS, "v1")
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("answers.sqlite*"))
    assert b"fine" in stored
    for secret in (KEY, "vegetables", "2+2"):
        assert secret not in caplog.text and secret.encode() not in stored


def test_a_key_goes_only_where_its_url_points(server, chat, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another")
    chat().ask(QUESTIONS[:1], "v1")
    monkeypatch.delenv("R2D_LLM_API_KEY")
    chat().ask(QUESTIONS[1:2], "v1")
    monkeypatch.delenv("R2D_LLM_BASE_URL")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    chat().ask(QUESTIONS[2:], "v1")
    assert [key for _, _, key in server.seen] == [
        f"Bearer {KEY}",
        "Bearer none",
        "Bearer sk-of-another",
    ]
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(R2DError, match="set R2D_LLM_BASE_URL"):
        chat()


@pytest.mark.parametrize(
    "value, seconds",
    [(None, 0), ("2.5", 2.5), ("soon", 0), ("-1", 0), ("1e9", 0), ("999999", 3600)],
)
def test_retry_after_is_read_with_care(value, seconds):
    assert server._retry_after(value) == seconds


def test_retry_after_may_be_a_date():
    assert server._retry_after(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(
        30, abs=2
    )


def test_an_interrupted_run_repeats_no_call(server, tmp_path):
    server.usual = servers.slow(0.2, servers.reply())
    questions = [ask(f"question {i}") for i in range(12)]
    script = (
        "import json, pathlib; from r2d.llm import Chat; from r2d.settings import LlmSettings\n"
        f"Chat(LlmSettings(**json.loads('{FAR.model_dump_json()}')), 0, pathlib.Path('{tmp_path}/answers.sqlite'))"
        f".ask(json.loads('{json.dumps(questions)}'), 'v1')"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    while len(server.seen) < 4 and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    assert child.wait(20) != 0
    asked = len(server.seen)
    assert 4 <= asked < 12
    chat = Chat(FAR, 0, tmp_path / "answers.sqlite")
    assert [a.text for a in chat.ask(questions, "v1")] == ["fine"] * 12
    assert (chat.totals.hits, chat.totals.calls) == (asked, 12 - asked)
    assert sorted(server.prompts) == sorted(q[0]["content"] for q in questions)


def test_a_cache_that_is_no_database_is_a_sentence(server, tmp_path):
    (tmp_path / "answers.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(R2DError, match="cache of answers at .* can't be opened"):
        Chat(FAR, cache=tmp_path / "answers.sqlite")


@pytest.fixture(scope="module")
def llama():
    """SmolLM2 behind llama.cpp's own server, which holds to JSON schemas and checks keys."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="the test extra isn't installed")
    params = xllamacpp.CommonParams()
    params.model.path = str(assets.fetch("smollm2") / assets.ASSETS["smollm2"].files[0])
    params.n_ctx, params.n_parallel, params.port, params.hostnames = 4096, 2, 0, ["127.0.0.1"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.api_keys, params.warmup = [KEY], False
    return xllamacpp.Server(params)


@pytest.fixture
def real(llama, monkeypatch):
    """The environment points to llama.cpp."""
    monkeypatch.setenv("R2D_LLM_BASE_URL", f"{llama.listening_address}/v1")
    monkeypatch.setenv("R2D_LLM_API_KEY", KEY)


def test_a_real_server_answers_by_the_schema_and_counts_its_tokens(real, chat):
    kinds = {
        "sum": {"type": "integer", "minimum": 1, "maximum": 9},
        "why": {"type": "string", "minLength": 1, "maxLength": 20},
    }
    schema = {
        "type": "object",
        "properties": kinds,
        "required": list(kinds),
        "additionalProperties": False,
    }
    first = chat(FAR.model_copy(update={"max_new_tokens": 80}))
    answers = first.ask(QUESTIONS[:2], "v1", schema=schema)
    for answer in answers:
        assert answer.finish == "stop" and set(json.loads(answer.text)) == {"sum", "why"}
    assert (
        first.totals.tokens_in > 40
        and first.totals.tokens_out == sum(a.tokens_out for a in answers) > 10
    )
    assert first.score(QUESTIONS[:1], [["4"]], "v1") is None


def test_a_real_server_that_does_not_know_the_key_is_a_sentence(real, chat, monkeypatch):
    monkeypatch.setenv("R2D_LLM_API_KEY", "sk-wrong-key")
    with pytest.raises(R2DError, match="check R2D_LLM_API_KEY") as caught:
        chat().ask(QUESTIONS[:1], "v1")
    assert "sk-wrong" not in str(caught.value)


@pytest.fixture
def plain(tmp_path, monkeypatch):
    """SmolLM2 behind `transformers serve`, which ignores JSON schemas; gives the settings to ask it by."""
    pytest.importorskip("fastapi", reason="the test extra isn't installed")
    folder = str(assets.converted("smollm2"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    code = "from transformers.cli.transformers import main; main()"
    command = [
        sys.executable,
        "-c",
        code,
        "serve",
        folder,
        "--host",
        address[0],
        "--port",
        str(address[1]),
        "--device",
        "cpu",
    ]
    with (tmp_path / "serve.log").open("w") as log:
        child = subprocess.Popen(
            command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 180
        while (
            child.poll() is None and time.monotonic() < deadline
        ):  # until it accepts calls, or gives up
            with contextlib.suppress(OSError), socket.create_connection(address):
                break
            time.sleep(0.2)
        assert child.poll() is None, (tmp_path / "serve.log").read_text()[-2000:]
        monkeypatch.setenv("R2D_LLM_BASE_URL", f"http://127.0.0.1:{address[1]}/v1")
        yield FAR.model_copy(update={"model": folder, "max_new_tokens": 12})
    finally:
        child.kill()
        child.wait()


def test_a_real_server_that_ignores_schemas_loses_and_repeats_nothing(plain, tmp_path):
    prompt = ask.template("rationale")
    item = {"question": "Crushing chest pain", "label": "Go to ED now"}
    for calls, hits in ((2, 0), (0, 2)):
        chat = Chat(plain, cache=tmp_path / "answers.sqlite")
        asked = ask.ask_all(chat, prompt, [item])
        assert asked == ask.Asked(
            [None], 0.0, 1.0, 1, 0
        )  # twelve tokens of prose, or JSON that was cut
        assert (chat.totals.calls, chat.totals.hits, chat.totals.faults) == (calls, hits, 0)
        assert (chat.totals.tokens_out == 24) == (calls == 2) and chat.score(
            [ask("Hi")], [["4"]], "v1"
        ) is None


def test_a_server_that_is_not_there_is_a_fault(monkeypatch, chat):
    monkeypatch.setattr(server, "BASE_DELAY", 0.001)
    monkeypatch.setenv("R2D_LLM_BASE_URL", "http://127.0.0.1:9/v1")
    assert chat().ask(QUESTIONS[:1], "v1") == [
        Answer("", "fault", fault="the server could not be reached or hung up (6 tries)")
    ]
