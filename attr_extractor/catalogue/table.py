"""Read the seller's table in chunks; every cell is a string, without type inference.

Columns that the schema renames are returned under the schema's names. "NA" stays the text "NA",
because only the schema defines which non-empty cells mean missing. Rows are numbered from 1.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from attr_extractor import storage
from attr_extractor.catalogue import formats
from attr_extractor.catalogue.csv_rows import MAX_CELL
from attr_extractor.errors import InputError, did_you_mean, require_file
from attr_extractor.schema import SEPARATOR, Schema

PRODUCT_ID, IMAGE = "product_id", "image"
ROWS_PER_CHUNK = 8192
MOST_SHARED = 65_536  # distinct cells of a column that are cached for sharing


def chunks(
    path: str | Path,
    schema: Schema | None = None,
    require_all: bool = True,
    rows: int = ROWS_PER_CHUNK,
) -> Iterator[pd.DataFrame]:
    """Yield the table in chunks of at most `rows` rows; only one chunk is in memory at a time.

    Of several columns without a name, all are dropped and their cells must be empty; a single one
    is kept.

    Args:
      path: .csv, .tsv, .tab, .parquet, .pq, .jsonl or .ndjson, on disk or in a bucket.
      schema: renames its columns to its own names, others keep theirs; None: no renaming.
      require_all: whether every attribute must have a column; False for a table to be filled.

    Yields:
      A DataFrame with columns of str, "" for empty cells, indexed by row number in the table.

    Raises:
      InputError: if the file is missing, is not a table or has no rows, if two columns have the
        same name, if a cell is not text, or if a column required by the schema is missing.
    """
    if not storage.is_remote(path):
        require_file(path, "the catalogue")
    with storage.open_read(path) as file:
        lines = _writable(path, formats.reader(path)(path, file, rows))
        header = [name.strip() for name in next(lines, ("", []))[1]]
        if not any(header):
            raise InputError(
                f"{path}: {'no column has a name' if header else 'the catalogue is empty'}"
            )
        names = _names(path, header, schema, require_all)
        cells = _cells(path, header, lines)
        start = 1
        while block := list(itertools.islice(cells, rows)):
            numbers = pd.RangeIndex(start, start + len(block))
            yield pd.DataFrame(block, index=numbers, columns=names, dtype=object)
            start += len(block)
        if start == 1:
            raise InputError(f"{path}: the catalogue has a header and no rows")


def read_columns(path: str | Path) -> pd.DataFrame:
    """Read the whole table under its own column names; see `chunks` for errors."""
    return _whole(chunks(path))


def read_catalogue(path: str | Path, schema: Schema, require_all: bool = True) -> pd.DataFrame:
    """Read the whole table under the schema's column names; see `chunks` for errors."""
    return _whole(chunks(path, schema, require_all))


def require_column(
    named: str, table: Collection[str], schema: Schema, catalogue: str | Path
) -> str:
    """Return the name under which a flag's column was read; raise InputError if it is missing."""
    column = find_column(named, table, schema)
    if column is None:
        raise InputError(f"{catalogue}: there is no column {named!r}{did_you_mean(named, table)}")
    return column


def find_column(named: str, table: Collection[str], schema: Schema) -> str | None:
    """Return the name under which a column of the table was read; None if it is missing."""
    renamed = {schema.column(name): name for name in schema.columns}
    column = renamed.get(named, named)
    return column if column in table else None


def cells_of(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return the rows as dictionaries from column to cell."""
    return cast("list[dict[str, str]]", table.to_dict("records"))


def image_paths(cell: str) -> list[str]:
    """Return the photo paths that an image cell lists, relative to the image root."""
    return [path.strip() for path in cell.split(SEPARATOR) if path.strip()]


def _names(
    path: str | Path, header: list[str], schema: Schema | None, require_all: bool
) -> list[str]:
    """Return the names of the kept columns, renamed by the schema."""
    counts = Counter(header)
    kept = [name for name in header if name or counts[""] == 1]
    for name in kept:
        if counts[name] > 1:
            raise InputError(f"{path}: the column {name!r} appears twice")
    if schema is None:
        return kept
    for name in [PRODUCT_ID, IMAGE, *(schema.names if require_all else [])]:
        column = schema.column(name)
        if column not in kept:
            raise InputError(
                f"{path}: the column {column!r} is missing{did_you_mean(column, kept)} "
                "(the schema's `columns` can rename one)"
            )
    names = {schema.column(name): name for name in [PRODUCT_ID, IMAGE, *schema.names]}
    taken = set(names.values())
    for column in kept:
        if column not in names and column in taken:
            raise InputError(
                f"{path}: the column {column!r} conflicts with {schema.column(column)!r}, "
                "which the schema reads under that name; rename or drop one"
            )
    return [names.get(column, column) for column in kept]


def _writable(path: str | Path, lines: formats.Lines) -> formats.Lines:
    """Yield the lines unchanged; raise InputError if one cannot be written to CSV and read back."""
    for place, cells in lines:
        text = "".join(cells)
        if len(text) > MAX_CELL and any(len(cell) > MAX_CELL for cell in cells):
            raise formats.no_table(path, place, f"a cell of more than {MAX_CELL:,} characters")
        if "\0" in text:
            raise formats.no_table(path, place, "a NUL character")
        try:
            text.encode()
        except UnicodeEncodeError as error:  # an unpaired surrogate in JSON, such as \ud83d
            raise formats.no_table(path, place, "half of a surrogate pair") from error
        yield place, cells


def _cells(path: str | Path, header: list[str], lines: formats.Lines) -> Iterator[list[str]]:
    """Yield the cells of every row, without a spreadsheet's empty columns.

    A single column without a name is kept: pandas writes a table's index that way.
    """
    unnamed = {i: name for i, name in enumerate(header) if not name}
    unnamed = unnamed if len(unnamed) > 1 else {}
    for place, cells in lines:
        if len(cells) > len(header):
            why = f"{len(cells)} cells under {len(header)} columns"
            raise formats.no_table(path, place, why)
        cells = cells + [""] * (len(header) - len(cells))
        for i in unnamed:
            if cells[i].strip():
                raise InputError(
                    f"{path}, {place}: {cells[i]!r} is in column {i + 1}, which has no name; "
                    "name the column or remove it"
                )
        yield [cell for i, cell in enumerate(cells) if i not in unnamed] if unnamed else cells


def _whole(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate all chunks; equal cells of a column share one string object.

    Most cells repeat a few words: a string per cell would take seven times the memory of a pointer.
    """
    columns: dict[Hashable, list[str]] = {}
    shared: dict[Hashable, dict[str, str]] = {}
    for part in parts:
        for name in part:
            known = shared.setdefault(name, {})
            if len(known) > MOST_SHARED:
                known.clear()  # ids and titles hardly ever repeat
            cells = [known.setdefault(cell, cell) for cell in part[name]]
            columns.setdefault(name, []).extend(cells)
    arrays = {name: np.array(columns.pop(name), dtype=object) for name in list(columns)}
    # avoid the copy with which pandas consolidates all columns into one block
    table = pd.DataFrame(arrays, dtype=object, copy=False)
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table
