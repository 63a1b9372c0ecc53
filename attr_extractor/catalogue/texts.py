"""The text of a product: the cells of the schema's text columns, such as title and brand."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from attr_extractor.catalogue import table
from attr_extractor.schema import Schema

LONGEST = 1000  # characters that are kept of a product's text


def columns(named: Iterable[str], schema: Schema, origin: str, required: bool = True) -> list[str]:
    """Return the text columns under the names with which the table was read.

    Args:
      named: the columns of a table by the schema's names.
      origin: the table, for errors.
      required: whether the table must have all of them; otherwise those that it has are returned.

    Raises:
      InputError: if the table lacks one of them and they are required.
    """
    there = list(named)
    if required:
        return [table.require_column(column, there, schema, origin) for column in schema.text]
    found = (table.find_column(column, there, schema) for column in schema.text)
    return [column for column in found if column is not None]


def of_rows(rows: pd.DataFrame, text_columns: list[str]) -> list[str]:
    """Return the text of each row."""
    if not text_columns:
        return [""] * len(rows)
    return [join(cells) for cells in zip(*(rows[column] for column in text_columns))]


def join(cells: Iterable[str]) -> str:
    """Join cells by a space, with single spaces within them; keep at most LONGEST characters."""
    return " ".join(" ".join(cell[: 2 * LONGEST].split()) for cell in cells if cell)[:LONGEST]
