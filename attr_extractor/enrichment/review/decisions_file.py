"""The SQLite file of a review: the queue, the leases, the decisions and a log of all actions.

It belongs to one cells file and one schema. Several programs may use it concurrently (WAL);
committed transactions survive a power failure (synchronous=FULL).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from attr_extractor import working_copy
from attr_extractor.errors import InputError, require_file

_APPLICATION_ID = 0x41547276  # PRAGMA application_id of a decisions file
_VERSION = 3
_ADDED = {1: "box", 2: "told_by"}  # columns of items by the version that lacks them
_ADD = "ALTER TABLE items ADD COLUMN {} TEXT NOT NULL DEFAULT ''"
BUSY_SECONDS = 5.0  # maximum wait for another program's transaction
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- a cell to review; `id` is its position in the queue, from 1
CREATE TABLE items (
  id INTEGER PRIMARY KEY, decided INTEGER NOT NULL DEFAULT 0,
  attribute TEXT NOT NULL, category TEXT NOT NULL, verdict TEXT NOT NULL, seller TEXT NOT NULL,
  row INTEGER NOT NULL, product_id TEXT NOT NULL, given TEXT NOT NULL, given_score REAL,
  answer TEXT NOT NULL, proposed TEXT NOT NULL, image TEXT NOT NULL, error TEXT NOT NULL,
  box TEXT NOT NULL DEFAULT '', told_by TEXT NOT NULL DEFAULT '');
CREATE INDEX open_items ON items (id) WHERE decided = 0;
CREATE INDEX items_by_row ON items (row);
-- the current decision of an item: at most one
CREATE TABLE decisions (
  item INTEGER PRIMARY KEY REFERENCES items, reviewer TEXT NOT NULL, kind TEXT NOT NULL,
  value TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX decisions_by_reviewer ON decisions (reviewer);
-- reviewer of an item and end of the lease; a holder is one browser window
CREATE TABLE leases (item INTEGER PRIMARY KEY REFERENCES items, holder TEXT NOT NULL,
  reviewer TEXT NOT NULL, until REAL NOT NULL);
CREATE INDEX leases_by_holder ON leases (holder);
CREATE TABLE skips (item INTEGER NOT NULL REFERENCES items, reviewer TEXT NOT NULL,
  action INTEGER NOT NULL, PRIMARY KEY (item, reviewer)) WITHOUT ROWID;
-- log of all actions, in order
CREATE TABLE actions (
  id INTEGER PRIMARY KEY, item INTEGER NOT NULL REFERENCES items, reviewer TEXT NOT NULL,
  action TEXT NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, at REAL NOT NULL,
  undone INTEGER NOT NULL DEFAULT 0);
CREATE INDEX actions_by_reviewer ON actions (reviewer, id) WHERE undone = 0;
"""


@dataclass(frozen=True)
class QueueInfo:
    """Description of the queue of a decisions file."""

    queue: str  # unique id of the queue
    cells: str  # fingerprint of the cells file
    schema: str  # fingerprint of the schema
    summary: str  # one line for the terminal


class DecisionsFile:
    """An open decisions file; not thread-safe."""

    def __init__(self, path: str | Path, new: bool = True):
        """Open a file; create it if it does not exist, unless `new` is false.

        Raises:
          InputError: if it is not a decisions file, is damaged or locked, or cannot be created.
        """
        self.path = Path(path) if new else working_copy.file(path)
        if not new:
            require_file(self.path, "the decisions file")
        elif self.path.is_dir():
            raise InputError(f"{path}: the decisions file is a folder; pass a file")
        elif not self.path.parent.is_dir():
            raise InputError(f"{self.path.parent}: the folder of --decisions does not exist")
        with self._sqlite_errors():
            self._db = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            self._open()
        except InputError:
            self._db.close()
            raise

    def _open(self) -> None:
        with self._sqlite_errors():
            (application,) = self._db.execute("PRAGMA application_id").fetchone()
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if application != _APPLICATION_ID and (application or tables):
                raise InputError(
                    f"{self.path}: an SQLite file, but not one of attr-extractor review"
                )
            (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise InputError(f"{self.path}: a damaged SQLite file: {verdict}")
            self._db.execute("PRAGMA journal_mode = WAL").fetchone()
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.row_factory = sqlite3.Row
        with self.transaction() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _TABLES.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            elif not 1 <= version <= _VERSION:
                raise InputError(f"{self.path}: has format version {version}, not {_VERSION}")
            else:
                for older in range(version, _VERSION):
                    db.execute(_ADD.format(_ADDED[older]))
            if version != _VERSION:
                db.execute(f"PRAGMA user_version = {_VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a write transaction exclusively; commit it at the end, roll it back on an error.

        Raises:
          InputError: if the file is locked or damaged, or the disk is full.
        """
        with self._sqlite_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection for reading; raise InputError like `transaction`."""
        with self._sqlite_errors():
            yield self._db

    def info(self) -> QueueInfo | None:
        """Return the description of the queue, None if there is no queue."""
        with self.reading() as db:
            facts = dict(db.execute("SELECT name, value FROM facts").fetchall())
        if not facts:
            return None
        return QueueInfo(**{field.name: facts.get(field.name, "") for field in fields(QueueInfo)})

    def require_same(self, what: str, recorded: str, expected: str) -> None:
        """Raise InputError if a fingerprint of the queue differs; `what` names its source."""
        if recorded != expected:
            raise InputError(
                f"{self.path}: decisions about another {what} (fingerprint {recorded}) than the "
                f"given one (fingerprint {expected}); name a new file with --decisions"
            )

    def close(self) -> None:
        """Close the connection; committed data is kept."""
        self._db.close()

    @contextmanager
    def _sqlite_errors(self) -> Iterator[None]:
        """Convert errors of SQLite to an InputError with a one-line message."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if "locked" in str(error) or "busy" in str(error):
                why = "is locked by another program; nothing was stored, try again"
            else:
                why = f"cannot be used, nothing was stored: {error}"
            raise InputError(f"{self.path}: the decisions file {why}") from error
