"""Who looks at which item, and what they decide: each step is one transaction.

An item is leased to one window of a browser for some minutes, so two people do not look at the
same. A lease that ran out costs nobody a decision: the first decision of an item counts, and a
later one is refused and told the first.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from attr_extractor.review import filters
from attr_extractor.review.decisions_file import DecisionsFile
from attr_extractor.review.filters import Filter
from attr_extractor.schema import SEPARATOR, Schema

SELLER, VALUES, NONE = "seller", "values", "none"  # kinds of decision
LEASE_SECONDS = 600.0
_DECIDE, _SKIP, _UNDO = "decide", "skip", "undo"  # actions
_OPEN = (
    "SELECT items.* FROM items WHERE decided = 0 AND {filter} AND NOT EXISTS (SELECT 1 FROM leases"
    " WHERE leases.item = items.id AND until > :now AND holder <> :holder)"
)
_OWN = (
    "SELECT items.* FROM leases JOIN items ON items.id = leases.item"
    " WHERE holder = :holder AND decided = 0 AND {filter}"
)
_NOT_SKIPPED = (
    " AND NOT EXISTS (SELECT 1 FROM skips WHERE skips.item = items.id AND reviewer = :reviewer)"
    " ORDER BY id LIMIT 1"
)
_SKIPPED = (  # the one skipped longest ago
    "SELECT items.* FROM skips JOIN ({open}) AS items ON skips.item = items.id"
    " WHERE reviewer = :reviewer ORDER BY action LIMIT 1"
)


class ReviewError(Exception):
    """A step that cannot be taken: why, and what stands instead."""

    def __init__(self, status: int, message: str, decision: dict[str, Any] | None = None):
        super().__init__(message)
        self.status = status  # of HTTP
        self.decision = decision  # of somebody else


@dataclass(frozen=True)
class Window:
    """One window of a browser and who sits before it."""

    reviewer: str
    holder: str


class Queue:
    """The steps of a review, on an open decisions file whose queue is built."""

    def __init__(
        self,
        file: DecisionsFile,
        schema: Schema,
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.time,
    ):
        self._file = file
        self._schema = schema
        self._lease_seconds = lease_seconds
        self._clock = clock

    def next(self, window: Window, which: Filter) -> dict[str, Any] | None:
        """Leases the first open item that nobody else holds; the window's own one while it fits.

        Items that this reviewer skipped come after all others. None where nothing is left.
        """
        asked = {**asdict(which), **asdict(window), "now": self._clock()}
        own, query = (text.format(filter=which.sql()) for text in (_OWN, _OPEN))
        with self._file.transaction() as db:
            for text in (own, query + _NOT_SKIPPED, _SKIPPED.format(open=query)):
                found = db.execute(text, asked).fetchone()
                if found:
                    break
            db.execute("DELETE FROM leases WHERE holder = :holder OR until <= :now", asked)
            if found:
                self._lease(db, found["id"], window)
        return self._item(found) if found else None

    def decide(self, window: Window, item: int, kind: str, values: Sequence[str]) -> None:
        """Stores a decision; the same one again changes nothing.

        Args:
          kind: SELLER keeps the seller's cell, VALUES replaces it, NONE empties it.
          values: with VALUES, in the schema's spelling.

        Raises:
          ReviewError: no such item or value, or the item is decided already.
        """
        with self._file.transaction() as db:
            found = _require_item(db, item)
            value = self._value(found, kind, values)
            standing = _decision(db, item)
            if standing is not None:
                if (standing["reviewer"], standing["kind"], standing["value"]) == (
                    *(window.reviewer, kind, value),
                ):
                    return
                raise ReviewError(409, _decided_by(standing, window), standing)
            now = self._clock()
            db.execute(
                "INSERT INTO decisions VALUES (?, ?, ?, ?, ?)",
                (item, window.reviewer, kind, value, now),
            )
            db.execute("UPDATE items SET decided = 1 WHERE id = ?", (item,))
            db.execute("DELETE FROM leases WHERE item = ?", (item,))
            self._log(db, window, item, _DECIDE, kind, value)

    def skip(self, window: Window, item: int) -> None:
        """Puts an item behind all others for this reviewer, and gives it back.

        Raises:
          ReviewError: no such item.
        """
        with self._file.transaction() as db:
            _require_item(db, item)
            action = self._log(db, window, item, _SKIP)
            db.execute(
                "INSERT OR REPLACE INTO skips VALUES (?, ?, ?)", (item, window.reviewer, action)
            )
            db.execute("DELETE FROM leases WHERE item = ? AND holder = ?", (item, window.holder))

    def undo(self, window: Window) -> dict[str, Any]:
        """Takes back the reviewer's own last decision or skip, and leases its item again.

        Raises:
          ReviewError: there is none, or the skipped item is with somebody else by now.
        """
        with self._file.transaction() as db:
            last = db.execute(
                "SELECT * FROM actions WHERE reviewer = ? AND undone = 0"
                " AND action <> 'undo' ORDER BY id DESC LIMIT 1",
                (window.reviewer,),
            ).fetchone()
            if last is None:
                raise ReviewError(409, "there is nothing of yours to undo")
            item = last["item"]
            db.execute("UPDATE actions SET undone = 1 WHERE id = ?", (last["id"],))
            self._log(db, window, item, _UNDO)
            if last["action"] == _DECIDE:
                db.execute("DELETE FROM decisions WHERE item = ?", (item,))
                db.execute("UPDATE items SET decided = 0 WHERE id = ?", (item,))
            else:
                db.execute(
                    "DELETE FROM skips WHERE item = ? AND reviewer = ?", (item, window.reviewer)
                )
            gone = self._not_free(db, item, window)
            if gone is None:
                db.execute("DELETE FROM leases WHERE holder = ?", (window.holder,))
                self._lease(db, item, window)
            found = _require_item(db, item)
        if gone is not None:  # after the commit: the skip is taken back all the same
            raise gone
        return self._item(found)

    def item(self, item: int) -> sqlite3.Row:
        """A row of `items`; raises ReviewError where there is none."""
        with self._file.reading() as db:
            return _require_item(db, item)

    def progress(self, reviewer: str, which: Filter) -> dict[str, int]:
        """How many items of a filter are done, left, done by this reviewer, and with others."""
        with self._file.reading() as db:
            return filters.progress(db, which, reviewer, self._clock())

    def choices(self) -> dict[str, list[str]]:
        """What the filters can be set to: of each column of the queue its values, sorted."""
        with self._file.reading() as db:
            return filters.choices(db)

    def _value(self, item: sqlite3.Row, kind: str, values: Sequence[str]) -> str:
        """The text of a decision; raises ReviewError where it means nothing."""
        attribute = self._schema[item["attribute"]]
        if kind == SELLER and not item["given"]:
            raise ReviewError(400, "the seller gave no value that the schema knows")
        if kind != VALUES:
            if values:
                raise ReviewError(400, f"a decision of kind {kind!r} takes no values")
            return str(item["given"]) if kind == SELLER else ""
        for value in values:
            if value not in attribute.values:
                raise ReviewError(400, f"{attribute.name} has no value {value!r}")
        if not values or (attribute.exclusive and len(set(values)) > 1):
            raise ReviewError(400, f"{attribute.name} takes {'one value' if values else 'a value'}")
        return SEPARATOR.join(value for value in attribute.values if value in values)

    def _item(self, row: sqlite3.Row) -> dict[str, Any]:
        return {**dict(row), "proposed": json.loads(row["proposed"])}

    def _not_free(self, db: sqlite3.Connection, item: int, window: Window) -> ReviewError | None:
        """Why a window cannot have an item now: it is decided, or somebody else has it."""
        standing = _decision(db, item)
        if standing is not None:
            return ReviewError(409, f"the skipped one: {_decided_by(standing, window)}")
        lease = db.execute(
            "SELECT reviewer FROM leases WHERE item = ? AND until > ? AND holder <> ?",
            (item, self._clock(), window.holder),
        ).fetchone()
        return lease and ReviewError(
            409, f"the skipped one: {lease['reviewer']} is looking at it now"
        )

    def _lease(self, db: sqlite3.Connection, item: int, window: Window) -> None:
        until = self._clock() + self._lease_seconds
        db.execute(
            "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)",
            (item, window.holder, window.reviewer, until),
        )

    def _log(
        self,
        db: sqlite3.Connection,
        window: Window,
        item: int,
        action: str,
        kind: str = "",
        value: str = "",
    ) -> int:
        """Adds a step to the log; its number."""
        added = db.execute(
            "INSERT INTO actions (item, reviewer, action, kind, value, at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (item, window.reviewer, action, kind, value, self._clock()),
        )
        return int(added.lastrowid or 0)


def _require_item(db: sqlite3.Connection, item: int) -> sqlite3.Row:
    found: sqlite3.Row | None = db.execute("SELECT * FROM items WHERE id = ?", (item,)).fetchone()
    if found is None:
        raise ReviewError(404, f"the queue has no item {item}")
    return found


def _decision(db: sqlite3.Connection, item: int) -> dict[str, Any] | None:
    found = db.execute("SELECT * FROM decisions WHERE item = ?", (item,)).fetchone()
    return None if found is None else dict(found)


def _decided_by(decision: dict[str, Any], window: Window) -> str:
    mine = decision["reviewer"] == window.reviewer
    who = "you" if mine else decision["reviewer"]
    return f"{who} decided this one meanwhile" + ("; undo that first" if mine else "")
