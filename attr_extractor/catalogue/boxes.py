"""Product boxes: four cells of a row that say where on its photos the product is.

A cell has as many numbers as the row has photos, parted by | as the photos are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from attr_extractor.catalogue.table import require_column
from attr_extractor.errors import InputError
from attr_extractor.schema import SEPARATOR, Schema

_BETWEEN = "\x1f"  # the unit separator parts the four cells in one text


def columns(
    named: Sequence[str], table: Collection[str], schema: Schema, catalogue: str | Path
) -> list[str]:
    """The four columns that a flag names, under the names they have once the table is read.

    Args:
      table: the columns of the table as it was read with the schema.

    Raises:
      InputError: not four columns or none, or one that the table does not have.
    """
    if len(named) not in (0, 4):
        raise InputError(
            f"--box_columns {','.join(named)}: name four columns, "
            "the left, top, right and bottom edge of the product in pixels"
        )
    return [require_column(column, table, schema, catalogue) for column in named]


def join(cells: Sequence[str]) -> str:
    """One text for a row's four cells; "" where all are empty."""
    return _BETWEEN.join(cells) if any(cell.strip() for cell in cells) else ""


def of_photos(box: str, count: int) -> list[list[str]]:
    """The four cells for each of a row's photos; none where the row has no box.

    Where the numbers are not as many as the photos, each photo gets the whole cells, which are no
    numbers then.
    """
    if not box:
        return [[]] * count
    cells = box.split(_BETWEEN)
    parts = [cell.split(SEPARATOR) for cell in cells]
    if all(len(part) == count for part in parts):
        return [list(of_photo) for of_photo in zip(*parts)]
    return [[cell + SEPARATOR for cell in cells]] * count
