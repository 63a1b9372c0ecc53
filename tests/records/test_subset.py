"""Tests of `subset.py`: nested subsets of the training products, counted exactly."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pytest

from attr_extractor import labels
from attr_extractor.errors import InputError
from attr_extractor.records import check, index, subset
from attr_extractor.records.manifest import Manifest
from tests.records.by_hand import labels_of, read_split


def products(records, split="train"):
    return [(e["product_id"], e["image/index"], e["labels"]) for e in read_split(records, split)]


@pytest.fixture(scope="module")
def parts(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    for fraction in (0.25, 0.5):
        subset.write_subset(built.records, fraction, folder / f"{fraction}")
    return folder


def test_a_smaller_subset_is_part_of_a_larger_one_in_the_same_order(built, parts):
    whole, half, quarter = (products(f) for f in (built.records, parts / "0.5", parts / "0.25"))
    assert 0 < len(quarter) < len(half) < len(whole)
    assert half == [photo for photo in whole if photo in half]
    assert quarter == [photo for photo in half if photo in quarter]
    kept = {product for product, *_ in half}
    assert [photo for photo in whole if photo[0] in kept] == half  # products whole


def test_the_manifest_counts_the_subset(parts, schema):
    for name in ("0.25", "0.5"):
        manifest = Manifest.read(parts / name)
        examples = read_split(parts / name, "train")
        codes = labels_of(examples)
        assert manifest.splits["train"].photos == len(examples)
        assert manifest.splits["train"].products == len({e["product_id"] for e in examples})
        np.testing.assert_array_equal(manifest.present("train"), (codes == 1).sum(axis=0))
        for attribute, where in schema.slices.items():
            missing = (codes[:, where] == labels.MISSING).all(axis=1).sum()
            assert manifest.splits["train"].labels[attribute].missing == missing
        assert check.check(parts / name).problems == []


def test_validation_is_complete_and_the_test_split_is_empty(built, parts):
    assert products(parts / "0.5", "validation") == products(built.records, "validation")
    assert Manifest.read(parts / "0.5").splits["test"].photos == 0


def test_records_and_subsets_have_different_digests(built, parts):
    found = {Manifest.read(f).digest for f in (built.records, parts / "0.25", parts / "0.5")}
    assert len(found) == 3


def test_products_of_one_group_are_kept_or_dropped_together(built, tmp_path):
    name = Manifest.read(built.records).splits["train"].shards[0].name
    copied = tmp_path / "grouped"
    shutil.copytree(built.records, copied)
    photos, facts = index.read_photos(str(copied), [name]), index.require_summary(str(copied), name)
    groups = [f"seller {i % 5}" for i in range(len(photos))]
    place = photos.schema.get_field_index("group")
    index.write_index(str(copied), name, photos.set_column(place, "group", pa.array(groups)), facts)
    subset.write_subset(copied, 0.5, tmp_path / "part")
    kept = index.read_photos(str(tmp_path / "part"), [name])["group"].to_pylist()
    assert 0 < len(set(kept)) < 5
    assert all(kept.count(group) == groups.count(group) for group in set(kept))


def test_a_second_call_writes_nothing_and_an_interrupted_one_resumes(built, tmp_path):
    part = tmp_path / "part"
    first = subset.write_subset(built.records, 0.5, part)
    files = sorted(part.glob("*.tfrecord"))
    (part / "manifest.json").unlink()
    before = [path.stat().st_mtime_ns for path in files]
    files[0].unlink()
    next(iter((part / "index").glob(f"{files[0].stem}*"))).unlink()
    assert subset.write_subset(built.records, 0.5, part) == first
    assert [path.stat().st_mtime_ns for path in files][1:] == before[1:]
    assert subset.write_subset(built.records, 0.5, part) == first
    with pytest.raises(InputError, match="other records; use another folder"):
        subset.write_subset(built.records, 0.25, part)


def test_a_fraction_of_0_or_1_is_bad_input(built, tmp_path):
    for fraction in (0.0, 1.0):
        with pytest.raises(InputError, match="above 0 and below 1"):
            subset.write_subset(built.records, fraction, tmp_path / "part")
    with pytest.raises(InputError, match="contains no training product"):
        subset.write_subset(built.records, 1e-9, tmp_path / "part")
