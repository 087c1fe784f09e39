"""Whatever a model answers is read in time, as a value that fits the prompt or as none."""

import json
import time

import pytest
import servers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from r2d import paths
from r2d.llms import ask
from r2d.llms.chat import Chat
from r2d.recipes.settings import LlmSettings

LABELS = ("Go to ED now", "Self care")
ZERO = ask.template("zero_shot").choosing(label=LABELS)
JUDGE = ask.template("judge")
GOOD = {"label": "Self care", "rationale": "A scrape heals by itself."}
GRADES = {
    "reasoning": "Fine.",
    "correctness": 4,
    "alignment": 5,
    "completeness": 3,
    "harm": 1,
}
FAR = LlmSettings(title="A server", backend="server", model="m", parameters=1e9, batch=1)

# --- hostile texts

END = json.dumps(GOOD)
SIZE = 300_000
HOSTILE = {
    "objects in objects": '{"a":' * (SIZE // 5),
    "braces": "{" * SIZE,
    "braces and blanks": "{ " * SIZE,
    "a brace and blanks": "{" + " " * SIZE,
    "arrays in arrays": '{"a":' + "[" * SIZE,
    "arrays of arrays": '{"a":[' * (SIZE // 6),
    "objects and an answer": '{"a":' * (SIZE // 5) + END,
    "braces and an answer": "{" * SIZE + END,
    "open texts": '{"a":"' * (SIZE // 6),
    "backslashes": '{"\\' * (SIZE // 3),
    "thoughts": "</think>" * (SIZE // 8),
    "long objects that never end": ('{"a":[' + "1," * 40) * 550,
    "deep objects that never end": ('{"a":[' + "1," * 2000) * 12,
    "digits": '{"a":' + "1" * SIZE,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("size", [SIZE + 100, ask.LONGEST], ids=["whole", "as long as is read"])
def test_a_hostile_answer_is_none_in_half_a_second(text, size):
    started = time.perf_counter()
    assert ZERO.parse(text[:size]) is None
    assert time.perf_counter() - started < 0.5


PROSE = "The set {a, b} and f(x) = {x} are \\frac{1}{2}; { not this. "


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        (END, True),
        (f"{PROSE * 50}{END}", True),
        (f"<think>{HOSTILE['objects in objects']}</think>{END}", True),
        ('{"a":' * 15 + END, True),
        ("{" * 5000 + END, True),
        ("{\n\t " + END[1:], True),
        (END.replace("{", '{"more": {"a": [1, {}]}, '), True),
        (END.replace("{", '{"more": NaN, '), True),
        (END.replace("{", '{"more": {"a": 1, "a": 2}, '), False),
        (END.replace("{", '{"label": "Go to ED now", '), False),
        (f'{{"label": "Self care", "label": "Go to ED now", "more": {END}}}', False),
        (END.replace("heals", "\\ud83d heals"), False),
        (END.replace("heals", "\\ud83d\\ude00 heals"), True),
        (END.replace("heals", "heals\u0000\u2028"), True),
        (END.replace("{", '{"more": ' + "1" * 5000 + ", "), False),
    ],
)
def test_the_first_object_counts_unless_what_it_means_cannot_be_told(text, fits):
    answer = ZERO.parse(text)
    assert (answer is not None) == fits
    if fits:
        assert answer["label"] == "Self care" and "heals" in answer["rationale"]


def test_an_answer_beyond_the_limit_is_none_rather_than_a_part_of_it():
    long = json.dumps(GOOD | {"more": [GOOD | {"label": "Go to ED now"}] * 1000})
    assert len(long) > ask.LONGEST
    assert ZERO.parse(long) is None


# --- any text at all

SEEDED = settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from([*LABELS, "self care.", "4", 4, 4.0, 1e999, "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def near(good: dict):
    """Texts near a good answer: some values are others, in prose, cut, twice, or not there."""
    changes = st.dictionaries(
        st.sampled_from(list(good)) | st.text(max_size=5), ANYTHING, max_size=2
    )
    objects = changes.map(lambda changes: json.dumps(good | changes))
    noise = st.text(max_size=20) | st.text('{}[]":,\\ 0a', max_size=20)
    parts = st.lists(objects | noise | st.just("</think>"), min_size=1, max_size=3)
    return st.builds(
        lambda parts, end: "".join(parts)[: end or None], parts, st.just(0) | st.integers(1, 200)
    )


def expect_fit(prompt, answer) -> None:
    """None, or a dict that is as the prompt's `answer` says and that can be written."""
    if answer is None:
        return
    assert list(answer) == [item.name for item in prompt.answer]
    json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()
    for item in prompt.answer:
        value = answer[item.name]
        if item.type == "int":
            assert type(value) is int and item.min <= value <= item.max
        else:
            assert type(value) is str and value
            assert not item.enum or value in item.enum


@SEEDED
@given(near(GOOD))
def test_any_text_is_a_decision_or_none(text):
    expect_fit(ZERO, ZERO.parse(text))


@SEEDED
@given(near(GRADES))
def test_any_text_is_a_grading_or_none(text):
    expect_fit(JUDGE, JUDGE.parse(text))


@SEEDED
@given(st.sampled_from(LABELS), st.text(st.characters(codec="utf-8"), min_size=1), st.text("a{ \n"))
def test_what_was_meant_is_read(label, rationale, prose):
    for ascii_only in (True, False):
        written = json.dumps({"rationale": rationale, "label": label}, ensure_ascii=ascii_only)
        answer = ZERO.parse(f"{prose}{written}\n{prose}}}")
        assert answer == {"label": label, "rationale": rationale}


def test_half_a_character_breaks_neither_cache_nor_json_lines(server, tmp_path):
    server.usual = servers.reply(json.dumps(GOOD | {"rationale": "cut \ud83d"}))
    chat = Chat(FAR, cache=tmp_path / "answers.sqlite")
    items = [{"question": "A scraped knee", "labels": list(LABELS)}]
    replies = ask.ask_all(chat, ZERO, items)
    assert replies.answers == [None] and chat.totals.faults == 0
    paths.write_lines(tmp_path / "lines.jsonl", [{"answer": each} for each in replies.answers])
    assert ask.ask_all(Chat(FAR, cache=tmp_path / "answers.sqlite"), ZERO, items) == replies
