"""Write a label source: a table with one row per product, attribute and value.

Rows are written as they come: memory does not grow with the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from attr_extractor import storage
from attr_extractor.catalogue.csv_rows import CsvWriter
from attr_extractor.errors import InputError

COLUMNS = pa.schema(
    [
        ("product_id", pa.string()),
        ("attribute", pa.string()),  # its name in the schema
        ("value", pa.string()),  # in the schema's spelling
        ("confidence", pa.float32()),  # 0 to 1
        ("source", pa.string()),  # who says so: `text`, or the name of a model
    ]
)
ROWS_PER_GROUP = 65_536  # of a Parquet file


class SourceRow(NamedTuple):
    """A value that a source names for a product; the fields are those of COLUMNS."""

    product_id: str
    attribute: str
    value: str
    confidence: float
    source: str


def require_format(path: str | Path, flag: str) -> None:
    """Raise InputError unless the file name ends in .csv, .parquet or .pq."""
    if Path(path).suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise InputError(f"{path}: {flag} must end in .csv or .parquet")


@contextmanager
def writing(path: str | Path) -> Iterator[Callable[[Iterable[SourceRow]], None]]:
    """Yield a function that appends rows; the file appears at the end, atomically.

    Args:
      path: a file of `require_format`.

    Raises:
      InputError: see `storage.whole`.
    """
    with storage.whole(path) as temporary:
        if Path(path).suffix.lower() == ".csv":
            with open(temporary, "w", newline="", encoding="utf-8") as file:
                writer = CsvWriter(file)
                writer.writerow(COLUMNS.names)
                yield writer.writerows
            return
        with pq.ParquetWriter(temporary, COLUMNS, compression="zstd") as parquet:
            waiting: list[SourceRow] = []

            def append(rows: Iterable[SourceRow]) -> None:
                waiting.extend(rows)
                if len(waiting) >= ROWS_PER_GROUP:
                    _write_group(parquet, waiting)

            yield append
            _write_group(parquet, waiting)


def _write_group(parquet: pq.ParquetWriter, rows: list[SourceRow]) -> None:
    """Write the rows as a row group, and empty the list."""
    if rows:
        arrays = [pa.array(column, field.type) for column, field in zip(zip(*rows), COLUMNS)]
        parquet.write_table(pa.table(arrays, schema=COLUMNS))
        rows.clear()
