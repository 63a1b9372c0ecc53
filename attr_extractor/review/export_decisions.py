"""The seller's table with what was decided: decided cells replace the seller's, the rest stays.

`build_tfrecords.py --relabel` takes it as it takes the seller's own.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import pandas as pd

from attr_extractor import storage
from attr_extractor.catalogue import table
from attr_extractor.errors import InputError, require_new_file
from attr_extractor.review.build_queue import SCHEMA
from attr_extractor.review.decisions_file import DecisionsFile
from attr_extractor.review.queue import NONE, SELLER
from attr_extractor.schema import Schema

LOG_COLUMNS = (
    *("at", "reviewer", "row", "product_id", "attribute", "seller_value", "decision", "value"),
)
_ROWS = (
    "SELECT row, product_id, attribute, kind, value FROM items"
    " LEFT JOIN decisions ON decisions.item = items.id WHERE row BETWEEN ? AND ? ORDER BY row"
)
_LOG = (
    "SELECT decisions.at, reviewer, items.row, product_id, attribute, given, kind, value"
    " FROM decisions JOIN items ON items.id = decisions.item ORDER BY decisions.at, items.id"
)


@dataclass
class Summary:
    """What came of a table."""

    rows: int = 0
    decisions: Counter[str] = field(default_factory=Counter)  # by kind
    changed: Counter[str] = field(default_factory=Counter)  # cells by attribute


def export(
    decisions: str | Path,
    catalogue: str | Path,
    schema: Schema,
    output: str | Path,
    log: str | Path | None = None,
) -> Summary:
    """Writes the table as CSV, all its columns under its own names and in order.

    A column that the table lacks and a decision fills is added at the end.

    Args:
      log: a CSV of the standing decisions, who took them and when, in order of time.

    Raises:
      InputError: a file cannot be used or is there already, the decisions are of another schema,
        or the table's rows are not those that the decisions are about.
    """
    output = require_new_file(output, "--output")
    if log is not None and require_new_file(log, "--log") == output:
        raise InputError(f"{log}: --log and --output name the same file")
    file = DecisionsFile(decisions, new=False)
    try:
        if not file.facts():
            raise InputError(f"{decisions}: holds no queue; review.py makes it")
        file.require_same(SCHEMA, schema.fingerprint, "schema")
        summary = Summary()
        write_table(output, _corrected(file, catalogue, schema, summary), schema)
        if log is not None:
            _write_log(file, log)
        return summary
    finally:
        file.close()


def write_table(path: str | Path, chunks: Iterator[pd.DataFrame], schema: Schema) -> None:
    """Writes chunks with the schema's names as CSV under the table's own; whole or not at all."""
    with (
        storage.whole(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        for number, chunk in enumerate(chunks):
            if not number:
                writer.writerow(schema.column(name) for name in chunk.columns)
            writer.writerows(chunk.itertuples(index=False, name=None))


def _corrected(
    file: DecisionsFile, catalogue: str | Path, schema: Schema, summary: Summary
) -> Iterator[pd.DataFrame]:
    """The table's chunks under the schema's names, with the decided cells."""
    with file.reading() as db:
        (last,) = db.execute("SELECT max(row) FROM items").fetchone()
        decided = "SELECT DISTINCT attribute FROM items WHERE decided = 1"
        filled = {name for (name,) in db.execute(decided)}
    for chunk in table.chunks(catalogue, schema, require_all=False):
        for name in schema.names:
            if name in filled and name not in chunk.columns:
                chunk[name] = ""
        summary.rows += len(chunk)
        _correct(file, chunk, catalogue, summary)
        yield chunk
    if summary.rows < (last or 0):
        raise InputError(
            f"{catalogue}: has {summary.rows:,} rows, and the decisions are about a table of "
            f"{last:,} or more; give the table that was predicted"
        )


def _correct(
    file: DecisionsFile, chunk: pd.DataFrame, catalogue: str | Path, summary: Summary
) -> None:
    """Writes the decisions about a chunk's rows into it."""
    first, last = int(chunk.index[0]), int(chunk.index[-1])
    products = chunk[table.PRODUCT_ID].tolist()
    new: dict[str, dict[int, str]] = defaultdict(dict)
    with file.reading() as db:
        for row, product, attribute, kind, value in db.execute(_ROWS, (first, last)):
            if products[row - first].strip() != product.strip():
                raise InputError(
                    f"{catalogue}, row {row}: is product {products[row - first]!r}, and the "
                    f"decisions are about {product!r} there; give the table that was predicted"
                )
            if kind is None:
                continue
            summary.decisions[kind] += 1
            if kind != SELLER:
                new[attribute][row] = "" if kind == NONE else value
    for attribute, cells in new.items():
        before = chunk[attribute].tolist()
        after = list(before)
        for row, cell in cells.items():
            after[row - first] = cell
        chunk[attribute] = after
        summary.changed[attribute] += sum(a != b for a, b in zip(before, after))


def _write_log(file: DecisionsFile, path: str | Path) -> None:
    with (
        storage.whole(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as out,
        file.reading() as db,
    ):
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(LOG_COLUMNS)
        for at, *rest in db.execute(_LOG):
            moment = datetime.fromtimestamp(at, timezone.utc)
            writer.writerow([moment.isoformat(timespec="seconds"), *rest])
