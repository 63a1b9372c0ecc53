"""Product boxes: four cells of a row that locate the product on the row's photos.

A cell contains one number per photo, separated by | like the photos.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from attr_extractor.catalogue.table import require_column
from attr_extractor.errors import InputError
from attr_extractor.schema import SEPARATOR, Schema

_BETWEEN = "\x1f"  # the unit separator joins the four cells


def columns(
    named: Sequence[str], table: Collection[str], schema: Schema, catalogue: str | Path
) -> list[str]:
    """Return the four box columns named by a flag, under their names in the table as read.

    Args:
      named: the columns that the flag names; empty for no boxes.
      table: the columns of the table as read with the schema.

    Raises:
      InputError: if the number of columns is neither 0 nor 4, or a column is missing.
    """
    if len(named) not in (0, 4):
        raise InputError(
            f"--box_columns {','.join(named)}: name four columns, "
            "the left, top, right and bottom edge of the product in pixels"
        )
    return [require_column(column, table, schema, catalogue) for column in named]


def join(cells: Sequence[str]) -> str:
    """Join a row's four cells into one text; "" if all are empty."""
    return _BETWEEN.join(cells) if any(cell.strip() for cell in cells) else ""


def of_photos(box: str, count: int) -> list[list[str]]:
    """Return the four cells of each of a row's photos; empty lists if the row has no box.

    If a cell does not contain one number per photo, each photo gets the unsplit cells, which then
    fail to parse as numbers.
    """
    if not box:
        return [[]] * count
    cells = box.split(_BETWEEN)
    parts = [cell.split(SEPARATOR) for cell in cells]
    if all(len(part) == count for part in parts):
        return [list(of_photo) for of_photo in zip(*parts)]
    return [[cell + SEPARATOR for cell in cells]] * count
