"""Filters on items of the queue, and the progress of the filtered items."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass

_MOST_SELLERS = 500  # offered as choices; others can be typed
_DECIDED_BY = (
    "SELECT count(*) FROM decisions JOIN items ON items.id = decisions.item"
    " WHERE {filter} AND reviewer = :reviewer"
)
_WITH_OTHERS = (
    "SELECT count(*) FROM leases JOIN items ON items.id = leases.item"
    " WHERE {filter} AND until > :now AND reviewer <> :reviewer"
)


@dataclass(frozen=True)
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


def progress(db: sqlite3.Connection, which: Filter, reviewer: str, now: float) -> dict[str, int]:
    """Count a filter's items: done, left, done by the reviewer, and leased to others."""
    asked = {**asdict(which), "reviewer": reviewer, "now": now}
    whole = f"SELECT count(*), total(decided) FROM items WHERE {which.sql()}"
    total, done = db.execute(whole, asked).fetchone()
    mine, with_others = (
        db.execute(text.format(filter=which.sql()), asked).fetchone()[0]
        for text in (_DECIDED_BY, _WITH_OTHERS)
    )
    left = total - int(done)
    return {"done": int(done), "left": left, "mine": mine, "with_others": with_others}


def choices(db: sqlite3.Connection) -> dict[str, list[str]]:
    """Return the options of the filters: sorted values of each column of the queue."""
    found = {}
    for column in ("attribute", "category", "verdict", "seller"):
        distinct = f"SELECT DISTINCT {column} FROM items WHERE {column} <> '' ORDER BY 1"
        limit = f" LIMIT {_MOST_SELLERS}" if column == "seller" else ""
        rows = db.execute(distinct + limit).fetchall()
        found[column] = [text for (text,) in rows]
    return found
