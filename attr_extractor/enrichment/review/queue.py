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
from dataclasses import asdict, dataclass, fields

import pydantic

from attr_extractor.enrichment.review.decisions_file import DecisionsFile
from attr_extractor.schema import SEPARATOR, Schema

SELLER, VALUES, NONE = "seller", "values", "none"  # kinds of decision
LEASE_SECONDS = 600.0
_DECIDE, _SKIP, _UNDO = "decide", "skip", "undo"  # actions
_MOST_SELLERS = 500  # offered as choices; others can be typed
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
_PROGRESS = (
    "SELECT count(*), total(decided),"
    " (SELECT count(*) FROM decisions JOIN items ON items.id = decisions.item"
    "  WHERE {filter} AND reviewer = :reviewer),"
    " (SELECT count(*) FROM leases JOIN items ON items.id = leases.item"
    "  WHERE {filter} AND until > :now AND reviewer <> :reviewer)"
    " FROM items WHERE {filter}"
)


@dataclass(frozen=True)
class Window:
    """A browser window and its reviewer."""

    reviewer: str
    holder: str


@pydantic.dataclasses.dataclass(
    frozen=True, config=pydantic.ConfigDict(extra="forbid", strict=True)
)
class Filter:
    """A filter on items; an empty string matches all."""

    attribute: str = ""
    category: str = ""
    verdict: str = ""
    seller: str = ""
    product: str = ""  # substring of the product id, case-insensitive

    def sql(self) -> str:
        """Return an SQL condition on `items` whose parameters are those of `asdict`."""
        names = ("attribute", "category", "verdict", "seller")
        conditions = [f"items.{name} = :{name}" for name in names if getattr(self, name)]
        if self.product:
            conditions.append("instr(lower(items.product_id), lower(:product)) > 0")
        return " AND ".join(conditions) or "1"


@dataclass(frozen=True)
class Item:
    """A cell to review, as in the table `items`."""

    id: int
    attribute: str
    category: str
    verdict: str
    seller: str
    row: int
    product_id: str
    given: str  # the seller's values, separated by |
    given_score: float | None
    answer: str
    proposed: list[tuple[str, float]]  # the model's best values and their scores
    image: str
    error: str
    box: str
    told_by: str  # what the best proposed value rests on beside the photo; "" for nothing

    @classmethod
    def of_row(cls, row: sqlite3.Row) -> Item:
        """Return the item of a row of `items`."""
        columns = {field.name: row[field.name] for field in fields(cls)}
        return cls(**{**columns, "proposed": json.loads(row["proposed"])})


@dataclass(frozen=True)
class Decision:
    """The current decision of an item."""

    item: int
    reviewer: str
    kind: str  # SELLER, VALUES or NONE
    value: str  # the cell after the decision
    at: float  # seconds since 1970

    def refusal(self, window: Window) -> str:
        """Return the message to a window that decides the item again."""
        if self.reviewer == window.reviewer:
            return "you already decided this item; undo that first"
        return f"{self.reviewer} already decided this item"


@dataclass(frozen=True)
class Progress:
    """Counts of the items that match a filter."""

    done: int
    left: int
    mine: int  # decided by the reviewer
    with_others: int  # leased to others


class ReviewError(Exception):
    """A rejected step: the reason, and the existing decision if there is one."""

    def __init__(self, status: int, message: str, decision: Decision | None = None):
        super().__init__(message)
        self.status = status  # HTTP status
        self.decision = decision


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

    def next(self, window: Window, which: Filter) -> Item | None:
        """Lease and return the first open item that is not leased to another window.

        The window's current item is kept while it matches the filter. Items that this reviewer
        skipped come last. Return None if no item is left.
        """
        parameters = {**asdict(which), **asdict(window), "now": self._clock()}
        own, open_items = (text.format(filter=which.sql()) for text in (_OWN, _OPEN))
        with self._file.transaction() as db:
            for query in (own, open_items + _NOT_SKIPPED, _SKIPPED.format(open=open_items)):
                row = db.execute(query, parameters).fetchone()
                if row:
                    break
            db.execute("DELETE FROM leases WHERE holder = :holder OR until <= :now", parameters)
            if row:
                self._lease(db, row["id"], window)
        return Item.of_row(row) if row else None

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
            value = self._cell(_require_item(db, item), kind, values)
            existing = _decision(db, item)
            if existing is not None:
                same = (existing.reviewer, existing.kind, existing.value)
                if same == (window.reviewer, kind, value):
                    return
                raise ReviewError(409, existing.refusal(window), existing)
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

    def undo(self, window: Window) -> Item:
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
            taken = self._taken(db, item, window)
            if taken is None:
                db.execute("DELETE FROM leases WHERE holder = ?", (window.holder,))
                self._lease(db, item, window)
            row = _require_item(db, item)
        if taken is not None:  # after the commit, as the skip is undone in any case
            raise taken
        return Item.of_row(row)

    def item(self, item: int) -> Item:
        """Return an item by its number; raise ReviewError if there is none."""
        with self._file.reading() as db:
            return Item.of_row(_require_item(db, item))

    def progress(self, reviewer: str, which: Filter) -> Progress:
        """Count the items that match a filter."""
        parameters = {**asdict(which), "reviewer": reviewer, "now": self._clock()}
        with self._file.reading() as db:
            query = _PROGRESS.format(filter=which.sql())
            total, done, mine, with_others = db.execute(query, parameters).fetchone()
        return Progress(int(done), total - int(done), mine, with_others)

    def choices(self) -> dict[str, list[str]]:
        """Return the options of the filters: sorted values of each column of the queue."""
        options = {}
        with self._file.reading() as db:
            for column in ("attribute", "category", "verdict", "seller"):
                query = f"SELECT DISTINCT {column} FROM items WHERE {column} <> '' ORDER BY 1"
                limit = f" LIMIT {_MOST_SELLERS}" if column == "seller" else ""
                options[column] = [text for (text,) in db.execute(query + limit)]
        return options

    def _cell(self, item: sqlite3.Row, kind: str, values: Sequence[str]) -> str:
        """Return the cell that a decision stores; raise ReviewError if it is invalid."""
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

    def _taken(self, db: sqlite3.Connection, item: int, window: Window) -> ReviewError | None:
        """Return an error if an item is decided or leased to another window, else None."""
        existing = _decision(db, item)
        if existing is not None:
            return ReviewError(409, f"the skipped item: {existing.refusal(window)}")
        lease = db.execute(
            "SELECT reviewer FROM leases WHERE item = ? AND until > ? AND holder <> ?",
            (item, self._clock(), window.holder),
        ).fetchone()
        if lease is None:
            return None
        return ReviewError(409, f"the skipped item: {lease['reviewer']} is reviewing it now")

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
    row: sqlite3.Row | None = db.execute("SELECT * FROM items WHERE id = ?", (item,)).fetchone()
    if row is None:
        raise ReviewError(404, f"the queue has no item {item}")
    return row


def _decision(db: sqlite3.Connection, item: int) -> Decision | None:
    row = db.execute("SELECT * FROM decisions WHERE item = ?", (item,)).fetchone()
    return None if row is None else Decision(**row)
