"""The seller's table, every cell a string and nothing guessed about it.

Columns that the schema renames come back under the schema's names; "NA" stays the text "NA",
because only the schema says what else than an empty cell means missing.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pandas as pd

from attr_extractor.errors import InputError, did_you_mean, require_file
from attr_extractor.schema import SEPARATOR, Schema

PRODUCT_ID, IMAGE = "product_id", "image"


def read_columns(path: str | Path) -> pd.DataFrame:
    """All columns of a CSV or TSV file, cells as text, "" where empty.

    Raises:
      InputError: no such file, not a table, no rows, or two columns of one name.
    """
    path = require_file(path, "the catalogue")
    delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    lines = _lines(path, delimiter)
    header = [name.strip() for name in next(lines, (0, []))[1]]
    if not header:
        raise InputError(f"{path}: the catalogue is empty")
    for name in header:
        if header.count(name) > 1:
            raise InputError(f"{path}: the column {name!r} stands twice")
    rows = []
    for number, cells in lines:
        if len(cells) > len(header):
            raise InputError(
                f"{path}, line {number}: the catalogue cannot be read as a table: "
                f"{len(cells)} cells under {len(header)} columns"
            )
        rows.append(cells + [""] * (len(header) - len(cells)))
    if not rows:
        raise InputError(f"{path}: the catalogue has a header and no rows")
    return pd.DataFrame(rows, columns=header, dtype=object)


def _lines(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row that is not blank.

    The csv module in its strict form, not pandas: a stray quote is an error there, where pandas
    reads the rows up to the next quote as one cell.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in reader:
                if any("\0" in cell for cell in cells):
                    raise csv.Error("a NUL character")
                if cells:
                    yield reader.line_num, cells
    except csv.Error as error:
        place = f"{path}, line {reader.line_num}"
        raise InputError(f"{place}: the catalogue cannot be read as a table: {error}") from error
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: the catalogue cannot be read as a table: {error}") from error


def read_catalogue(path: str | Path, schema: Schema, require_all: bool = True) -> pd.DataFrame:
    """The table with the schema's columns under the schema's names, other columns as they are.

    Args:
      require_all: whether every attribute must have a column; a table to be filled need not.

    Raises:
      InputError: as `read_columns`, or a column that the schema needs is not there.
    """
    table = read_columns(path)
    attributes = schema.names if require_all else []
    for name in [PRODUCT_ID, IMAGE, *attributes]:
        column = schema.column(name)
        if column not in table.columns:
            raise InputError(
                f"{path}: the column {column!r} is missing{did_you_mean(column, table.columns)} "
                "(the schema's `columns` can rename one)"
            )
    names = {schema.column(name): name for name in [PRODUCT_ID, IMAGE, *schema.names]}
    for column in table.columns:
        if column not in names and column in names.values():
            raise InputError(
                f"{path}: the column {column!r} is in the way: the schema reads "
                f"{schema.column(column)!r} under that name; rename or drop one"
            )
    return table.rename(columns=names)


def cells_of(table: pd.DataFrame) -> list[dict[str, str]]:
    """The rows as dictionaries of cells by column."""
    return cast("list[dict[str, str]]", table.to_dict("records"))


def image_paths(cell: str) -> list[str]:
    """The photos that an image cell lists, below the image root."""
    return [path.strip() for path in cell.split(SEPARATOR) if path.strip()]
