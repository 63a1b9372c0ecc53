"""CSV files written and read in one way: every cell comes back as it was written.

Python's csv leaves a lone carriage return bare where lines end with a line feed, and every reader
takes it for the end of a row; a byte order mark that begins a file is taken for no text at all. A
row that holds either is written with all its cells in quotes.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from attr_extractor import storage

MAX_CELL = 2**20  # characters of a cell, in every table format: of those a reader holds one whole
_BYTE_ORDER_MARK = "\ufeff"
# What makes a spreadsheet compute a cell instead of showing it (OWASP, "CSV Injection")
_FORMULA = re.compile("[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_BLOCK = 2**20  # characters that are written at once


class CsvWriter:
    """Writes rows of texts to a file that was opened with newline=""."""

    def __init__(self, file: TextIO, escape_formulas: bool = False):
        """See `write_csv`."""
        self._plain = csv.writer(file, lineterminator="\n")
        self._quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        self._escape_formulas = escape_formulas

    def writerow(self, cells: Iterable[object]) -> None:
        """One row, of texts and numbers."""
        row = ["" if cell is None else str(cell) for cell in cells]
        if self._escape_formulas:
            row = [_escaped(cell) for cell in row]
        quoted = any("\r" in cell or cell.startswith(_BYTE_ORDER_MARK) for cell in row)
        (self._quoted if quoted else self._plain).writerow(row)

    def writerows(self, rows: Iterable[Iterable[object]]) -> None:
        """Several rows."""
        for row in rows:
            self.writerow(row)


def write_csv(
    path: str | Path,
    header: Iterable[object],
    rows: Iterable[Iterable[object]],
    escape_formulas: bool = False,
) -> None:
    """Write a table as CSV, whole or not at all.

    Args:
      rows: of texts and numbers, None is an empty cell; they are asked for one by one.
      escape_formulas: begin cells that a spreadsheet would compute with an apostrophe.

    Raises:
      InputError: see `storage.whole`.
    """
    with storage.whole(path) as temporary, storage.open_write(temporary) as file:
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
    """Return a `csv.reader` of a file that was opened with newline="".

    It raises csv.Error at a quote that is out of place, and at a cell of more than MAX_CELL
    characters, as one has whose closing quote is missing.
    """
    csv.field_size_limit(MAX_CELL)  # of the process; 131,072 by default
    return csv.reader(text, delimiter=delimiter, strict=True)


def _escaped(cell: str) -> str:
    computes = _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if computes else cell
