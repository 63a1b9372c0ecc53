"""Tests of `records/index.py`: the inputs and contents of every shard."""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path

import imagehash
import numpy as np
import pyarrow.parquet as pq
import pytest
import xxhash
from PIL import Image

from attr_extractor.catalogue import photos
from attr_extractor.errors import InputError
from attr_extractor.records import index
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from tests.conftest import Shop
from tests.records.by_hand import build, labels_of, read_csv, read_tfrecord, row, small_shop


@pytest.fixture(scope="module")
def shards(built: Shop) -> list[str]:
    manifest = Manifest.read(built.records)
    return [shard.name for split in manifest.splits.values() for shard in split.shards]


def test_the_index_has_a_row_for_every_record_in_its_order(built: Shop, shards):
    rows = {cells["product_id"]: cells for cells in read_csv(built.catalogue)}
    for name in shards:
        listed = index.read_photos(str(built.records), [name]).to_pylist()
        examples = read_tfrecord(built.records / name)
        assert len(listed) == len(examples)
        for found, example in zip(listed, examples):
            cells = rows[example["product_id"].decode()]
            image = cells["image"].split("|")[example["image/index"]]
            raw = (built.path / image).read_bytes()
            stored = Image.open(io.BytesIO(example["image/encoded"]))
            grey = photos.store(raw, 64).pixels.convert("L")
            grey = grey.resize((64, 64), Image.Resampling.HAMMING, reducing_gap=2.0)
            bits = imagehash.phash(grey, hash_size=16).hash
            assert found == {
                "product_id": cells["product_id"],
                "group": cells["product_id"],
                "category": cells["category"],
                "image": image,
                "image_index": example["image/index"],
                "digest": xxhash.xxh3_128_digest(raw),
                "perceptual_hash": np.packbits(bits).tobytes(),
                "labels_digest": hashlib.blake2b(example["labels"], digest_size=8).digest(),
                "height": stored.height,
                "width": stored.width,
                "raw_height": Image.open(io.BytesIO(raw)).height,
                "raw_width": Image.open(io.BytesIO(raw)).width,
                "raw_bytes": len(raw),
                "format": "JPEG",
                "color_profile": "",
            }


def test_the_summary_of_a_shard_counts_its_records(built: Shop, shards, schema: Schema):
    for name in shards:
        facts = index.require_summary(str(built.records), name)
        examples = read_tfrecord(built.records / name)
        codes = labels_of(examples)
        assert (facts.records, facts.rejects) == (len(examples), [])
        assert facts.bytes == (built.records / name).stat().st_size
        assert facts.fingerprint == schema.fingerprint
        assert facts.products == len({example["product_id"] for example in examples})
        assert facts.present == (codes == 1).sum(0).tolist()
        for (answered, not_applicable, missing), where in zip(facts.states, schema.slices.values()):
            assert answered == (codes[:, where] == 1).any(1).sum()
            assert missing == (codes[:, where] == -1).all(1).sum()
            assert answered + not_applicable + missing == len(examples)


def test_the_summary_of_a_shard_lists_its_rejected_photos(tmp_path: Path, schema: Schema):
    (tmp_path / "text.jpg").write_text("no photo")
    rows = [*small_shop(tmp_path, 3), row("ü x", "text.jpg"), row("x", "1_0.jpg|lost.jpg")]
    records = build(tmp_path, rows, schema, split_fractions=(1, 0, 0))
    facts = index.require_summary(str(records), "train-00000-of-00001.tfrecord")
    assert sorted(facts.rejects) == [
        ["x", "lost.jpg", "image not found"],
        ["ü x", "text.jpg", "not an image"],
    ]
    assert (facts.records, facts.products) == (5, 4)


def test_several_shards_are_read_in_the_given_order(built: Shop, shards):
    backwards = shards[::-1]
    whole = index.read_photos(str(built.records), backwards, ["product_id", "image_index"])
    assert whole.column_names == ["product_id", "image_index"]
    expected = [e for name in backwards for e in read_tfrecord(built.records / name)]
    assert whole["product_id"].to_pylist() == [e["product_id"].decode() for e in expected]
    assert whole["image_index"].to_pylist() == [e["image/index"] for e in expected]


def test_reading_no_shard_gives_an_empty_table_with_all_columns(tmp_path: Path):
    assert index.read_photos(str(tmp_path), []).schema == index.COLUMNS


def test_the_index_is_a_parquet_file_with_the_documented_columns(built: Shop, shards):
    table = pq.read_table(built.records / "index" / shards[0].replace(".tfrecord", ".parquet"))
    assert table.schema.remove_metadata() == index.COLUMNS


def test_an_index_of_an_older_release_has_no_profiles(built: Shop, shards, tmp_path: Path):
    records = str(shutil.copytree(built.records, tmp_path / "records"))
    whole = index.read_photos(records, shards)
    for name in shards:
        path = index.path(records, name)
        pq.write_table(pq.read_table(path).drop_columns(["color_profile"]), path)
    older = index.read_photos(records, shards)
    assert older.drop_columns(["color_profile"]) == whole.drop_columns(["color_profile"])
    assert set(older["color_profile"].to_pylist()) == {"not recorded"}
    named = index.read_photos(records, shards, ["color_profile", "image"])
    assert named == older.select(["color_profile", "image"])


def test_an_index_that_is_missing_or_damaged_is_named(built: Shop, shards, tmp_path: Path):
    records = str(shutil.copytree(built.records, tmp_path / "records"))
    path = Path(index.path(records, shards[0]))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=f"{path}: not a readable Parquet file"):
        index.require_summary(records, shards[0])
    path.unlink()
    assert index.read_summary(records, shards[0]) is None
    with pytest.raises(InputError, match=f"{path}: the index is missing"):
        index.require_summary(records, shards[0])
    with pytest.raises(InputError, match=f"{path.name}: cannot be read: No such file"):
        index.read_photos(records, shards)
