"""CSV writer and reader with an exact round trip: every cell is read back as it was written.

Python's csv does not quote a lone carriage return if lines end with a line feed, but readers treat
it as the end of a row; a byte order mark at the start of a file is dropped by readers. If a row
contains either, all its cells are quoted.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from attr_extractor import storage

MAX_CELL = 2**20  # characters per cell in every table format; readers hold a whole cell in memory
_BYTE_ORDER_MARK = "\ufeff"
# First characters that make a spreadsheet evaluate a cell (OWASP, "CSV Injection")
_FORMULA = re.compile("[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_BLOCK = 2**20  # characters per write


class CsvWriter:
    """Writer of rows of text to a file opened with newline=""."""

    def __init__(self, file: TextIO, escape_formulas: bool = False):
        """See `write_csv`."""
        self._plain = csv.writer(file, lineterminator="\n")
        self._quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        self._escape_formulas = escape_formulas

    def writerow(self, cells: Iterable[object]) -> None:
        """Write one row of texts and numbers."""
        row = ["" if cell is None else str(cell) for cell in cells]
        if self._escape_formulas:
            row = [_escaped(cell) for cell in row]
        quoted = any("\r" in cell or cell.startswith(_BYTE_ORDER_MARK) for cell in row)
        (self._quoted if quoted else self._plain).writerow(row)

    def writerows(self, rows: Iterable[Iterable[object]]) -> None:
        """Write several rows."""
        for row in rows:
            self.writerow(row)


def write_csv(
    path: str | Path,
    header: Iterable[object],
    rows: Iterable[Iterable[object]],
    escape_formulas: bool = False,
) -> None:
    """Write a table as CSV atomically.

    Args:
      rows: texts and numbers; None is an empty cell. Rows are consumed one by one.
      escape_formulas: prefix with an apostrophe the cells that a spreadsheet would evaluate.

    Raises:
      InputError: see `storage.whole`.
    """
    with storage.whole(path) as temporary, open(temporary, "wb") as file:
        text = io.StringIO(newline="")
        writer = CsvWriter(text, escape_formulas)
        writer.writerow(header)
        for row in rows:
            writer.writerow(row)
            if text.tell() > _BLOCK:
                file.write(text.getvalue().encode())
                text.seek(0)
                text.truncate()
        file.write(text.getvalue().encode())


def read_csv(text: TextIO, delimiter: str = ",") -> Any:
    """Return a `csv.reader` of a file opened with newline="".

    The reader raises csv.Error at a misplaced quote and at a cell of more than MAX_CELL
    characters (for example if the closing quote is missing).
    """
    csv.field_size_limit(MAX_CELL)  # process-wide; the default is 131,072
    return csv.reader(text, delimiter=delimiter, strict=True)


def _escaped(cell: str) -> str:
    computes = _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if computes else cell
