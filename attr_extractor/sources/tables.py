"""Read tables of answers: of a vendor's tagger, a language model, a model of this package, people.

Long form: `product_id`, `attribute`, `value`, optional `confidence` (0 to 1, default 1) and
`source` (default: the file's name). An empty value says that the product has no value of the
attribute. Several values are several rows, or separated by `|`.

Wide form: `product_id` and a column per attribute, under the seller's or the schema's name, with
optional `<name>_confidence` and `<name>_source`, as `attr-extractor predict` writes them. An empty
cell is no answer, unless its source is `not applicable`. Cells of the source `seller` are left out.

Cells of `attr-extractor predict --cells`: a model's best value of every cell, also of filled ones,
with its score; of an attribute with several values the answered ones.

In all, a cell that means "not known" in the schema (`missing_values`) is no answer. The table is
read in chunks; Python parses each distinct cell once.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from attr_extractor import labels, storage, working_copy
from attr_extractor.catalogue import table
from attr_extractor.errors import InputError, did_you_mean, parsing, require_file
from attr_extractor.schema import SEPARATOR, Schema
from attr_extractor.sources import source_table
from attr_extractor.sources.source_table import SourceIssue, SourceRows, SourceTable, ranges

__all__ = ["SourceIssue", "SourceTable", "read_all", "read_sources"]

_PROPOSED = ("proposed", "proposed_scores")  # of cells, see enrichment/cells.py
ATTRIBUTE, VALUE, CONFIDENCE, SOURCE = "attribute", "value", "confidence", "source"
SELLER, NOT_APPLICABLE = "seller", "not applicable"  # sources of cells, see enrichment/fill
MOST_SOURCES = 64
_PARSED = 200_000  # distinct cells whose answers are kept

Codes = Tuple[int, ...]  # see source_table; () is no answer


class _Parsed(NamedTuple):
    """Answers of a cell, and the kind of issue that makes it unusable."""

    codes: Codes
    issue: Optional[str] = None
    text: str = ""  # the part of the cell that has the issue


class _Column(NamedTuple):
    """Columns of an attribute in a wide table; "" if there is none."""

    cells: str
    confidence: str
    source: str


def read_sources(path: str | Path, schema: Schema) -> list[SourceTable]:
    """Read a table of answers, on disk or in a bucket; a table for each distinct source.

    A cell with an issue gives no answer: an unknown attribute or value, several values of an
    exclusive attribute, rows of a product that disagree, or a confidence that is unreadable or
    outside 0 to 1. Issues are counted and listed. Of equal answers the highest confidence counts.

    Raises:
      InputError: if the file is not a table, if it has no column of product ids or names no
        attribute of the schema, or if it has more than MOST_SOURCES sources.
    """
    return read_all([path], schema)


def read_all(paths: Sequence[str | Path], schema: Schema) -> list[SourceTable]:
    """Read several tables as `read_sources` does; parts of one source are one table."""
    answers = _Answers(schema)
    for path in paths:
        _read(path, answers)
    return answers.finish()


def _read(path: str | Path, answers: _Answers) -> None:
    schema = answers.schema
    if not storage.is_remote(path):
        require_file(path, "the table of answers")
    reader: _LongReader | _WideReader | None = None
    for chunk in _chunks(path, schema):
        if reader is None:
            names = [str(name) for name in chunk.columns]
            product = _column_of(table.PRODUCT_ID, names, schema, path)
            if not product:
                wanted = schema.column(table.PRODUCT_ID)
                raise InputError(
                    f"{path}: the column {wanted!r} is missing{did_you_mean(wanted, names)}"
                )
            form = _LongReader if {ATTRIBUTE, VALUE} <= set(names) else _WideReader
            reader = form(path, answers, names, product)
        reader.add(chunk)
        answers.end_chunk()
    if reader is None:  # only of cells: another table without rows is refused
        raise InputError(f"{path}: no cell has an answer")
    reader.require_known()


def _chunks(path: str | Path, schema: Schema) -> Iterator[pd.DataFrame]:
    """Yield a table in chunks; cells of `predict --cells` in long form."""
    is_parquet = Path(path).suffix.lower() in (".parquet", ".pq")
    cells = _open_cells(path) if is_parquet else None
    if cells is None:
        yield from table.chunks(path)
        return
    several = pa.array([a.name for a in schema.attributes if not a.exclusive], pa.string())
    columns = [table.PRODUCT_ID, ATTRIBUTE, "answer", *_PROPOSED]
    with parsing(f"{path}: damaged"):
        for batch in cells.iter_batches(table.ROWS_PER_CHUNK, columns=columns):
            seen = pa.Table.from_batches([batch])
            seen = seen.filter(pc.greater(pc.list_value_length(seen["proposed"]), 0))
            long = _rows_of_values(seen.combine_chunks(), several)
            if len(long):
                yield long.to_pandas()


def _rows_of_values(cells: pa.Table, several: pa.Array) -> pa.Table:
    """Return cells in long form, each value with its score.

    Args:
      cells: with at least one proposed value each.
      several: names of attributes whose answered values are returned; of others it is the best one.
    """
    owner = pc.list_parent_indices(cells["proposed"]).combine_chunks()  # row of each value
    flat = (pc.list_flatten(cells[name]).combine_chunks() for name in _PROPOSED)
    value, score = (part.cast(kind) for part, kind in zip(flat, (pa.string(), pa.float32())))
    answered = pc.split_pattern(cells["answer"], SEPARATOR)
    of_answers = (pc.list_parent_indices(answered), pc.list_flatten(answered))
    proposed, named = (
        pc.binary_join_element_wise(row.cast(pa.string()), text, SEPARATOR)
        for row, text in ((owner, value), of_answers)
    )
    is_answered = pc.is_in(proposed, value_set=named.combine_chunks())
    is_best = pa.array(np.diff(owner.to_numpy(), prepend=-1) > 0)
    is_several = pc.is_in(cells[ATTRIBUTE].combine_chunks(), value_set=several).take(owner)
    keep = pc.if_else(is_several, is_answered, is_best)
    long = cells.select([table.PRODUCT_ID, ATTRIBUTE]).take(owner.filter(keep))
    long = long.append_column(VALUE, value.filter(keep))
    return long.append_column(CONFIDENCE, score.filter(keep).cast(pa.string()))


def _open_cells(path: str | Path) -> pq.ParquetFile | None:
    """Open a file of cells; None if it is another table, or none."""
    try:
        # newer releases of PyArrow would prefetch the whole file
        file = pq.ParquetFile(working_copy.file(path), pre_buffer=False)
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return None  # `table.chunks` says what is wrong
    return file if {"answer", *_PROPOSED} <= set(file.schema_arrow.names) else None


def _column_of(name: str, columns: Sequence[str], schema: Schema, path: str | Path) -> str:
    """Return the column of an attribute or of the product ids; "" if there is none."""
    present = [each for each in dict.fromkeys([schema.column(name), name]) if each in columns]
    if len(present) > 1:
        raise InputError(
            f"{path}: the columns {present[0]!r} and {present[1]!r} are both {name}; drop one"
        )
    return present[0] if present else ""


class _Answers:
    """The answers of all sources in the tables that were read."""

    def __init__(self, schema: Schema):
        self.schema = schema
        self.positions: Dict[str, int] = {}  # of the products
        self._sources: Dict[str, SourceRows] = {}
        self._named: Dict[str, List[np.ndarray]] = {}

    def rows_of(self, source: str, path: str | Path) -> SourceRows:
        """Return the answers of a source, which `path` names."""
        if source not in self._sources:
            if len(self._sources) == MOST_SOURCES:
                raise InputError(
                    f"{path}: more than {MOST_SOURCES} sources in the column {SOURCE!r}; it "
                    "names who answered, such as a vendor"
                )
            self._sources[source] = SourceRows(source, self.schema)
        return self._sources[source]

    def name_products(self, source: str, positions: np.ndarray) -> None:
        """Note the products that a source names."""
        self._named.setdefault(source, []).append(np.unique(positions))

    def end_chunk(self) -> None:
        """Finish the rows of a chunk."""
        for rows in self._sources.values():
            rows.end_chunk()

    def finish(self) -> list[SourceTable]:
        """Return a table for each source, in order of appearance."""
        tables = []
        for name, rows in self._sources.items():
            named = np.zeros(len(self.positions), bool)
            for positions in self._named.pop(name, []):
                named[positions] = True
            tables.append(rows.finish(self.positions, named))
        return tables


class _Reader:
    """Collects the answers of a table, chunk by chunk."""

    def __init__(self, path: str | Path, answers: _Answers, columns: Sequence[str], product: str):
        self.path, self.answers, self.schema = path, answers, answers.schema
        self.product, self.columns = product, columns
        self.default_name = Path(storage.file_name(str(path))).stem
        self._parsed = functools.lru_cache(maxsize=_PARSED)(self._parse)

    def require_known(self) -> None:
        """Raise InputError if the table names no attribute of the schema."""

    def positions_of(self, chunk: pd.DataFrame) -> np.ndarray:
        """Return the position of each row's product, int32 [R]; -1 without a product id."""
        code, distinct = pd.factorize(chunk[self.product].to_numpy())
        seen = self.answers.positions
        positions = [
            seen.setdefault(product, len(seen)) if product else -1
            for product in map(str.strip, distinct)
        ]
        return np.array(positions, np.int32)[code]

    def with_product(
        self, rows: SourceRows, chunk: pd.DataFrame, positions: np.ndarray
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """Return the rows that have a product id, and its position; count the others."""
        named = positions >= 0
        if named.all():
            return chunk, positions
        rows.issues.add(source_table.NO_PRODUCT, "", "", int((~named).sum()))
        return chunk[named], positions[named]

    def no_value(self, t: int) -> Codes:
        """Return the answer that attribute t has no value."""
        return (self.schema.num_values + t,)

    def unusable(self, t: int) -> Codes:
        """Return the mark of a cell of attribute t that cannot be used."""
        return (self.schema.num_values + len(self.schema.names) + t,)

    def _parse(self, t: int, cell: str) -> _Parsed:
        """Return the answers of a cell of attribute t."""
        schema, attribute = self.schema, self.schema.attributes[t]
        parts = cell.split(SEPARATOR)
        if not any(part.strip() for part in parts):
            return _Parsed(self.no_value(t))
        if schema.is_missing(cell):
            return _Parsed(())
        # `labels.parse` also looks for the nearest value, which takes long
        for part in parts:
            if not schema.is_missing(part) and attribute.value_of(part) is None:
                return _Parsed(self.unusable(t), source_table.UNKNOWN_VALUE, part.strip())
        values, _ = labels.parse(attribute, cell, schema)
        if attribute.exclusive and len(values) > 1:
            return _Parsed(self.unusable(t), source_table.SEVERAL_VALUES, cell.strip())
        start = schema.slices[attribute.name].start
        return _Parsed(tuple(start + value for value in values))


class _LongReader(_Reader):
    """Reads a row per answer."""

    def __init__(self, path: str | Path, answers: _Answers, columns: Sequence[str], product: str):
        super().__init__(path, answers, columns, product)
        schema = self.schema
        self._attributes = {schema.column(name): t for name, t in schema.index.items()}
        self._attributes.update(schema.index)
        self._first, self._any_known = "", False

    def add(self, chunk: pd.DataFrame) -> None:
        """Add the rows of a chunk."""
        positions = self.positions_of(chunk)
        source, names = np.zeros(len(chunk), np.int64), [self.default_name]
        if SOURCE in self.columns:
            source, distinct = pd.factorize(chunk[SOURCE].to_numpy())
            stripped = [name.strip() or self.default_name for name in distinct]
            names = list(dict.fromkeys(stripped))
            source = np.array([names.index(name) for name in stripped])[source]
        for i, name in enumerate(names):
            where, rows = source == i, self.answers.rows_of(name, self.path)
            part, of_part = self.with_product(rows, chunk[where], positions[where])
            self.answers.name_products(name, of_part)
            if len(part):
                self._add(rows, part, of_part)

    def require_known(self) -> None:
        """Raise InputError if no row names an attribute of the schema."""
        if not self._any_known:
            raise InputError(
                f"{self.path}: its column {ATTRIBUTE!r} names no attribute of the schema, but "
                f"{self._first!r}{did_you_mean(self._first, self.schema.names)}"
            )

    def _add(self, rows: SourceRows, chunk: pd.DataFrame, positions: np.ndarray) -> None:
        attribute, names = pd.factorize(chunk[ATTRIBUTE].to_numpy())
        value, values = pd.factorize(chunk[VALUE].to_numpy())
        pairs, pair = np.unique(attribute * len(values) + value, return_inverse=True)
        counts = np.bincount(pair, minlength=len(pairs))
        numbers = [self._attributes.get(name.strip(), -1) for name in names]
        self._any_known |= max(numbers) >= 0
        self._first = self._first or names[0]
        cells, of_pair, usable = [], [], []
        for (a, v), count in zip(((p // len(values), p % len(values)) for p in pairs), counts):
            t, issue = numbers[a], source_table.UNKNOWN_ATTRIBUTE
            parsed = _Parsed((), issue) if t < 0 else self._parsed(t, values[v])
            cells.append(parsed.codes)
            of_pair.append(t)
            usable.append(bool(parsed.codes) and not parsed.issue)
            if parsed.issue:
                name = names[a].strip() if t < 0 else self.schema.names[t]
                rows.issues.add(parsed.issue, name, parsed.text, int(count))
        confidence = _Confidence.of(chunk[CONFIDENCE] if CONFIDENCE in self.columns else None)
        owner = np.array(of_pair, np.int64)[pair]
        bad = np.array(usable)[pair] & confidence.bad(len(pair))
        for t in np.unique(owner[bad]).tolist():
            confidence.count_issues(rows, self.schema.names[t], bad & (owner == t))
        all_cells = [*cells, *(self.unusable(t) for t in range(len(self.schema.names)))]
        which = np.where(bad, len(cells) + owner, pair)
        _add_answers(rows, positions, all_cells, which, confidence.values)


class _WideReader(_Reader):
    """Reads a column per attribute."""

    def __init__(self, path: str | Path, answers: _Answers, columns: Sequence[str], product: str):
        super().__init__(path, answers, columns, product)
        schema = self.schema
        self._columns: Dict[int, _Column] = {}
        for t, name in enumerate(schema.names):
            cells = _column_of(name, columns, schema, path)
            if cells:
                beside = (
                    next((f"{n}_{what}" for n in (name, cells) if f"{n}_{what}" in columns), "")
                    for what in (CONFIDENCE, SOURCE)
                )
                self._columns[t] = _Column(cells, *beside)
        if not self._columns:
            raise InputError(
                f"{path}: no column is an attribute of the schema, and there are no columns "
                f"{ATTRIBUTE!r} and {VALUE!r}; attributes are {', '.join(schema.names[:5])}"
            )
        taken = {column for each in self._columns.values() for column in each} | {product}
        self._unknown = [
            name
            for name in columns
            if name not in taken
            and (f"{name}_{CONFIDENCE}" in columns or source_table.similar_attribute(name, schema))
        ]

    def add(self, chunk: pd.DataFrame) -> None:
        """Add the rows of a chunk."""
        rows = self.answers.rows_of(self.default_name, self.path)
        chunk, positions = self.with_product(rows, chunk, self.positions_of(chunk))
        if not len(chunk):
            return
        self.answers.name_products(self.default_name, positions)
        for name in self._unknown:
            filled = int((chunk[name].str.strip() != "").sum())
            if filled:
                rows.issues.add(source_table.UNKNOWN_ATTRIBUTE, name, "", filled)
        for t, column in self._columns.items():
            self._add(rows, chunk, positions, t, column)

    def _add(
        self,
        rows: SourceRows,
        chunk: pd.DataFrame,
        positions: np.ndarray,
        t: int,
        column: _Column,
    ) -> None:
        """Add the cells of an attribute."""
        cell, distinct = pd.factorize(chunk[column.cells].to_numpy())
        is_seller, is_not_applicable = _sources(chunk[column.source] if column.source else None)
        parsed = [self._parsed(t, text) for text in distinct]
        blank = np.array([each.codes == self.no_value(t) for each in parsed])[cell]
        of_seller = is_seller & ~blank
        rows.seller_cells += int(of_seller.sum())
        answers = np.array([bool(each.codes) for each in parsed])[cell] & ~blank & ~of_seller
        counts = np.bincount(cell[answers], minlength=len(distinct))
        for each, count in zip(parsed, counts.tolist()):
            if each.issue and count:
                rows.issues.add(each.issue, self.schema.names[t], each.text, count)
        confidence = _Confidence.of(chunk[column.confidence] if column.confidence else None)
        sound = np.array([not each.issue for each in parsed])[cell]
        bad = answers & sound & confidence.bad(len(cell))
        confidence.count_issues(rows, self.schema.names[t], bad)
        cells = [*(each.codes for each in parsed), (), self.no_value(t), self.unusable(t)]
        none = len(parsed)
        which = np.select(
            [bad, blank & is_not_applicable, blank | of_seller], [none + 2, none + 1, none], cell
        )
        _add_answers(rows, positions, cells, which, confidence.values)


class _Confidence(NamedTuple):
    """The column of confidences, or 1 for every row."""

    values: np.ndarray | None = None  # float32 [R]; None: 1
    code: np.ndarray | None = None  # int64 [R], position in `texts`
    texts: Sequence[str] = ()
    issues: Sequence[str] = ()  # kind of issue of each text; "" if there is none

    @classmethod
    def of(cls, column: pd.Series | None) -> _Confidence:
        """Read a column of texts; an empty cell is 1."""
        if column is None:
            return cls()
        code, texts = pd.factorize(column.to_numpy())
        stripped = [text.strip() for text in texts]
        numbers = pd.to_numeric(pd.Series([text or "1" for text in stripped]), errors="coerce")
        values = numbers.to_numpy(np.float64)
        issues = [
            source_table.UNREADABLE
            if value != value
            else ("" if 0 <= value <= 1 else source_table.OUTSIDE)
            for value in values.tolist()
        ]
        return cls(values.astype(np.float32)[code], code, stripped, issues)

    def bad(self, rows: int) -> np.ndarray:
        """Return which rows have an unusable confidence, bool [R]."""
        if self.code is None:
            return np.zeros(rows, bool)
        return np.array([bool(issue) for issue in self.issues])[self.code]

    def count_issues(self, rows: SourceRows, name: str, bad: np.ndarray) -> None:
        """Count the issues of an attribute's cells in the rows `bad`, bool [R]."""
        if self.code is None or not bad.any():
            return
        counts = np.bincount(self.code[bad], minlength=len(self.texts))
        for text, issue, count in zip(self.texts, self.issues, counts.tolist()):
            if count:
                rows.issues.add(issue, name, text, count)


def _sources(column: pd.Series | None) -> tuple[np.ndarray, np.ndarray]:
    """Return which cells have the source `seller`, and which `not applicable`, bool [R]."""
    if column is None:
        return np.array(False), np.array(False)
    source = column.str.strip()
    return (source == SELLER).to_numpy(), (source == NOT_APPLICABLE).to_numpy()


def _add_answers(
    rows: SourceRows,
    positions: np.ndarray,
    cells: Sequence[Codes],
    cell: np.ndarray,
    confidence: np.ndarray | None,
) -> None:
    """Add the answers of R cells.

    Args:
      positions: of their products, int32 [R].
      cells: the codes of each distinct cell.
      cell: position of each cell in `cells`, int [R].
      confidence: float32 [R]; None: 1.
    """
    sizes = np.array([len(codes) for codes in cells])
    codes = np.array([code for each in cells for code in each], np.int32)
    count = sizes[cell]
    row = np.repeat(np.arange(len(cell)), count)
    code = codes[ranges((np.cumsum(sizes) - sizes)[cell], count)]
    sure = np.ones(len(row), np.float32) if confidence is None else confidence[row]
    rows.add(positions[row], code, sure)
