"""Test that delivery.py and reference.py of drift count both sides alike."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from attr_extractor.enrichment.drift import delivery, reference
from attr_extractor.enrichment.drift.label_counts import LabelCounts
from attr_extractor.errors import InputError
from attr_extractor.records.manifest import Manifest
from tests.conftest import write_table
from tests.records.by_hand import build, read_split, row, small_shop


def read_delivery(catalogue, schema, sample=10_000):
    return delivery.read_delivery(catalogue, schema, (), sample, 0)


def test_a_table_has_the_label_counts_of_the_records_built_from_it(built, schema):
    found = read_delivery(built.catalogue, schema)
    manifest = Manifest.read(built.records)
    present = sum(manifest.present(split) for split in manifest.splits)
    assert found.counts.present.tolist() == present.tolist()
    for t, name in enumerate(schema.names):
        counts = [split.labels[name] for split in manifest.splits.values()]
        expected = [
            sum(getattr(c, key) for c in counts)
            for key in ("answered", "not_applicable", "missing")
        ]
        assert found.counts.states[t].tolist() == expected
    assert found.products == found.rows == 120 and not found.rejects
    # 12 of 120 products have two photos: 108 * 1 + 12 * 4
    assert (found.counts.photos, found.counts.squares) == (132, 156)


def test_scale_of_products_with_ten_photos_each():
    counts = LabelCounts(np.zeros(1), np.zeros([1, 3]), photos=30, squares=300)
    assert counts.photos * counts.scale == pytest.approx(3)  # 3 products of 10 photos


def test_rows_are_rejected_as_in_a_build_and_unknown_values_are_counted(schema, tmp_path):
    rows = [
        row("a", "a.jpg", color="red"),
        row("a", "b.jpg", color="green"),
        row("c", ""),
        row("d", "d.jpg|e.jpg", color="Teal"),
        row("e", "e.jpg", color="teal", neck_type="v neck"),
        row("f", "f.jpg", color="bleu"),
    ]
    found = read_delivery(write_table(tmp_path / "t.csv", rows), schema)
    assert (found.rows, found.products) == (6, 4)
    assert dict(found.rejects) == {
        "product_id stands twice; only its first row counts": 1,
        "no image named": 1,
    }
    assert found.unknown["color"].cells == 3
    assert dict(found.unknown["color"].spellings) == {"teal": 2, "bleu": 1}
    assert found.unknown["color"].nearest["bleu"] == "blue"
    assert not found.unknown["neck_type"].cells


def test_a_table_without_a_usable_row_is_refused(schema, tmp_path):
    path = write_table(tmp_path / "t.csv", [row("a", ""), row("b", "")])
    with pytest.raises(InputError, match="none of 2 rows can be used: no image named"):
        read_delivery(path, schema)


def test_the_training_split_has_one_file_of_every_product(built):
    manifest = Manifest.read(built.records)
    train = {r["product_id"].decode() for r in read_split(built.records, "train")}
    known = sorted(train)[:3]
    found = reference.read_training_split(built.records, manifest, ["nobody", *known], 0)
    assert found.in_sample == 3 and len(found.formats) == len(found.sizes) == len(train)
    with open(built.catalogue, newline="", encoding="utf-8") as file:
        images = {r["product_id"]: r["image"].split("|") for r in csv.DictReader(file)}
    expected = [
        {(image.height, image.width, path.stat().st_size) for path, image in opened}
        for opened in (
            [(p, Image.open(p)) for p in (built.path / name for name in images[product])]
            for product in train
        )
    ]
    allowed = set().union(*expected)
    assert {tuple(map(int, size)) for size in found.sizes} <= allowed
    counts = [len(images[product]) for product in train]
    assert found.counts.squares == sum(n * n for n in counts)
    assert found.counts.photos == sum(counts)


def test_stored_photos_are_those_of_the_records(built):
    manifest = Manifest.read(built.records)
    stored = {}
    for record in read_split(built.records, "validation"):
        stored.setdefault(record["product_id"].decode(), []).append(record["image/encoded"])
    found = reference.read_stored_photos(built.records, manifest, "validation", 10_000, 0)
    assert sorted(product for product, _ in found) == sorted(stored)
    assert all(encoded in stored[product] for product, encoded in found)
    few = reference.read_stored_photos(built.records, manifest, "validation", 5, 0)
    assert len(few) == 5 and set(few) <= set(found)


def test_a_damaged_record_is_named(built, tmp_path):
    records = tmp_path / "records"
    shutil.copytree(built.records, records)
    (shard,) = records.glob("validation-*.tfrecord")
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match="record 0: the checksum of its data is wrong"):
        reference.read_stored_photos(records, Manifest.read(records), "validation", 10_000, 0)


def test_unknown_values_are_read_from_the_label_issues_of_the_records(schema, tmp_path):
    rows = small_shop(tmp_path, 12)
    rows[0]["color"], rows[1]["color"], rows[2]["neck_type"] = "teal", "TEAL", "polo"
    records = build(tmp_path, rows, schema)
    found = reference.read_unknown_values(records, Manifest.read(records))
    assert dict(found["color"].spellings) == {"teal": 2}
    assert found["neck_type"].cells == 1 and not found["closure"].cells


def test_a_sampled_photo_keeps_its_box(schema, tmp_path):
    names = ("left", "top", "right", "bottom")
    rows = [{**row("a", "x.jpg|y.jpg"), **dict(zip(names, ("1|2", "3|4", "50|60", "70|80")))}]
    path = write_table(tmp_path / "t.csv", rows)
    (photo,) = delivery.read_delivery(path, schema, names, 5, 0).sample
    expected = {"x.jpg": ["1", "3", "50", "70"], "y.jpg": ["2", "4", "60", "80"]}
    assert photo.box == expected[photo.image]


def test_an_absent_column_counts_as_empty_cells(schema, tmp_path):
    cells = row("a", "a.jpg")
    del cells["color"]
    found = read_delivery(write_table(tmp_path / "t.csv", [cells]), schema)
    assert found.counts.states[schema.index["color"]].tolist() == [0, 0, 1]
