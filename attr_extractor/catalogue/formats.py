"""Readers of table file formats as lines of text cells: CSV, TSV, JSON Lines, Parquet.

Every format yields the same cells for the same table: a null is "", list items are separated by
`|`, an integral float is written as an integer, a date as ISO 8601. Values that cannot be a cell
are rejected.
"""

from __future__ import annotations

import csv
import functools
import io
import itertools
import json
from collections.abc import Iterable, Iterator
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Callable, List, Tuple

import numpy as np

from attr_extractor.catalogue import csv_rows
from attr_extractor.errors import InputError
from attr_extractor.schema import SEPARATOR

_EXACT = 2**53  # below it a float represents every integer exactly
_NO_OBJECT = "expected one JSON object per line"

# The header, then every row: its position ("line 7") and its cells.
Lines = Iterator[Tuple[str, List[str]]]


def reader(path: str | Path) -> Callable[[str | Path, BinaryIO, int], Lines]:
    """Return the reader for a file name; it takes the path, the open file and a batch size in rows.

    The reader yields lines lazily; an empty table yields nothing or an empty header. It raises
    InputError at content that cannot be a cell.

    Raises:
      InputError: if the file extension is not supported.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".csv":
        return functools.partial(_delimited, ",")
    if suffix in (".tsv", ".tab"):
        return functools.partial(_delimited, "\t")
    if suffix in (".jsonl", ".ndjson"):
        return _json_lines
    if suffix in (".parquet", ".pq"):
        return _parquet
    raise InputError(
        f"{path}: the extension {suffix!r} is not a supported table format; supported are "
        "CSV (.csv), TSV (.tsv, .tab), Parquet (.parquet, .pq) and JSON Lines (.jsonl, .ndjson)"
    )


def no_table(path: str | Path, place: str, why: object) -> InputError:
    """Return the error for a file, or a place in it such as "line 7", that is not a table."""
    where = f"{path}, {place}" if place else str(path)
    return InputError(f"{where}: the catalogue cannot be read as a table: {why}")


def _not_utf8(path: str | Path, line: int, error: UnicodeDecodeError) -> InputError:
    # the text is decoded some lines ahead, so the exact line is unknown
    return no_table(path, f"after line {line}" if line else "", f"{error}; save it as UTF-8")


def _delimited(delimiter: str, path: str | Path, file: BinaryIO, _rows: int) -> Lines:
    """Yield the non-blank lines.

    Uses the csv module in strict mode, not pandas: a stray quote is an error, while pandas reads
    the rows up to the next quote as one cell.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    lines = csv_rows.read_csv(text, delimiter)
    try:
        for cells in lines:
            if cells:
                yield f"line {lines.line_num}", cells
    except UnicodeDecodeError as error:
        raise _not_utf8(path, lines.line_num, error) from error
    except (csv.Error, OSError) as error:
        raise no_table(path, f"line {lines.line_num}", error) from error


def _json_lines(path: str | Path, file: BinaryIO, _rows: int) -> Lines:
    """Yield one object per line; blank lines are skipped.

    The columns are the keys of all objects in order of first appearance, found in a separate first
    pass: writers such as Spark omit the keys of empty cells, so a rarely filled attribute may first
    appear in the millionth line. The pass is cheap compared with decoding the photos.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    header: dict[str, None] = {}
    for _, cells in _objects(path, text):
        header.update(dict.fromkeys(cells))
    yield "the keys", list(header)
    text.seek(0)
    for place, cells in _objects(path, text):
        yield place, [cells.get(key, "") for key in header]


def _objects(path: str | Path, text: io.TextIOWrapper) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the position of each object and its cells by key."""
    number = 0
    try:
        for number, line in enumerate(text, 1):
            if line.strip():
                found = json.loads(line, object_pairs_hook=_distinct)
                if not isinstance(found, dict):
                    raise ValueError(_NO_OBJECT)
                yield f"line {number}", {key: _json_cell(key, found[key]) for key in found}
    except UnicodeDecodeError as error:
        raise _not_utf8(path, number, error) from error
    except json.JSONDecodeError as error:
        why = f"{error.msg} at character {error.colno}; {_NO_OBJECT}"
        raise no_table(path, f"line {number}", why) from error
    except (ValueError, RecursionError, OSError) as error:
        raise no_table(path, f"line {number}", error) from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} appears twice")
        found[key] = value
    return found


def _json_cell(key: str, value: Any) -> str:
    if isinstance(value, str):  # the most frequent case first, for speed
        return value
    parts = value if isinstance(value, list) else [value]
    for part in parts:
        if isinstance(part, (list, dict)):
            kind = "an object" if isinstance(part, dict) else "a nested list"
            raise ValueError(f"column {key!r} contains {kind}; cells are values or lists of values")
    return _joined(map(_text, parts))


def _parquet(path: str | Path, file: BinaryIO, rows: int) -> Lines:
    """Yield the rows; at most `rows` of them are decoded ahead."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError(f"{path}: Parquet requires pyarrow: pip install pyarrow") from error
    number = 0
    try:
        # newer releases would prefetch the whole file
        table = pq.ParquetFile(file, pre_buffer=False)
        for column in table.schema_arrow:
            kind = column.type.value_type if _is_list(column.type) else column.type
            if not _is_cell(kind):
                raise ValueError(
                    f"column {column.name!r} is of type {column.type}; a cell is a text, number, "
                    "boolean or date, or a list of these"
                )
        yield "the header", table.schema_arrow.names
        for batch in table.iter_batches(batch_size=rows):
            batch.validate(full=True)  # for example invalid UTF-8
            for cells in zip(*map(_texts, batch.columns)):
                number += 1
                yield f"row {number}", list(cells)
    # ArithmeticError: a date after the year 9999; LookupError: an unknown time zone
    except (pa.ArrowException, OSError, ValueError, ArithmeticError, LookupError) as error:
        raise no_table(path, f"after row {number}" if number else "", error) from error


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_cell(kind: Any) -> bool:
    """Return whether values of an Arrow type have a text form; structs and bytes do not."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    moment = types.is_date(kind) or types.is_timestamp(kind) or types.is_time(kind)
    text = types.is_string(kind) or types.is_large_string(kind)
    return number or moment or text or types.is_boolean(kind) or types.is_null(kind)


def _texts(column: Any) -> list[str]:
    """Return the cells of an Arrow array."""
    from pyarrow import compute, types

    if types.is_dictionary(column.type):
        return _texts(column.dictionary_decode())
    if _is_list(column.type):
        parts = iter(_texts(column.flatten()))  # flatten() skips null lists
        lengths = compute.fill_null(compute.list_value_length(column), 0).to_pylist()
        return [_joined(itertools.islice(parts, length)) for length in lengths]
    if types.is_string(column.type) or types.is_large_string(column.type):
        # through NumPy, which is faster than to_pylist; nearly all columns are text
        return compute.fill_null(column, "").to_numpy(zero_copy_only=False).tolist()
    if types.is_floating(column.type):
        # keep NumPy scalars: a float32 prints as 12.3, not as its nearest float64; null is NaN
        return [_text(value) for value in column.to_numpy(zero_copy_only=False)]
    return [_text(value) for value in column.to_pylist()]


def _joined(parts: Iterable[str]) -> str:
    """Join a list into one cell, without its empty items."""
    return SEPARATOR.join(part for part in parts if part)


def _text(value: Any) -> str:
    """Convert one value to text; NaN is empty, because pandas writes it for missing values."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (float, np.floating)):
        if np.isnan(value):
            return ""
        # pandas stores a column of integers with gaps as floats
        exact = float(value).is_integer() and abs(float(value)) < _EXACT
        return str(int(value)) if exact else str(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
