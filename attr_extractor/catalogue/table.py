"""The seller's table in chunks, every cell a string and nothing guessed about it.

Columns that the schema renames come back under the schema's names; "NA" stays the text "NA",
because only the schema says what else than an empty cell means missing. Rows are numbered from 1.
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
MOST_SHARED = 65_536  # distinct cells of a column that are remembered, to be shared


def chunks(
    path: str | Path,
    schema: Schema | None = None,
    require_all: bool = True,
    rows: int = ROWS_PER_CHUNK,
) -> Iterator[pd.DataFrame]:
    """The table in pieces of at most `rows` rows, of which one is held at a time.

    A column without a name is left out; its cells must be empty.

    Args:
      path: .csv, .tsv, .tab, .parquet, .pq, .jsonl or .ndjson, on a disk or in a bucket.
      schema: its columns come back under its names, others as they are; None: the table's names.
      require_all: whether every attribute must have a column; a table to be filled need not.

    Yields:
      columns of str, "" where a cell is empty, indexed by row number over the whole table.

    Raises:
      InputError: no such file, no table, no rows, two columns of one name, a cell that is no text,
        or a column that the schema needs is not there.
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
    """The whole table under its own names; see `chunks`, also for what it raises."""
    return _whole(chunks(path))


def read_catalogue(path: str | Path, schema: Schema, require_all: bool = True) -> pd.DataFrame:
    """The whole table under the schema's names; see `chunks`, also for what it raises."""
    return _whole(chunks(path, schema, require_all))


def require_column(
    named: str, table: Collection[str], schema: Schema, catalogue: str | Path
) -> str:
    """The name under which a column that a flag names was read; InputError where there is none."""
    ours = {schema.column(name): name for name in schema.columns}
    column = ours.get(named, named)
    if column not in table:
        raise InputError(f"{catalogue}: there is no column {named!r}{did_you_mean(named, table)}")
    return column


def cells_of(table: pd.DataFrame) -> list[dict[str, str]]:
    """The rows as dictionaries of cells by column."""
    return cast("list[dict[str, str]]", table.to_dict("records"))


def image_paths(cell: str) -> list[str]:
    """The photos that an image cell lists, below the image root."""
    return [path.strip() for path in cell.split(SEPARATOR) if path.strip()]


def _names(
    path: str | Path, header: list[str], schema: Schema | None, require_all: bool
) -> list[str]:
    """The names of the columns that are kept, the schema's where it renames them."""
    counts = Counter(header)
    found = [name for name in header if name or counts[""] == 1]
    for name in found:
        if counts[name] > 1:
            raise InputError(f"{path}: the column {name!r} stands twice")
    if schema is None:
        return found
    for name in [PRODUCT_ID, IMAGE, *(schema.names if require_all else [])]:
        column = schema.column(name)
        if column not in found:
            raise InputError(
                f"{path}: the column {column!r} is missing{did_you_mean(column, found)} "
                "(the schema's `columns` can rename one)"
            )
    names = {schema.column(name): name for name in [PRODUCT_ID, IMAGE, *schema.names]}
    taken = set(names.values())
    for column in found:
        if column not in names and column in taken:
            raise InputError(
                f"{path}: the column {column!r} is in the way: the schema reads "
                f"{schema.column(column)!r} under that name; rename or drop one"
            )
    return [names.get(column, column) for column in found]


def _writable(path: str | Path, lines: formats.Lines) -> formats.Lines:
    """The same lines; raises InputError where one holds what no CSV file could give back."""
    for place, cells in lines:
        text = "".join(cells)
        if len(text) > MAX_CELL and any(len(cell) > MAX_CELL for cell in cells):
            raise formats.no_table(path, place, f"a cell of more than {MAX_CELL:,} characters")
        if "\0" in text:
            raise formats.no_table(path, place, "a NUL character")
        try:
            text.encode()
        except UnicodeEncodeError as error:  # JSON's \ud83d without its other half
            raise formats.no_table(path, place, "half of a surrogate pair") from error
        yield place, cells


def _cells(path: str | Path, header: list[str], lines: formats.Lines) -> Iterator[list[str]]:
    """The cells of every row, without a spreadsheet's empty columns.

    One column without a name is kept: pandas writes a table's index so.
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
                    f"{path}, {place}: {cells[i]!r} stands in column {i + 1}, which has no name; "
                    "name the column or remove it"
                )
        yield [cell for i, cell in enumerate(cells) if i not in unnamed] if unnamed else cells


def _whole(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One table of all chunks, in which equal cells of a column are one string in memory.

    Most cells repeat a few words: a pointer each, where a string each takes seven times as much.
    """
    columns: dict[Hashable, list[str]] = {}
    shared: dict[Hashable, dict[str, str]] = {}
    for part in parts:
        for name in part:
            known = shared.setdefault(name, {})
            if len(known) > MOST_SHARED:
                known.clear()  # of ids and titles, hardly any comes again
            cells = [known.setdefault(cell, cell) for cell in part[name]]
            columns.setdefault(name, []).extend(cells)
    arrays = {name: np.array(columns.pop(name), dtype=object) for name in list(columns)}
    # without the copy that pandas makes to put all columns in one block
    table = pd.DataFrame(arrays, dtype=object, copy=False)
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table
