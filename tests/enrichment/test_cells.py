"""Test enrichment/cells.py: invalid cells files and those of another schema are refused."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attr_extractor.enrichment import cells
from attr_extractor.enrichment.cells import CellsFile
from attr_extractor.errors import InputError
from tests.enrichment.by_hand import cell, color, write_cells


def read(path, schema) -> list[dict]:
    return [row for batch in CellsFile(path, schema).batches() for row in batch.to_pylist()]


def test_all_cells_of_several_row_groups_are_read(schema, tmp_path):
    rows = [cell(i, seller=f"s{i}") for i in range(1, 8)] + [color(3, given="", given_score=None)]
    path = write_cells(tmp_path / "cells.parquet", rows, row_group=3)
    found = read(path, schema)
    for row in [*rows, *found]:  # float32 and back
        for name in ("given_score", "proposed_scores"):
            row[name] = str(pa.scalar(row[name], cells.SCHEMA.field(name).type))
    assert found == rows
    assert len(CellsFile(path, schema)) == 8


def test_the_fingerprint_is_a_digest_of_all_bytes(schema, tmp_path):
    path = write_cells(tmp_path / "cells.parquet", [cell()])
    expected = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    assert CellsFile(path, schema).fingerprint() == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"attribute": "nek_type"},
            "'nek_type' is not one of its attributes; did you mean 'neck_type'",
        ),
        ({"category": "gown"}, "'gown' is not a value of category"),
        ({"given": "v-nek"}, "'v-nek' is not a value of neck_type; did you mean 'v-neck'"),
        ({"given": "V-Neck"}, "'V-Neck' is not a value of neck_type"),
        ({"answer": "round neck|turtle"}, "'turtle' is not a value"),
        ({"proposed": ["round neck", "red", "v-neck"]}, "'red' is not a value of neck_type"),
    ],
)
def test_a_cell_of_another_schema_is_named(schema, tmp_path, change, words):
    path = write_cells(tmp_path / "cells.parquet", [cell(1), color(2), cell(3, **change)])
    with pytest.raises(InputError, match="written with another schema than 'shop': ") as told:
        read(path, schema)
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verdict": "maybe"}, "the verdict 'maybe' is not one of agreed, contradicted"),
        ({"proposed_scores": [0.9]}, "proposed and proposed_scores differ in length"),
        ({"proposed_scores": [0.9, 0.2, float("nan")]}, "a score is not between 0 and 1"),
        ({"given_score": 1.5}, "a score is not between 0 and 1"),
        ({"given": None}, "the column 'given' has a cell without a value"),
        ({"proposed": None}, "the column 'proposed' has a cell without a value"),
        ({"product_id": None}, "the column 'product_id' has a cell without a value"),
    ],
)
def test_an_invalid_cell_is_refused(schema, tmp_path, change, words):
    path = write_cells(tmp_path / "cells.parquet", [cell(1), cell(2, **change)])
    with pytest.raises(
        InputError, match="not a cells file of attr-extractor predict --cells"
    ) as told:
        read(path, schema)
    assert words in str(told.value)


def test_files_of_another_format_are_refused(schema, tmp_path):
    path = tmp_path / "cells.parquet"
    with pytest.raises(InputError, match="the cells file does not exist"):
        CellsFile(path, schema)
    path.write_bytes(b"row,product_id\n1,p000\n")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        CellsFile(path, schema)
    pq.write_table(pa.table({"row": [1], "product_id": ["a"]}), path)
    with pytest.raises(InputError, match="the column 'seller' is missing"):
        CellsFile(path, schema)
    table = pa.Table.from_pylist([cell()], cells.SCHEMA)
    place = table.schema.get_field_index("row")
    pq.write_table(table.set_column(place, "row", pa.array(["1"])), path)
    with pytest.raises(InputError, match="the column 'row' is of type string, not int64"):
        CellsFile(path, schema)


def test_a_damaged_file_is_refused_while_it_is_read(schema, tmp_path):
    rows = [cell(i, product_id=f"product {i * 7919 % 100_003}") for i in range(1, 3000)]
    path = write_cells(tmp_path / "cells.parquet", rows)
    data = bytearray(path.read_bytes())
    data[100:4000] = bytes(3900)
    path.write_bytes(data)
    with pytest.raises(InputError, match="cells.parquet: not a cells file .* damaged"):
        read(path, schema)
