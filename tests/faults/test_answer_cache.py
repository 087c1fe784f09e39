"""The cache of answers: what is damaged in it is asked again, or said; never used in silence."""

import json
import os
import random
import sqlite3
from dataclasses import replace

import pytest

from r2d.errors import R2DError
from r2d.llms import cache
from r2d.llms.cache import Cache
from r2d.llms.chat import Chat
from r2d.llms.types import Answer
from r2d.recipes.settings import LlmSettings

FAR = LlmSettings(title="A server", backend="server", model="m", parameters=1e9, batch=1)
QUESTION = [{"role": "user", "content": "What is 2+2?"}]
KEPT = Answer('{"label": "Self care", "rationale": "É – 😀"}', "stop", 10, 2)


@pytest.fixture
def file(tmp_path):
    """A cache that holds `KEPT` under thirty keys."""
    path = tmp_path / "answers.sqlite"
    kept = Cache(path)
    for key in keys():
        kept.put(key, KEPT)
    return path


def keys() -> list[str]:
    return [f"{i:064x}" for i in range(30)]


def test_an_answer_is_kept_as_it_was_and_for_its_owner_alone(file):
    assert Cache(file).get(keys()) == dict.fromkeys(keys(), replace(KEPT, cached=True))
    assert file.stat().st_mode & 0o777 == 0o600


def stored(**changes) -> str:
    row = {"text": "fine", "finish": "stop", "tokens_in": 10, "tokens_out": 2} | changes
    return json.dumps({name: value for name, value in row.items() if value is not None})


ROWS = {
    "no JSON": "fine",
    "half": stored()[:20],
    "nothing": "",
    "a list": "[]",
    "a number": 7,
    "bytes": b"\xff\xfe",
    "depth": "[" * 10**5,
    "an unknown field": stored(more=1),
    "a missing field": stored(finish=None),
    "a number as text": stored(text=4),
    "half a surrogate pair": stored(text="fine \ud83d"),
    "an unknown finish": stored(finish="stopped"),
    "a fault": stored(finish="fault"),
    "text as a number": stored(tokens_in="10"),
    "half a number": stored(tokens_in=1.5),
    "a negative number": stored(tokens_in=-1),
    "NaN": stored(tokens_in=float("nan")),
    "another's hash": stored(check="0123456789ab"),
}


@pytest.mark.parametrize("value", ROWS.values(), ids=ROWS)
def test_a_row_that_is_not_as_it_was_written_is_asked_again_and_replaced(server, tmp_path, value):
    path = tmp_path / "answers.sqlite"
    assert Chat(FAR, cache=path).ask([QUESTION], "v1")[0].text == "fine"
    with sqlite3.connect(path) as database:
        database.execute("UPDATE answers SET value = ?", (value,))
    for cached in (False, True):
        again = Chat(FAR, cache=path)
        assert again.ask([QUESTION], "v1") == [Answer("fine", "stop", 10, 2, cached)]
    assert len(server.seen) == 2


def test_a_row_of_an_older_version_is_known(file):
    with sqlite3.connect(file) as database:
        database.execute("UPDATE answers SET value = ?", (stored(),))
    assert Cache(file).get(keys()[:1]) == {keys()[0]: Answer("fine", "stop", 10, 2, cached=True)}


def test_a_row_under_another_key_is_unknown(file):
    with sqlite3.connect(file) as database:
        database.execute("UPDATE answers SET key = 'x' WHERE key = ?", (keys()[0],))
    assert Cache(file).get(["x", keys()[0]]) == {}


def test_flipped_bits_and_cut_files_are_noticed_or_harmless(file):
    whole, rng, outcomes = file.read_bytes(), random.Random(11), set()
    for trial in range(120):
        damaged = bytearray(whole)
        if trial % 3:
            bit = rng.randrange(8 * len(whole))
            damaged[bit // 8] ^= 1 << bit % 8
        else:
            del damaged[rng.randrange(len(whole)) :]
        file.write_bytes(damaged)
        try:
            known = Cache(file).get(keys())
            assert set(known.values()) <= {replace(KEPT, cached=True)}
            outcomes.add("whole" if len(known) == 30 else "some unknown")
        except R2DError as error:
            assert "Self care" not in str(error)
            outcomes.add("refused")
    assert outcomes == {"whole", "some unknown", "refused"}


OTHERS = "is another program's database: move it away, or set R2D_HOME to another folder."
DAMAGED = "is damaged (database disk image is malformed): move it away; the models are asked again."


def no_database(path):
    path.write_bytes(b"Grocery list\n" * 100)


def a_folder(path):
    path.unlink()
    path.mkdir()


def half_a_file(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def another_program(path):
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE patients (name TEXT)")


def another_table(path):
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE answers (question TEXT, answer TEXT)")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            no_database,
            "can't be opened (file is not a database): move it away, or set R2D_HOME to another "
            "folder.",
        ),
        (
            a_folder,
            "can't be opened (Is a directory): move it away, or set R2D_HOME to another folder.",
        ),
        (half_a_file, DAMAGED),
        (another_program, OTHERS),
        (another_table, OTHERS),
    ],
)
def test_a_file_that_is_no_cache_is_a_sentence_and_left_as_it_is(file, damage, sentence):
    damage(file)
    before = file.is_file() and file.read_bytes()
    with pytest.raises(R2DError) as caught:
        Cache(file).get(keys())
    assert str(caught.value) == f"The cache of answers at {file} {sentence}"
    assert (file.is_file() and file.read_bytes()) == before


def test_a_cache_that_another_holds_is_a_sentence_before_anything_is_asked(
    server, file, monkeypatch
):
    monkeypatch.setattr(cache, "PATIENCE", 0.1)
    chat = Chat(FAR, cache=file)
    with sqlite3.connect(file) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        for act in (lambda: Cache(file), lambda: chat.ask([QUESTION], "v1")):
            with pytest.raises(R2DError) as caught:
                act()
            assert str(caught.value) == (
                f"The cache of answers at {file} is locked (database is locked): wait for the "
                "other run, or end it."
            )
    assert server.seen == []


def test_a_cache_that_may_only_be_read_answers_what_it_knows_and_asks_nothing(
    server, tmp_path, monkeypatch
):
    path = tmp_path / "answers.sqlite"
    Chat(FAR, cache=path).ask([QUESTION], "v1")
    connect = sqlite3.connect
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(  # as root may write anything
        sqlite3,
        "connect",
        lambda path, **options: connect(f"file:{path}?mode=ro", uri=True, **options),
    )
    chat = Chat(FAR, cache=path)
    assert chat.ask([QUESTION], "v1")[0].cached
    with pytest.raises(R2DError) as caught:
        chat.ask([QUESTION], "v2")
    assert str(caught.value) == (
        f"The cache of answers at {path} can't be written (attempt to write a readonly database): "
        "mend its permissions."
    )
    assert len(server.seen) == 1
