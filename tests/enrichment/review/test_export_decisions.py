"""Tests of `review/export_decisions.py`: which cells change, and that relabelling reads them."""

from __future__ import annotations

import csv
import functools
import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attr_extractor import labels
from attr_extractor.catalogue import table
from attr_extractor.enrichment.review import export_decisions
from attr_extractor.enrichment.review.build_queue import open_queue
from attr_extractor.enrichment.review.export_decisions import export
from attr_extractor.enrichment.review.queue import Queue, Window
from attr_extractor.errors import InputError
from attr_extractor.records import relabel
from attr_extractor.schema import Schema
from attr_extractor.sources.tables import read_sources
from tests.conftest import SCHEMA
from tests.enrichment.by_hand import cell, color, write_cells
from tests.records.by_hand import InProcess

ADA, BEN = Window("Ada", "a" * 32), Window("Ben", "b" * 32)
HEADER = ["note", "product_id", "image", "color", "neck_type", "category", "closure", "size"]


def cells_of(path: str | Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def rows() -> list[list[str]]:
    """A table of twelve shirts, with quotes and line breaks in a cell."""
    return [
        [f'"{i}",\nmore', f"p{i:03d}", f"images/{i:03d}_0.jpg", "NA", " V Neck", "shirt", "", "M"]
        for i in range(12)
    ]


def write_rows(path: Path, header: list[str], of: list[list[str]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *of])
    return path


def decide(schema, folder: Path, items: list[dict], decisions: list[tuple]) -> Path:
    """Write a decisions file; a decision is (window, product, attribute, kind, values)."""
    path = write_cells(folder / "cells.parquet", items)
    limits = np.full(schema.num_values, 0.5, np.float32)
    file, _ = open_queue(folder / "decisions.sqlite", path, schema, limits, 1000)
    with file.reading() as db:
        found = db.execute("SELECT product_id, attribute, id FROM items").fetchall()
        places = {(product, attribute): number for product, attribute, number in found}
    seconds = iter(range(1_000_000, 2_000_000))
    queue = Queue(file, schema, clock=lambda: next(seconds))
    for window, product, attribute, kind, values in decisions:
        queue.decide(window, places[product, attribute], kind, values)
    file.close()
    return folder / "decisions.sqlite"


@pytest.fixture
def decisions(schema, tmp_path) -> Path:
    items = [cell(i) for i in range(1, 11)] + [color(3), color(4, given="", given_score=None)]
    return decide(
        *(schema, tmp_path, items),
        [
            (ADA, "p001", "neck_type", "values", ["no neck"]),
            (BEN, "p002", "color", "values", ["red", "blue"]),
            (ADA, "p002", "neck_type", "none", []),
            (ADA, "p003", "neck_type", "seller", []),
            (ADA, "p009", "neck_type", "values", ["v-neck"]),
            (ADA, "p003", "color", "none", []),
        ],
    )


EXPECTED = {(1, 4): "no neck", (2, 3): "red|blue", (2, 4): "", (9, 4): "v-neck", (3, 3): ""}


def corrected() -> list[list[str]]:
    expected = rows()
    for (row, column), text in EXPECTED.items():
        expected[row][column] = text
    return expected


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_only_decided_cells_change(schema, decisions, tmp_path, monkeypatch, ending):
    several = functools.partial(table.chunks, rows=5)
    monkeypatch.setattr(export_decisions.table, "chunks", several)
    catalogue = tmp_path / f"table.{ending}"
    frame = pd.DataFrame(rows(), columns=HEADER)
    if ending == "parquet":
        frame.to_parquet(catalogue)
    elif ending == "jsonl":
        lines = [json.dumps(dict(zip(HEADER, row))) for row in rows()]
        catalogue.write_text("\n".join(lines), encoding="utf-8")
    else:
        frame.to_csv(catalogue, index=False, sep={"csv": ",", "tsv": "\t"}[ending])
    before = catalogue.read_bytes()
    summary = export(decisions, catalogue, schema, tmp_path / "out.csv")
    assert cells_of(tmp_path / "out.csv") == [HEADER, *corrected()]
    assert catalogue.read_bytes() == before
    assert summary.rows == 12
    assert summary.decisions == {"values": 3, "none": 2, "seller": 1}
    assert summary.changed == {"neck_type": 3, "color": 2}


def test_the_log_is_a_table_of_answers(schema, decisions, tmp_path):
    catalogue = write_rows(tmp_path / "table.csv", HEADER, rows())
    export(decisions, catalogue, schema, tmp_path / "out.csv", tmp_path / "reviewers.csv")
    (table,) = read_sources(tmp_path / "reviewers.csv", schema)
    assert table.name == "reviewers" and table.issues == []
    products = ["p001", "p002", "p003", "p004"]
    states, confidence = table.of_products(products)
    decided = [labels.decode(schema, row) for row in states]
    expected = [
        {"neck_type": ["no neck"]},
        {"neck_type": [], "color": ["red", "blue"]},
        {"neck_type": ["v-neck"], "color": []},
        {},
    ]
    for found, answers in zip(decided, expected):
        assert {name: values for name, values in found.items() if values is not None} == answers
    assert set(confidence[states == labels.PRESENT].tolist()) == {1.0}


def test_column_names_are_kept_and_missing_columns_added(decisions, tmp_path, schema):
    renamed = Schema.parse(SCHEMA + "columns: {neck_type: Neck Style, color: Tint}\n", "test")
    header = [{"neck_type": "Neck Style"}.get(name, name) for name in HEADER]
    header.remove("color")
    without = [[c for i, c in enumerate(row) if i != 3] for row in rows()]
    catalogue = write_rows(tmp_path / "table.csv", header, without)
    export(decisions, catalogue, renamed, tmp_path / "out.csv")
    found = cells_of(tmp_path / "out.csv")
    assert found[0] == [*header, "Tint"]
    assert found[2][3] == "no neck"
    assert [row[-1] for row in found[1:]] == ["", "", "red|blue", *[""] * 9]


def test_a_table_of_other_rows_is_refused_and_nothing_is_written(schema, decisions, tmp_path):
    other = rows()
    other[7][1] = "p999"  # in the queue, not decided
    swapped = rows()
    swapped[1], swapped[2] = swapped[2], swapped[1]
    for changed, words in (
        (other, "row 8: is product 'p999', but the decisions are about 'p007'; pass"),
        (swapped, "row 2: is product 'p002', but the decisions are about 'p001'; pass"),
        (rows()[1:], "row 1: is product 'p001'"),
        (rows()[:9], "has 9 rows, but the decisions are about a table of at least 10;"),
    ):
        catalogue = write_rows(tmp_path / "table.csv", HEADER, changed)
        with pytest.raises(InputError) as told:
            export(decisions, catalogue, schema, tmp_path / "out.csv", tmp_path / "log.csv")
        assert words in str(told.value)
        assert not list(tmp_path.glob("out.csv*")) and not list(tmp_path.glob("log.csv*"))


def test_unusable_inputs_are_refused(schema, decisions, tmp_path):
    catalogue = write_rows(tmp_path / "table.csv", HEADER, rows())
    wider = Schema.parse(SCHEMA.replace("no neck]", "no neck, collar]"), "test")
    with pytest.raises(InputError, match="decisions about another schema"):
        export(decisions, catalogue, wider, tmp_path / "out.csv")
    with pytest.raises(InputError, match="exists already"):
        export(decisions, catalogue, schema, catalogue)
    with pytest.raises(InputError, match="exists already"):
        export(decisions, catalogue, schema, tmp_path / "out.csv", catalogue)
    with pytest.raises(InputError, match="--log and --output name the same file"):
        export(decisions, catalogue, schema, tmp_path / "out.csv", tmp_path / "out.csv")
    with pytest.raises(InputError, match="does not exist"):
        export(tmp_path / "no.sqlite", catalogue, schema, tmp_path / "out.csv")
    sqlite3.connect(tmp_path / "empty.sqlite").close()
    with pytest.raises(InputError, match="contains no queue; create it with attr-extractor review"):
        export(tmp_path / "empty.sqlite", catalogue, schema, tmp_path / "out.csv")


def test_the_log_lists_reviewer_decision_and_time(schema, decisions, tmp_path):
    catalogue = write_rows(tmp_path / "table.csv", HEADER, rows())
    export(decisions, catalogue, schema, tmp_path / "out.csv", tmp_path / "log.csv")
    header, *lines = cells_of(tmp_path / "log.csv")
    assert header == list(export_decisions.LOG_COLUMNS)
    assert [line[1:] for line in lines] == [
        ["Ada", "2", "p001", "neck_type", "v-neck", "values", "no neck"],
        ["Ben", "3", "p002", "color", "red", "values", "red|blue"],
        ["Ada", "3", "p002", "neck_type", "v-neck", "none", ""],
        ["Ada", "4", "p003", "neck_type", "v-neck", "seller", "v-neck"],
        ["Ada", "10", "p009", "neck_type", "v-neck", "values", "v-neck"],
        ["Ada", "4", "p003", "color", "", "none", ""],
    ]
    assert lines[0][0].startswith("1970-01-12T13:46:4") and lines[0][0].endswith("+00:00")
    assert [line[0] for line in lines] == sorted(line[0] for line in lines)


def test_relabel_reads_the_exported_table(built, schema, tmp_path):
    items = [
        cell(1, given="v-neck", proposed=["no neck"], proposed_scores=[0.9]),
        color(2, given="green"),
    ]
    first = [
        (ADA, "p000", "neck_type", "values", ["no neck"]),
        (ADA, "p001", "color", "values", ["red", "green"]),
    ]
    file = decide(schema, tmp_path, items, first)
    export(file, built.catalogue, schema, tmp_path / "out.csv")
    records = tmp_path / "records"
    shutil.copytree(built.records, records)

    relabel.relabel(tmp_path / "out.csv", schema, records, InProcess())
    changed = _labels(records, schema)
    assert changed["p000"]["neck_type"] == ["no neck"]
    assert changed["p001"]["color"] == ["red", "green"]
    unchanged = _labels(built.records, schema)
    for product in unchanged:
        if product not in ("p000", "p001"):
            assert changed[product] == unchanged[product]
    assert unchanged["p000"]["neck_type"] == ["v-neck"]


def _labels(records: Path, schema) -> dict[str, dict[str, list[str] | None]]:
    """Return the labels of each product in the records."""
    import tensorflow as tf

    from attr_extractor.labels import decode

    found = {}
    for path in sorted(records.glob("*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            codes = np.frombuffer(features["labels"].bytes_list.value[0], np.int8)
            found[features["product_id"].bytes_list.value[0].decode()] = decode(schema, codes)
    return found
