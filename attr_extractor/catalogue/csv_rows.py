"""Rows of a CSV file that come back as they were written.

Python's csv leaves a lone carriage return bare where lines end with a line feed, and every reader
takes it for the end of a row. A row that holds one is written with all its cells in quotes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TextIO


class CsvWriter:
    """Writes rows of texts to a file that was opened with newline=""."""

    def __init__(self, file: TextIO):
        self._plain = csv.writer(file, lineterminator="\n")
        self._quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def writerow(self, cells: Iterable[object]) -> None:
        """One row, of texts and numbers."""
        row = ["" if cell is None else str(cell) for cell in cells]
        has_return = any("\r" in cell for cell in row)
        (self._quoted if has_return else self._plain).writerow(row)

    def writerows(self, rows: Iterable[Iterable[object]]) -> None:
        """Several rows."""
        for row in rows:
            self.writerow(row)
