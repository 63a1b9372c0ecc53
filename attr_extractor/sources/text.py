"""Mine a table's text columns for values, as a label source.

The table is read twice: first to measure how often each value is right, on the cells that the
seller filled, then to write the rows. Mining has no parameters, so nothing is held out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from attr_extractor import labels, ownership, storage
from attr_extractor.catalogue import table, texts
from attr_extractor.catalogue.csv_rows import write_csv
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema
from attr_extractor.sources import writer
from attr_extractor.sources.spellings import Finder
from attr_extractor.sources.writer import SourceRow

SOURCE = "text"
PRIOR = 5.0  # cells for which the precision of all cells counts in that of an attribute or value
REPORT = ("attribute", "value", "rows", "judged", "right", "precision", "confidence")
FEW = 5  # a value is listed among the worst from this number of judged cells on


class Mined(NamedTuple):
    """Values that the texts of a chunk of R rows name, and what is known of its cells."""

    products: list[str]  # R
    named: np.ndarray  # bool [R, V]: values that the row's text names
    labels: np.ndarray  # int8 [R, V]: the seller's, see `labels.encode`


@dataclass
class Precision:
    """Counts of all V values, over the rows of a table."""

    schema: Schema
    rows: int  # with a product_id
    without_id: int
    named: np.ndarray  # int64 [V], rows whose text names the value
    judged: np.ndarray  # int64 [V], those of them whose cell is filled
    right: np.ndarray  # int64 [V], those of them whose cell has the value
    missing: np.ndarray  # int64 [V], those of `named` whose cell is missing
    dropped: np.ndarray  # int64 [T, 2], cells: does not apply or allowed; several values

    def confidence(self) -> np.ndarray:
        """Return float64 [V], the posterior mean of each value's precision.

        A beta prior worth PRIOR cells has the mean of the attribute's precision, which is drawn to
        the precision of all cells in the same way; theirs has Laplace's prior.
        """
        starts = np.cumsum([0, *self.schema.sizes[:-1]])
        right, judged = (np.add.reduceat(n, starts) for n in (self.right, self.judged))
        overall = (right.sum() + 1) / (judged.sum() + 2)
        of_attribute = (right + PRIOR * overall) / (judged + PRIOR)
        prior = of_attribute[self.schema.attribute_of_value]
        return (self.right + PRIOR * prior) / (self.judged + PRIOR)

    def summary(self) -> str:
        """Return a line for each attribute: coverage, precision and the worst values."""
        cells = (self.named, self.judged, self.right, self.missing)
        header = ("attribute", "rows", "coverage", "judged", "precision", "missing", "worst values")
        lines = ["{:16}{:>9}{:>10}{:>9}{:>11}{:>9}  {}".format(*header)]
        for t, attribute in enumerate(self.schema.attributes):
            where = self.schema.slices[attribute.name]
            named, judged, right, missing = (int(c[where].sum()) for c in cells)
            share = f"{named / max(self.rows, 1):.1%}"
            precision = f"{right / judged:.3f}" if judged else "-"
            counts = f"{named:>9,}{share:>10}{judged:>9,}{precision:>11}{missing:>9,}"
            lines.append(f"{attribute.name:16}{counts}  {self._worst(t)}".rstrip())
        several, not_allowed = (int(n) for n in self.dropped.sum(axis=0)[::-1])
        return "\n".join(
            [
                *lines,
                "missing: named where the seller's cell is missing",
                f"not used: {not_allowed:,} cells of attributes or values that do not apply to "
                f"the category, {several:,} that name several values of an exclusive attribute",
                f"{self.rows:,} rows" + self._skipped(),
            ]
        )

    def _skipped(self) -> str:
        return f", and {self.without_id:,} without a product_id" if self.without_id else ""

    def _worst(self, t: int) -> str:
        """Return the three values of an attribute with the lowest precision."""
        attribute = self.schema.attributes[t]
        first = self.schema.slices[attribute.name].start
        measured = [
            (self.right[first + i] / self.judged[first + i], value, self.judged[first + i])
            for i, value in enumerate(attribute.values)
            if self.judged[first + i] >= FEW
        ]
        return ", ".join(f"{value} {p:.2f} of {n:,}" for p, value, n in sorted(measured)[:3])

    def write_report(self, path: str | Path) -> None:
        """Write a CSV with a row for each value, its columns REPORT; see `write_csv` for errors."""
        names = [(a.name, value) for a in self.schema.attributes for value in a.values]
        counts = (self.named, self.judged, self.right, self.confidence())
        rows = (
            (*name, n, judged, right, f"{right / judged:.4f}" if judged else "", f"{p:.4f}")
            for name, n, judged, right, p in zip(names, *(c.tolist() for c in counts))
        )
        write_csv(path, REPORT, rows)


def mine_text(
    catalogue: str | Path,
    schema: Schema,
    output: str | Path,
    columns: Sequence[str] = (),
    report: str | Path | None = None,
) -> Precision:
    """Write the values that the text of each product names, with their measured precision.

    Args:
      catalogue: the seller's table; attributes need no column.
      output: the label source, a new .csv or .parquet file, see `writer.COLUMNS`.
      columns: text columns by the table's own names; by default the schema's.
      report: a new CSV file with the counts of each value.

    Raises:
      InputError: if the table or an output cannot be used, if there is no text column, or if one
        of `columns` is the column of an attribute, product_id or image.
    """
    writer.require_format(output, "--output")
    if not (columns or schema.text):
        raise InputError(
            f"the schema {schema.name!r} names no text columns (`text: [title]`): pass --columns"
        )
    with ownership.new_file(output, "--output"):
        if report is not None:
            storage.require_new_file(report, "--report")
        miner = _Miner(catalogue, schema, columns)
        precision = miner.measure()
        confidence = precision.confidence().tolist()
        names = [(a.name, value) for a in schema.attributes for value in a.values]
        with writer.writing(output) as append:
            for mined in miner.chunks("writing"):
                pairs = np.argwhere(mined.named).tolist()
                append(
                    SourceRow(mined.products[row], names[v][0], names[v][1], confidence[v], SOURCE)
                    for row, v in pairs
                )
        if report is not None:
            precision.write_report(report)
    return precision


class _Miner:
    """Reads a table and finds the values in its texts."""

    def __init__(self, catalogue: str | Path, schema: Schema, columns: Sequence[str]):
        self.catalogue, self.schema, self.columns = catalogue, schema, columns
        self.finder = Finder(schema)
        self.encoder = labels.Encoder(schema)
        self.without_id = 0
        self.dropped = np.zeros([len(schema.attributes), 2], np.int64)

    def measure(self) -> Precision:
        """Count over the whole table."""
        schema = self.schema
        named, judged, right, missing = np.zeros([4, schema.num_values], np.int64)
        starts = np.cumsum([0, *schema.sizes[:-1]])
        # a cell that may leave values out never says that one is wrong
        judges = np.array([a.exclusive or a.unlisted == "absent" for a in schema.attributes])
        judges = judges[schema.attribute_of_value]
        rows = 0
        for mined in self.chunks("measuring"):
            present = mined.labels == labels.PRESENT
            has_cell = np.logical_or.reduceat(present, starts, axis=1)
            has_cell = has_cell[:, schema.attribute_of_value] & (mined.labels != labels.MISSING)
            named += mined.named.sum(axis=0)
            judged += (mined.named & has_cell & judges).sum(axis=0)
            right += (mined.named & present & judges).sum(axis=0)
            missing += (mined.named & (mined.labels == labels.MISSING)).sum(axis=0)
            rows += len(mined.products)
        counts = (named, judged, right, missing, self.dropped.copy())
        return Precision(schema, rows, self.without_id, *counts)

    def chunks(self, what: str) -> Iterator[Mined]:
        """Yield what each chunk's texts name, where it applies and is unambiguous."""
        text_columns: list[str] | None = None
        with tqdm(unit="row", desc=what) as progress:
            for chunk in table.chunks(self.catalogue, self.schema, require_all=False):
                if text_columns is None:
                    text_columns = self._text_columns(list(chunk.columns))
                yield self._mined(chunk, text_columns)
                progress.update(len(chunk))

    def _text_columns(self, there: list[str]) -> list[str]:
        """Return the text columns under the names with which the table is read."""
        if not self.columns:
            return texts.columns(there, self.schema, str(self.catalogue))
        named = [
            table.require_column(column, there, self.schema, self.catalogue)
            for column in self.columns
        ]
        for name in named:
            if name in (table.PRODUCT_ID, table.IMAGE, *self.schema.names):
                raise InputError(f"--columns: {name!r} is an attribute or key, not free text")
        return named

    def _mined(self, chunk: pd.DataFrame, text_columns: list[str]) -> Mined:
        schema = self.schema
        ids = chunk[table.PRODUCT_ID].str.strip()
        self.without_id += int((ids == "").sum())
        chunk = chunk[ids != ""]
        cells = {name: chunk[name].tolist() for name in schema.names if name in chunk}
        encoded = self.encoder.encode(cells, len(chunk))
        named = np.zeros([len(chunk), schema.num_values], bool)
        for row, of_row in enumerate(zip(*(chunk[name].tolist() for name in text_columns))):
            named[row, self.finder.find(of_row)] = True
        # a category that is not known allows all
        allowed = np.concatenate([schema.allowed, np.ones([1, schema.num_values], bool)])
        before = named
        named = named & allowed[encoded.category]
        for t, attribute in enumerate(schema.attributes):
            where = schema.slices[attribute.name]
            several = attribute.exclusive & (named[:, where].sum(axis=1) > 1)
            named[several, where] = False
            not_allowed = before[:, where].any(axis=1) & ~named[:, where].any(axis=1) & ~several
            self.dropped[t] += (int(not_allowed.sum()), int(several.sum()))
        return Mined(ids[ids != ""].tolist(), named, encoded.labels)
