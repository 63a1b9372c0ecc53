"""Claims about `benchmarks/predict.py`: its table is the records', and it measures both."""

from __future__ import annotations

import csv

from attr_extractor.config import Config
from attr_extractor.records.manifest import Manifest
from benchmarks import predict
from tests.records.by_hand import read_split


def test_the_table_holds_the_training_split_over_and_over(built, tmp_path):
    manifest = Manifest.read(built.records)
    photos = manifest.split("train").photos
    predict._write_table(tmp_path, built.records, manifest, photos + 3)
    with open(tmp_path / "table.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == photos + 3 and rows[photos]["image"] == rows[0]["image"] == "0.jpg"
    with open(built.catalogue, newline="", encoding="utf-8") as file:
        sellers = {(r["category"], r["neck_type"], r["closure"]) for r in csv.DictReader(file)}
    assert {(r["category"], r["neck_type"], r["closure"]) for r in rows} <= sellers
    stored = [found["image/encoded"] for found in read_split(built.records, "train")]
    assert [(tmp_path / row["image"]).read_bytes() for row in rows] == stored + stored[:3]


def test_model_and_prediction_are_both_measured(built):
    found = predict.measure(Config.read(built.config), built.records, 40)
    assert all(value > 0 for value in found.values()) and len(found) == 5
