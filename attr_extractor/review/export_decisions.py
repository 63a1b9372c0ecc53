"""The seller's table with what was decided: decided cells replace the seller's, the rest stays.

`build_tfrecords.py --relabel` takes it as it takes the seller's own.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import pandas as pd

from attr_extractor.catalogue import table
from attr_extractor.catalogue.csv_rows import write_csv
from attr_extractor.enrichment import job as jobs
from attr_extractor.errors import InputError
from attr_extractor.review.build_queue import QUEUE, SCHEMA
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
    outputs = {"--output": Path(output)}
    if log is not None:
        outputs["--log"] = Path(log)
    with jobs.owned(outputs), closing(DecisionsFile(decisions, new=False)) as file:
        if not file.facts():
            raise InputError(f"{decisions}: holds no queue; review.py makes it")
        file.require_same(SCHEMA, schema.fingerprint, "schema")
        job = {"queue": file.facts()[QUEUE], "set_of_outputs": jobs.names(outputs)}
        folder = jobs.folder_of(outputs["--output"])
        found = jobs.left_or_new(outputs, job, f"{folder}: contains an unfinished export")
        if log is not None and found is None:
            jobs.begin(folder, job)
        summary = Summary()
        try:
            write_table(output, _corrected(file, catalogue, schema, summary), schema)
        except InputError:
            if log is not None and found is None:
                jobs.remove(folder)
            raise
        if log is not None:
            _write_log(file, log)
            jobs.remove(folder)
        return summary


def write_table(path: str | Path, chunks: Iterator[pd.DataFrame], schema: Schema) -> None:
    """Writes chunks with the schema's names as CSV under the table's own; whole or not at all."""
    first = next(chunks)  # `table.chunks` yields one or raises
    header = [schema.column(name) for name in first.columns]
    rows = (
        row
        for chunk in itertools.chain([first], chunks)
        for row in chunk.itertuples(index=False, name=None)
    )
    write_csv(path, header, rows)


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
    with file.reading() as db:
        moments = (
            (datetime.fromtimestamp(at, timezone.utc), rest) for at, *rest in db.execute(_LOG)
        )
        rows = ([moment.isoformat(timespec="seconds"), *rest] for moment, rest in moments)
        write_csv(path, LOG_COLUMNS, rows)
