"""Steps of a review: lease, decide, skip and undo items, each in one transaction.

An item is leased to one browser window for some minutes, so that two reviewers do not work on the
same item. A decision after the end of the lease is still accepted if it is the first; a later
decision is rejected, and the error contains the first.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from attr_extractor.enrichment.review import filters
from attr_extractor.enrichment.review.decisions_file import DecisionsFile
from attr_extractor.enrichment.review.filters import Filter
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
_SKIPPED = (  # the item skipped longest ago
    "SELECT items.* FROM skips JOIN ({open}) AS items ON skips.item = items.id"
    " WHERE reviewer = :reviewer ORDER BY action LIMIT 1"
)


class ReviewError(Exception):
    """A rejected step: the reason, and the existing decision if there is one."""

    def __init__(self, status: int, message: str, decision: dict[str, Any] | None = None):
        super().__init__(message)
        self.status = status  # HTTP status
        self.decision = decision  # the existing decision


@dataclass(frozen=True)
class Window:
    """A browser window and its reviewer."""

    reviewer: str
    holder: str


class Queue:
    """Steps of a review on an open decisions file that contains a queue."""

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
        """Lease and return the first open item that is not leased to another window.

        The window's current item is kept while it matches the filter. Items that this reviewer
        skipped come last. Return None if no item is left.
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
        """Store a decision; storing the same decision again has no effect.

        Args:
          window: the window that decides.
          item: number of the item.
          kind: SELLER keeps the seller's cell, VALUES replaces it, NONE empties it.
          values: for VALUES: the values in the schema's spelling.

        Raises:
          ReviewError: if there is no such item or value, or if the item is already decided.
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
        """Move an item behind all others for this reviewer and end its lease.

        Raises:
          ReviewError: if there is no such item.
        """
        with self._file.transaction() as db:
            _require_item(db, item)
            action = self._log(db, window, item, _SKIP)
            db.execute(
                "INSERT OR REPLACE INTO skips VALUES (?, ?, ?)", (item, window.reviewer, action)
            )
            db.execute("DELETE FROM leases WHERE item = ? AND holder = ?", (item, window.holder))

    def undo(self, window: Window) -> dict[str, Any]:
        """Undo the reviewer's last decision or skip, and lease its item again.

        Raises:
          ReviewError: if there is nothing to undo, or if the skipped item is leased to another
            window or decided.
        """
        with self._file.transaction() as db:
            last = db.execute(
                "SELECT * FROM actions WHERE reviewer = ? AND undone = 0"
                " AND action <> 'undo' ORDER BY id DESC LIMIT 1",
                (window.reviewer,),
            ).fetchone()
            if last is None:
                raise ReviewError(409, "you have nothing to undo")
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
        if gone is not None:  # after the commit, as the skip is undone in any case
            raise gone
        return self._item(found)

    def item(self, item: int) -> sqlite3.Row:
        """Return a row of `items`; raise ReviewError if there is none."""
        with self._file.reading() as db:
            return _require_item(db, item)

    def progress(self, reviewer: str, which: Filter) -> dict[str, int]:
        """Count a filter's items: done, left, done by this reviewer, and leased to others."""
        with self._file.reading() as db:
            return filters.progress(db, which, reviewer, self._clock())

    def choices(self) -> dict[str, list[str]]:
        """Return the options of the filters: sorted values of each column of the queue."""
        with self._file.reading() as db:
            return filters.choices(db)

    def _value(self, item: sqlite3.Row, kind: str, values: Sequence[str]) -> str:
        """Return the stored text of a decision; raise ReviewError if it is invalid."""
        attribute = self._schema[item["attribute"]]
        if kind == SELLER and not item["given"]:
            raise ReviewError(400, "the seller gave no value of the schema")
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
        """Return an error if an item is decided or leased to another window, else None."""
        standing = _decision(db, item)
        if standing is not None:
            return ReviewError(409, f"the skipped item: {_decided_by(standing, window)}")
        lease = db.execute(
            "SELECT reviewer FROM leases WHERE item = ? AND until > ? AND holder <> ?",
            (item, self._clock(), window.holder),
        ).fetchone()
        return lease and ReviewError(
            409, f"the skipped item: {lease['reviewer']} is reviewing it now"
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
        """Add a step to the log and return its number."""
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
    return f"{who} already decided this item" + ("; undo that first" if mine else "")
