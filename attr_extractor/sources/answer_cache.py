"""A model's answers on the disk, by photo, prompt and model: no usable answer is paid for twice.

Each answer is committed when it arrives, so that a killed program loses only those on their way.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from attr_extractor import ownership, storage
from attr_extractor.errors import InputError
from attr_extractor.sources.endpoint import Reply

FILE = "answers.sqlite"
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
  photo TEXT NOT NULL, prompt TEXT NOT NULL, model TEXT NOT NULL, reply TEXT NOT NULL,
  PRIMARY KEY (photo, prompt, model)) WITHOUT ROWID
"""


class AnswerCache:
    """The open cache of a folder; see `opened`."""

    def __init__(self, db: sqlite3.Connection, model: str):
        self._db, self._model = db, model

    def __len__(self) -> int:
        """Return the number of the model's answers."""
        query = "SELECT count(*) FROM answers WHERE model = ?"
        return int(self._db.execute(query, (self._model,)).fetchone()[0])

    def find(self, photo: str, prompt: str) -> Reply | None:
        """Return the answer to a prompt about a photo, both by digest; None without one."""
        query = "SELECT reply FROM answers WHERE photo = ? AND prompt = ? AND model = ?"
        row = self._db.execute(query, (photo, prompt, self._model)).fetchone()
        return Reply(**json.loads(row[0])) if row else None

    def add(self, photo: str, prompt: str, reply: Reply) -> None:
        """Store an answer durably."""
        row = (photo, prompt, self._model, json.dumps(asdict(reply)))
        self._db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", row)


@contextmanager
def opened(folder: str | Path, model: str) -> Iterator[AnswerCache]:
    """Open the cache of a folder, created if it does not exist, as its only user.

    Raises:
      InputError: if the folder is in a bucket, or if its file is damaged or cannot be written.
      TemporaryError: if another program uses it.
    """
    if storage.is_remote(folder):
        raise InputError(f"{folder}: --cache must be a folder on a disk")
    with ownership.folder(folder, "the cache"):
        path = Path(folder) / FILE
        try:
            db = sqlite3.connect(path, isolation_level=None)  # each statement is committed
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute(_TABLE)
                yield AnswerCache(db, model)
            finally:
                db.close()
        except sqlite3.Error as error:
            raise InputError(f"{path}: the cache cannot be used: {error}") from error
