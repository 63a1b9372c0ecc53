"""Tests of catalogue/formats.py: equal cells in four formats, and invalid tables in one line.

The files are written by others: pandas, PyArrow, the json module, or byte by byte.
"""

from __future__ import annotations

import json
import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attr_extractor.catalogue import table
from attr_extractor.errors import InputError

NAMES = ["t.csv", "t.tsv", "t.TAB", "t.jsonl", "t.ndjson", "t.parquet", "t.PQ"]


def write_with_pandas(path: Path, frame: pd.DataFrame) -> Path:
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        frame.to_parquet(path)
    elif suffix in (".jsonl", ".ndjson"):
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        frame.to_csv(path, index=False, sep="," if suffix == ".csv" else "\t")
    return path


def write_arrow(path: Path, **columns) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def write_lines(path: Path, *objects: object) -> Path:
    path.write_text("".join(json.dumps(o) + "\n" for o in objects), encoding="utf-8")
    return path


def cells(path: Path) -> dict[str, list[str]]:
    return table.read_columns(path).to_dict("list")


@pytest.mark.parametrize("name", NAMES)
def test_the_same_table_has_the_same_cells_in_every_format(tmp_path: Path, name: str):
    text = ["007", "NA", "", ' "x", y\tz\n', "größe 领 \U0001f457", "null", "a|b"]
    frame = pd.DataFrame(
        {
            "text": pd.Series(text, dtype=object),
            "absent": pd.Series(["a", None, "b", None, None, None, "c"], dtype=object),
            "size ": pd.array([36, None, 38, 0, -1, 2**53 + 1, None], dtype="Int64"),
            "kind": pd.Categorical(["x", "y", None, "x", "x", "", "y"]),
        }
    )
    assert cells(write_with_pandas(tmp_path / name, frame)) == {
        "text": text,
        "absent": ["a", "", "b", "", "", "", "c"],
        "size": ["36", "", "38", "0", "-1", "9007199254740993", ""],
        "kind": ["x", "y", "", "x", "x", "", "y"],
    }


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
def test_numbers_booleans_and_lists_become_text(tmp_path: Path, name: str):
    rows = {
        "integer": [12, None, -3],
        "float": [12.5, 12.0, None],
        "odd": [float("nan"), 1e300, -0.5],
        "barcode": [4006381333931.0, None, 5e-324],
        "yes": [True, False, None],
        "words": [["red", "", "dark blue"], [], None],
        "numbers": [[1.5, 2.0, None], [], [3.25]],
        "nothing": [None, None, None],
    }
    if name == "t.jsonl":
        write_lines(tmp_path / name, *(dict(zip(rows, row)) for row in zip(*rows.values())))
    else:
        write_arrow(tmp_path / name, **rows)
    assert cells(tmp_path / name) == {
        "integer": ["12", "", "-3"],
        "float": ["12.5", "12", ""],
        "odd": ["", "1e+300", "-0.5"],
        "barcode": ["4006381333931", "", "5e-324"],
        "yes": ["true", "false", ""],
        "words": ["red|dark blue", "", ""],
        "numbers": ["1.5|2", "", "3.25"],
        "nothing": ["", "", ""],
    }


def test_text_of_arrow_types(tmp_path: Path):
    utc = pa.timestamp("us", tz="UTC")
    kinds = pa.dictionary(pa.int8(), pa.string())
    columns = {
        "float32": pa.array([12.3, 4.0, None], pa.float32()),
        "float32s": pa.array([[12.3], None, [4.0, 0.1]], pa.list_(pa.float32())),
        "decimal": pa.array([Decimal("12.50"), None, Decimal("-0.01")]),
        "date": pa.array([date(2024, 1, 2), None, date(1999, 12, 31)]),
        "moment": pa.array([datetime(2024, 1, 2, 3, 4, 5), None, datetime(2024, 1, 2)]),
        "zoned": pa.array([datetime(2024, 1, 2), None, None], utc),
        "time": pa.array([time(9, 30), None, None]),
        "large": pa.array(["a", None, "b"], pa.large_string()),
        "pair": pa.array([["a", "b"], ["c", None], ["", "d"]], pa.list_(pa.string(), 2)),
        "kinds": pa.array([["a", "b"], None, ["a"]], pa.list_(pa.string())).cast(pa.list_(kinds)),
        "codes": pa.array([1.0, None, 2.0]).dictionary_encode(),
    }
    assert cells(write_arrow(tmp_path / "t.parquet", **columns)) == {
        "float32": ["12.3", "4", ""],
        "float32s": ["12.3", "", "4|0.1"],
        "decimal": ["12.50", "", "-0.01"],
        "date": ["2024-01-02", "", "1999-12-31"],
        "moment": ["2024-01-02T03:04:05", "", "2024-01-02T00:00:00"],
        "zoned": ["2024-01-02T00:00:00+00:00", "", ""],
        "time": ["09:30:00", "", ""],
        "large": ["a", "", "b"],
        "pair": ["a|b", "c", "d"],
        "kinds": ["a|b", "", "a"],
        "codes": ["1", "", "2"],
    }


def test_a_key_that_first_appears_in_the_last_line_is_a_column(tmp_path: Path):
    path = write_lines(tmp_path / "t.jsonl", *[{"b": "x"}] * 300, {"a": "y"})
    parts = list(table.chunks(path, rows=100))
    assert [list(part) for part in parts] == [["b", "a"]] * 4
    assert parts[0].iloc[0].tolist() == ["x", ""] and parts[3].iloc[0].tolist() == ["", "y"]


def test_json_lines_may_have_a_byte_order_mark_crlf_and_blank_lines(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": "1"}\r\n\r\n  {"a": "\\u00fc"}')
    assert cells(path) == {"a": ["1", "ü"]}


def test_row_groups_and_chunks_may_differ_in_size(tmp_path: Path):
    numbers = pa.table({"n": list(range(1000))})
    pq.write_table(numbers, tmp_path / "t.parquet", row_group_size=77)
    parts = list(table.chunks(tmp_path / "t.parquet", rows=100))
    assert [len(part) for part in parts] == [100] * 10
    assert [n for part in parts for n in part["n"]] == [str(n) for n in range(1000)]


def broken_utf8() -> pa.Array:
    offsets = np.array([0, 2], np.int32)
    return pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"\xc3\x28")]
    )


NUMBERS = {"product_id": list(range(2000)), "image": [f"{i * i}.jpg" for i in range(2000)]}


def truncated(path: Path) -> None:
    write_arrow(path, **NUMBERS)
    path.write_bytes(path.read_bytes()[:-100])


def overwritten(path: Path) -> None:
    write_arrow(path, **NUMBERS)
    content = bytearray(path.read_bytes())
    content[4:64] = b"\xff" * 60
    path.write_bytes(content)


def arrow(**columns):
    return lambda path: write_arrow(path, **columns)


NO_TABLE = "the catalogue cannot be read as a table: "
NO_ROWS = ": the catalogue has a header and no rows$"
UTF8 = f"{NO_TABLE}.*; save it as UTF-8$"
LINE = b'{"a": "1"}\n'

MALFORMED = {
    # what is wrong: (file, content or its writer, what the message says after the file's name)
    "empty": ("t.csv", b"", ": the catalogue is empty$"),
    "blank lines": ("t.csv", b"\n\r\n\n", ": the catalogue is empty$"),
    "no row": ("t.csv", b"a,b\n", NO_ROWS),
    "no names": ("t.csv", b",,\n1,2,3\n", ": no column has a name$"),
    "two of a name": ("t.csv", b"a,b,a \n1,2,3\n", ": the column 'a' appears twice$"),
    "a long row": ("t.csv", b"a,b\n1\n\n1,2,3\n", f", line 4: {NO_TABLE}3 cells under 2 columns$"),
    "an open quote": ("t.csv", b'a,b\n"1,2\n3,4\n', f", line 3: {NO_TABLE}unexpected end of data$"),
    "text after a quote": ("t.csv", b'a,b\n1,2\n"1"x,2\n', f", line 3: {NO_TABLE}',' expected"),
    "latin-1": ("t.csv", b"gr\xf6\xdfe,b\n1,2\n", f": {UTF8}"),
    "latin-1 below": (
        "t.csv",
        b"a\n" + b"1\n" * 9999 + b"\xe4\n",
        rf", after line \d{{4}}: {UTF8}",
    ),
    "utf-16": ("t.csv", "a,b\n1,2\n".encode("utf-16"), f": {UTF8}"),
    "a photo": ("t.csv", bytes(range(256)) * 4, f": {UTF8}"),
    "NUL": ("t.csv", b"a,b\n1,2\n1,\0\n", f", line 3: {NO_TABLE}.*NUL"),
    "a giant cell": (
        "t.csv",
        b"a\n" + b"x" * 2_000_000 + b"\n",
        f", line 2: {NO_TABLE}field larger",
    ),
    "a cell without a name": (
        "t.csv",
        b"a,b,,\n1,2,,\n3,4,,5\n",
        ", line 3: '5' is in column 4, which has no name; name the column or remove it$",
    ),
    "TSV without rows": ("t.tsv", b"a\tb\n", NO_ROWS),
    "TSV's long row": ("t.tab", b"a\n1\t2\n", f", line 2: {NO_TABLE}2 cells under 1 columns$"),
    "no JSON line": ("t.jsonl", b"\n", ": the catalogue is empty$"),
    "JSON without keys": ("t.jsonl", b"{}\n{}\n", ": the catalogue is empty$"),
    "broken JSON": (
        "t.jsonl",
        LINE * 6 + b'{"a": 1,,}\n' + LINE,
        f", line 7: {NO_TABLE}Expecting .* at character 9; expected one JSON object per line$",
    ),
    "JSON cut off": ("t.jsonl", LINE + b'{"a": "1', f", line 2: {NO_TABLE}Unterminated string"),
    "two objects in a line": (
        "t.jsonl",
        b"{}{}\n",
        f", line 1: {NO_TABLE}.*expected one JSON object per",
    ),
    "one array": ("t.jsonl", b"[\n{}\n]\n", f", line 1: {NO_TABLE}.*expected one JSON object per"),
    "an array a line": (
        "t.jsonl",
        LINE + b'["a"]',
        f", line 2: {NO_TABLE}expected one JSON object",
    ),
    "a key twice": (
        "t.jsonl",
        b'\n{"a": 1, "b": 2, "a": 1}',
        f", line 2: {NO_TABLE}the key 'a' app",
    ),
    "keys but for spaces": ("t.jsonl", b'{"a": 1, "a ": 1}', ": the column 'a' appears twice$"),
    "an object": (
        "t.jsonl",
        LINE + b'{"b": {}}',
        f", line 2: {NO_TABLE}column 'b' contains an object",
    ),
    "objects": (
        "t.jsonl",
        b'{"b": ["x", {}]}',
        f", line 1: {NO_TABLE}column 'b' contains an object",
    ),
    "lists": (
        "t.jsonl",
        b'{"b": [["x"]]}',
        f", line 1: {NO_TABLE}column 'b' contains a nested list",
    ),
    "NUL in JSON": ("t.jsonl", LINE + b'{"a": "\\u0000"}', f", line 2: {NO_TABLE}a NUL character$"),
    "half a character": (
        "t.jsonl",
        b'{"a": "\\ud83d"}',
        f", line 1: {NO_TABLE}half of a surrogate",
    ),
    "half a key": ("t.jsonl", b'{"\\ud83d": 1}', f", the keys: {NO_TABLE}half of a surrogate"),
    "latin-1 JSON": ("t.jsonl", b'{"a": "\xe4"}\n', f": {UTF8}"),
    "deep JSON": ("t.ndjson", b'{"a": ' + b"[" * 99_999, f", line 1: {NO_TABLE}.*recursion"),
    "no Parquet": ("t.parquet", b"", f": {NO_TABLE}"),
    "CSV named Parquet": ("t.parquet", b"a,b\n1,2\n" * 9, f": {NO_TABLE}"),
    "truncated Parquet": ("t.parquet", truncated, f": {NO_TABLE}"),
    "overwritten Parquet": ("t.parquet", overwritten, f": {NO_TABLE}"),
    "Parquet without rows": ("t.parquet", arrow(a=pa.array([], pa.string())), NO_ROWS),
    "Parquet without columns": ("t.parquet", arrow(), ": the catalogue is empty$"),
    "a struct": ("t.pq", arrow(a=[1], b=[{"c": 1}]), f": {NO_TABLE}column 'b' is of type struct<"),
    "bytes": ("t.pq", arrow(image=[b"\xff\xd8"]), f": {NO_TABLE}column 'image' is of type binary"),
    "Arrow's lists": (
        "t.pq",
        arrow(b=[[["x"]]]),
        f": {NO_TABLE}column 'b' is of type list<.*list<",
    ),
    "a duration": ("t.pq", arrow(b=[timedelta(1)]), f": {NO_TABLE}column 'b' is of type duration"),
    "NUL in Parquet": ("t.pq", arrow(a=["x", "y\0"]), f", row 2: {NO_TABLE}a NUL character$"),
    "broken UTF-8": ("t.pq", arrow(a=broken_utf8()), f": {NO_TABLE}"),
    "the year 30000": ("t.pq", arrow(a=pa.array([10**7], pa.date32())), f": {NO_TABLE}"),
    "a zone nobody knows": (
        "t.pq",
        arrow(a=pa.array([1], pa.timestamp("s", tz="Foo/Bar"))),
        f": {NO_TABLE}.*Foo/Bar",
    ),
    "Parquet's two of a name": (
        "t.pq",
        lambda path: pq.write_table(pa.table([[1], [2]], names=["a", "a"]), path),
        ": the column 'a' appears twice$",
    ),
    "text": (
        "t.txt",
        b"a,b\n1,2\n",
        ": the extension '.txt' is not .*CSV.*TSV.*Parquet.*JSON Lines",
    ),
    "Excel": ("t.xlsx", b"PK", ": the extension '.xlsx' is not a supported table format"),
    "packed": ("t.csv.gz", b"\x1f\x8b", ": the extension '.gz' is not a supported table format"),
    "no ending": ("t", b"a,b\n1,2\n", ": the extension '' is not a supported table format"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_an_invalid_table_raises_one_line_with_reason_and_position(tmp_path: Path, case: str):
    name, content, says = MALFORMED[case]
    path = tmp_path / name
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(path)) + says) as caught:
        table.read_columns(path)
    assert "\n" not in str(caught.value)
