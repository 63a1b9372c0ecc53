"""Tests of `records/rows.py`: usable rows, their labels and findings."""

from __future__ import annotations

import csv
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from attr_extractor import labels
from attr_extractor.catalogue import table
from attr_extractor.errors import InputError
from attr_extractor.records import rows as table_rows
from attr_extractor.schema import Schema
from tests.conftest import write_table
from tests.records.by_hand import read_csv, row

TWICE = "product_id stands twice; only its first row counts"


def read(folder: Path, cells: list[dict[str, str]], schema: Schema, **columns) -> table_rows.Rows:
    path = write_table(folder / "table.csv", cells)
    return table_rows.read_rows(path, schema, folder, **columns)


def test_a_row_without_product_or_photo_is_rejected_by_its_number(tmp_path: Path, schema: Schema):
    listed = [
        (" a ", "1.jpg"),
        (" ", "2.jpg"),
        ("b", " | "),
        ("a", "3.jpg"),
        ("b", "4.jpg"),  # nobody used b before
        ("", ""),
        ("a", ""),
    ]
    found = read(tmp_path, [row(product, image) for product, image in listed], schema)
    assert found.texts["number"].to_pylist() == [1, 5]
    assert found.texts["product_id"].to_pylist() == ["a", "b"]
    assert found.read == 7
    assert found.rejects == [
        (2, "", "2.jpg", "no product_id"),
        (3, "b", " | ", "no image named"),
        (4, "a", "3.jpg", TWICE),
        (6, "", "", "no product_id"),
        (7, "a", "", "no image named"),
    ]


def random_rows(draw: random.Random, count: int) -> list[dict[str, str]]:
    choices = {
        "category": ["shirt", "Jeans", "", "tent", "shirt|jeans"],
        "neck_type": ["v-neck", "v neck", "", "round neck|no neck", "NA"],
        "color": ["red", "red|blue", "", "rad", " GREEN "],
        "closure": ["button", "zip", "drawstring", ""],
    }
    return [
        row(
            draw.choice(["", f"p{i}", f"p{i}", f"p{i}", f"p{i // 2}"]),
            draw.choice(["", f"{i}.jpg", f"{i}.jpg|x.jpg"]),
            **{name: draw.choice(cells) for name, cells in choices.items()},
        )
        for i in range(count)
    ]


def in_chunks(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    real = table.chunks
    monkeypatch.setattr(table, "chunks", lambda path, schema: real(path, schema, rows=rows))


@pytest.mark.parametrize("rows_per_chunk", [1, 7, 400])
def test_labels_match_the_cells_for_any_chunk_size(
    tmp_path: Path, schema: Schema, monkeypatch, rows_per_chunk: int
):
    in_chunks(monkeypatch, rows_per_chunk)
    cells = random_rows(random.Random(0), 400)
    found = read(tmp_path, cells, schema)

    used: dict[str, int] = {}  # row by row, as a reader of the table would
    for number, r in enumerate(cells, 1):
        if r["product_id"] and r["image"] and r["product_id"] not in used:
            used[r["product_id"]] = number
    assert found.texts["product_id"].to_pylist() == list(used)
    assert found.texts["number"].to_pylist() == list(used.values())
    rejected = [number for number, *_ in found.rejects]
    assert rejected == sorted({*range(1, 401)} - {*used.values()})
    assert found.read == 400

    encoded = [labels.encode(schema, cells[number - 1]) for number in used.values()]
    order = np.random.default_rng(0).permutation(len(used))
    np.testing.assert_array_equal(
        found.labels(order), np.array([encoded[position][0] for position in order])
    )
    kinds = schema[schema.category].values
    category = [labels.decode(schema, codes)["category"] for codes, _ in encoded]
    assert found.texts["category"].to_pylist() == [
        kinds.index(known[0]) if known else -1 for known in category
    ]
    listed = [tuple(line.values()) for line in read_csv(tmp_path / "label_issues.csv")]
    assert listed == [
        (str(number), product, i.attribute, i.cell, i.kind, i.nearest)
        for (product, number), (_, issues) in zip(used.items(), encoded)
        for i in issues
    ]


def test_the_findings_count_every_usable_row(tmp_path: Path, schema: Schema, monkeypatch):
    in_chunks(monkeypatch, 40)
    cells = [{**r, "product_id": f"p{i}"} for i, r in enumerate(random_rows(random.Random(1), 300))]
    found = read(tmp_path, cells, schema)
    usable = [r for r in cells if r["image"]]
    encoded = [labels.encode(schema, r) for r in usable]
    codes = np.array([codes for codes, _ in encoded])
    category = np.array(found.texts["category"].to_pylist())
    for c, rows_of in enumerate([category == 0, category == 1, category == -1]):
        assert rows_of.sum() > 20
        part = codes[rows_of]
        np.testing.assert_array_equal(found.findings.present[c], (part == 1).sum(0))
        for t, where in enumerate(schema.slices.values()):
            present = (part[:, where] == 1).any(1).sum()
            missing = (part[:, where] == -1).all(1).sum()
            expected = [present, len(part) - present - missing, missing]
            assert found.findings.states[c, t].tolist() == expected
    issues = [issue for _, of_row in encoded for issue in of_row]
    assert found.findings.issues == Counter(issue.kind for issue in issues)
    assert found.findings.cells == Counter(issues)


def test_a_table_without_usable_rows_gives_no_rows(tmp_path: Path, schema: Schema):
    found = read(tmp_path, [row("", "a.jpg"), row("a", "")], schema, group_column="color")
    assert len(found.texts) == 0 and len(found.rejects) == found.read == 2
    assert table_rows.photos_of(found.texts).num_rows == 0
    assert found.labels(np.array([], np.int64)).shape == (0, schema.num_values)


def test_unusual_texts_are_kept(tmp_path: Path, schema: Schema):
    odd = ['größe, "q"', "line\nbreak", "tab\tbed", "'; --", "\u200bzero", "日本", "1e3", "007"]
    found = read(tmp_path, [row(text, f"{text}.jpg", color=text) for text in odd], schema)
    assert found.texts["product_id"].to_pylist() == odd
    assert table_rows.photos_of(found.texts)["image"].to_pylist() == [f"{x}.jpg" for x in odd]
    with open(tmp_path / "label_issues.csv", newline="", encoding="utf-8") as file:
        assert [line["cell"] for line in csv.DictReader(file)] == odd


# Columns that a flag names


def test_groups_and_splits_are_read_from_their_columns(tmp_path: Path, schema: Schema):
    cells = [
        row(f"p{i}", "a.jpg") | {"brand": brand} for i, brand in enumerate(["b", " ", "", "b"])
    ]
    found = read(tmp_path, cells, schema, group_column="brand", split_column="color")
    assert found.texts["group"].to_pylist() == ["b", "p1", "p2", "b"]  # none: the product's own
    assert found.texts["split"].to_pylist() == ["red"] * 4
    plain = read(tmp_path, cells, schema)
    assert plain.texts["group"].to_pylist() == ["p0", "p1", "p2", "p3"]
    assert plain.texts["split"].to_pylist() == [""] * 4


def test_flags_name_renamed_columns_as_in_the_table(tmp_path, schema: Schema):
    text = schema.to_yaml() + "columns: {color: Farbe}\n"
    renamed = Schema.parse(text, "renamed")
    cells = [{("Farbe" if k == "color" else k): v for k, v in row("p", "a.jpg").items()}]
    found = read(tmp_path, cells, renamed, group_column="Farbe")
    assert found.texts["group"].to_pylist() == ["red"]


@pytest.mark.parametrize("flag", ["group_column", "split_column", "box_columns"])
def test_a_missing_column_is_reported_with_the_nearest(tmp_path, schema: Schema, flag: str):
    columns = {flag: "brnd" if flag != "box_columns" else ("brand", "brand", "brnd", "brand")}
    with pytest.raises(InputError, match=r"table\.csv: .*no column 'brnd'; did you mean 'brand'"):
        read(tmp_path, [row("p", "a.jpg") | {"brand": "b"}], schema, **columns)


# Photos


def test_photos_are_listed_with_their_row_and_their_number_within_it(tmp_path, schema: Schema):
    images = ["a.jpg", "b.jpg| c.jpg |d.jpg", "e.jpg||f.jpg", " | g.jpg", "a.jpg"]
    found = read(tmp_path, [row(f"p{i}", image) for i, image in enumerate(images)], schema)
    photos = table_rows.photos_of(found.texts)
    assert photos["owner"].to_pylist() == [0, 1, 1, 1, 2, 2, 3, 4]
    assert [f"{name}.jpg" for name in "abcdefga"] == photos["image"].to_pylist()
    assert photos["image_index"].to_pylist() == [0, 0, 1, 2, 0, 1, 0, 0]
    assert photos["box"].to_pylist() == [[]] * 8


def test_every_photo_has_its_own_product_box(tmp_path: Path, schema: Schema):
    sides = ("x0", "y0", "x1", "y1")
    boxes = {
        "a.jpg": ("1", "2", "30", "40.5"),
        "b.jpg|c.jpg": ("1|5", "2|6", "30|70", "40|80"),
        "d.jpg": ("", " ", "", ""),
        "e.jpg|f.jpg": ("1", "2", "3", "4"),
    }
    cells = [row(image, image) | dict(zip(sides, box)) for image, box in boxes.items()]
    photos = table_rows.photos_of(read(tmp_path, cells, schema, box_columns=sides).texts)
    found = dict(zip(photos["image"].to_pylist(), photos["box"].to_pylist()))
    assert found["a.jpg"] == ["1", "2", "30", "40.5"]
    assert (found["b.jpg"], found["c.jpg"]) == (["1", "2", "30", "40"], ["5", "6", "70", "80"])
    assert found["d.jpg"] == []
    for name in ("e.jpg", "f.jpg"):  # one number for two photos is none
        assert len(found[name]) == 4 and "|" in found[name][0]
