"""Every answer that a chat model ever gave, by the hash of what it was asked.

A row is trusted only if it is what was written: each holds a hash of itself (not those of older
versions of this project). One that is damaged, or of another form, counts as unknown: the model is
asked again and the row replaced. A file that SQLite can't read or write, or that is another
program's, stops the run with a sentence; nothing is put into it.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from r2d import paths
from r2d.errors import R2DError
from r2d.llms.types import Answer, Text

PATIENCE = 60.0  # seconds to wait for another process that writes

Count = Annotated[int, Field(ge=0)]


class _Row(BaseModel):
    """What is stored of an answer; an older version wrote no `check`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    text: Text
    finish: Literal["stop", "length", "refusal"]
    tokens_in: Count
    tokens_out: Count
    check: str | None = None


class Cache:
    """Answers in one SQLite file that several processes may use at once.

    Raises `R2DError` wherever the file can't be used: it is damaged, locked, full or another's.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if os.access(path, os.W_OK) or not path.exists():
                paths.keep_private(path)  # an answer may quote a note
            self._database = sqlite3.connect(
                path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
            self._database.text_factory = bytes  # a row that is not UTF-8 is one row's matter
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from None

    def get(self, keys: Iterable[str]) -> dict[str, Answer]:
        """The stored answers of those `keys` that have one which can be trusted."""
        answers = {}
        for key in set(keys):
            query = "SELECT value FROM answers WHERE key = ?"
            try:
                row = self._database.execute(query, (key,)).fetchone()
            except sqlite3.Error as error:
                raise self._unusable(error) from None
            answer = _answer(key, row[0]) if row else None
            if answer is not None:
                answers[key] = answer
        return answers

    def put(self, key: str, answer: Answer) -> None:
        """Store an answer; it survives the end of this process, however that comes."""
        value = {
            "text": answer.text,
            "finish": answer.finish,
            "tokens_in": answer.tokens_in,
            "tokens_out": answer.tokens_out,
        }
        row = json.dumps(value | {"check": _check(key, value)})
        try:
            self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, row))
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def expect_to_write(self) -> None:
        """Raise `R2DError` now, and not after an answer was paid for, if none can be stored."""
        try:
            # Nothing has this key; the statement needs the right to write all the same.
            self._database.execute("DELETE FROM answers WHERE key = ''")
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _prepare(self) -> None:
        """Make the table where there is none; refuse a file of another program."""
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        tables = {name for (name,) in self._database.execute(query)}
        columns = {name for _, name, *_ in self._database.execute("PRAGMA table_info(answers)")}
        if tables - {b"answers"} or columns not in (set(), {b"key", b"value"}):
            raise R2DError(
                f"The cache of answers at {self.path} is another program's database: move it "
                "away, or set R2D_HOME to another folder."
            )
        # A write-ahead log can't be shared by the nodes of a cluster.
        self._database.execute("PRAGMA journal_mode=TRUNCATE")
        if not tables:
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS answers "
                "(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
            )

    def _unusable(self, error: Exception) -> R2DError:
        """A sentence about the whole file."""
        reason = getattr(error, "strerror", None) or error
        code = getattr(error, "sqlite_errorcode", None)
        primary = None if code is None else code & 0xFF
        problem, advice = {
            sqlite3.SQLITE_BUSY: ("is locked", "wait for the other run, or end it"),
            sqlite3.SQLITE_FULL: ("can't be written", "free disk space, then run again"),
            sqlite3.SQLITE_READONLY: ("can't be written", "mend its permissions"),
            sqlite3.SQLITE_CORRUPT: ("is damaged", "move it away; the models are asked again"),
        }.get(primary, ("can't be opened", "move it away, or set R2D_HOME to another folder"))
        return R2DError(f"The cache of answers at {self.path} {problem} ({reason}): {advice}.")


def _answer(key: str, value) -> Answer | None:
    """The answer in a row; None where the row is not as it was written."""
    try:
        row = _Row.model_validate(json.loads(value))
    except (TypeError, ValueError, RecursionError, ValidationError):
        return None
    stored = row.model_dump(exclude={"check"})
    if row.check not in (None, _check(key, stored)):
        return None
    return Answer(**stored, cached=True)


def _check(key: str, stored: dict) -> str:
    """Twelve hex digits over a row's key and what it holds."""
    return hashlib.sha256(json.dumps([key, stored]).encode()).hexdigest()[:12]
