"""Export the seller's table with the decisions: decided cells replace the seller's values.

`attr-extractor build --relabel` accepts the exported table like the seller's table.
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
from attr_extractor.enrichment.review.decisions_file import DecisionsFile
from attr_extractor.enrichment.review.queue import NONE, SELLER
from attr_extractor.errors import InputError
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
class DecisionsSummary:
    """Counts of an exported table."""

    rows: int = 0
    decisions: Counter[str] = field(default_factory=Counter)  # by kind
    changed: Counter[str] = field(default_factory=Counter)  # cells by attribute


def export(
    decisions: str | Path,
    catalogue: str | Path,
    schema: Schema,
    output: str | Path,
    log: str | Path | None = None,
) -> DecisionsSummary:
    """Write the table as CSV, with all its columns in order and under their original names.

    If a decision fills an attribute without a column, the column is added at the end.

    Args:
      decisions: the decisions file.
      catalogue: the seller's table.
      schema: the schema of the decisions.
      output: the corrected table, a new CSV file.
      log: a new CSV file of the current decisions with reviewer and time, in order of time.

    Raises:
      InputError: if a file cannot be used or already exists, if the decisions are of another
        schema, or if the table's rows differ from those of the decisions.
    """
    outputs = {"--output": output}
    if log is not None:
        outputs["--log"] = log
    with jobs.lock_outputs(outputs), closing(DecisionsFile(decisions, new=False)) as file:
        info = file.info()
        if info is None:
            raise InputError(
                f"{decisions}: contains no queue; create it with attr-extractor review"
            )
        file.require_same("schema", info.schema, schema.fingerprint)
        job = {"queue": info.queue, "set_of_outputs": jobs.relative_paths(outputs)}
        folder = jobs.parts_folder(outputs["--output"])
        problem = f"{folder}: contains an unfinished export"
        resumed = jobs.require_resumable_or_new(outputs, job, problem)
        if log is not None and not resumed:
            jobs.write_job(folder, job)
        summary = DecisionsSummary()
        try:
            write_table(output, _corrected(file, catalogue, schema, summary), schema)
        except InputError:
            if log is not None and not resumed:
                jobs.remove_job(folder)
            raise
        if log is not None:
            _write_log(file, log)
            jobs.remove_job(folder)
        return summary


def write_table(path: str | Path, chunks: Iterator[pd.DataFrame], schema: Schema) -> None:
    """Write chunks as CSV atomically, schema names renamed to the table's column names."""
    first = next(chunks)  # `table.chunks` yields one or raises
    header = [schema.column(name) for name in first.columns]
    rows = (
        row
        for chunk in itertools.chain([first], chunks)
        for row in chunk.itertuples(index=False, name=None)
    )
    write_csv(path, header, rows)


def _corrected(
    file: DecisionsFile, catalogue: str | Path, schema: Schema, summary: DecisionsSummary
) -> Iterator[pd.DataFrame]:
    """Yield the table's chunks with schema names as columns and the decided cells."""
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
            f"{catalogue}: has {summary.rows:,} rows, but the decisions are about a table of at "
            f"least {last:,}; pass the table that was predicted"
        )


def _correct(
    file: DecisionsFile, chunk: pd.DataFrame, catalogue: str | Path, summary: DecisionsSummary
) -> None:
    """Write the decisions on a chunk's rows into the chunk."""
    first, last = int(chunk.index[0]), int(chunk.index[-1])
    products = chunk[table.PRODUCT_ID].tolist()
    new: dict[str, dict[int, str]] = defaultdict(dict)
    with file.reading() as db:
        for row, product, attribute, kind, value in db.execute(_ROWS, (first, last)):
            if products[row - first].strip() != product.strip():
                raise InputError(
                    f"{catalogue}, row {row}: is product {products[row - first]!r}, but the "
                    f"decisions are about {product!r}; pass the table that was predicted"
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
