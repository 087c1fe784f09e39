"""Every answer that a chat model ever gave, by the hash of what it was asked."""

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from r2d.errors import R2DError
from r2d.llms.types import Answer

STORED = ("text", "finish", "tokens_in", "tokens_out")


class Cache:
    """Answers in one SQLite file that several processes may use at once."""

    def __init__(self, path: Path):
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                path, timeout=60, isolation_level=None, check_same_thread=False
            )
            # A write-ahead log can't be shared by the nodes of a cluster.
            self._database.execute("PRAGMA journal_mode=TRUNCATE")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS answers "
                "(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            raise R2DError(
                f"The cache of answers at {path} can't be opened ({error}): move it away, or set "
                "R2D_HOME to another folder."
            ) from None

    def get(self, keys: Iterable[str]) -> dict[str, Answer]:
        """The stored answers of those `keys` that have one."""
        answers = {}
        for key in set(keys):
            query = "SELECT value FROM answers WHERE key = ?"
            row = self._database.execute(query, (key,)).fetchone()
            if row:
                answers[key] = Answer(**json.loads(row[0]), cached=True)
        return answers

    def put(self, key: str, answer: Answer) -> None:
        """Store an answer; it survives the end of this process, however that comes.

        Raises `R2DError` on a full disk.
        """
        value = json.dumps({name: getattr(answer, name) for name in STORED})
        try:
            self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, value))
        except sqlite3.Error as error:
            raise R2DError(
                f"An answer can't be written to {self.path} ({error}): free disk space, then run "
                "again."
            ) from None
