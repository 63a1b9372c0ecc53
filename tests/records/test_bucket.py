"""Tests of records, photos and tables in a bucket: identical to those built on disk.

`memory://` stands for a bucket: a file system of fsspec, in this process.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from attr_extractor import storage
from attr_extractor.catalogue import photos
from attr_extractor.config import DataConfig
from attr_extractor.errors import InputError
from attr_extractor.records import builder, dataset, plan, relabel
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from tests.conftest import write_table
from tests.records.by_hand import InProcess, contents, read_csv, row, small_shop

OPTIONS = plan.BuildOptions(image_size=64, shards=2, split_fractions=(0.5, 0.25, 0.25))


@pytest.fixture
def places(tmp_path: Path) -> tuple[str, str]:
    """The folder of a shop on the disk, and a bucket with the same photos."""
    shop = tmp_path / "shop"
    shop.mkdir()
    small_shop(shop, 30)
    (shop / "text.jpg").write_text("no photo")
    (shop / "empty.jpg").write_bytes(b"")
    bucket = f"memory://{tmp_path.name}/shop"
    for name, data in contents(shop).items():
        storage.write(f"{bucket}/{name}", data)
    return str(shop), bucket


def tables(places: tuple[str, str], rows: list[dict[str, str]], name: str) -> list[str]:
    """The table in both places."""
    path = write_table(Path(places[0]) / name, rows)
    storage.write(f"{places[1]}/{name}", path.read_bytes())
    return [f"{place}/{name}" for place in places]


def everything(records: str) -> dict[str, bytes]:
    names = [f"index/{name}" for name in storage.names(f"{records}/index")]
    names += [name for name in storage.names(records) if name != "index"]
    return {name: storage.read(storage.join(records, name)) for name in names}


def test_build_addition_and_relabel_in_a_bucket_equal_those_on_disk(
    places, tmp_path: Path, schema: Schema
):
    rows = small_shop(tmp_path, 30)
    rows += [row("x", "text.jpg"), row("y", "lost.jpg"), row("z", "empty.jpg")]
    changed = [{**cells, "color": "green"} for cells in rows]
    records = [f"{place}/records" for place in places]
    for name, part in (("first.csv", [*rows[:20], *rows[30:]]), ("all.parquet.csv", rows)):
        for catalogue, where in zip(tables(places, part, name), records):
            builder.build(catalogue, schema, where, None, OPTIONS, InProcess())
        assert everything(records[0]) == everything(records[1])
        assert Manifest.read(records[1]).rows["rejected"] == 3
    for catalogue, where in zip(tables(places, changed, "changed.csv"), records):
        relabel.relabel(catalogue, schema, where, InProcess())
    assert everything(records[0]) == everything(records[1])
    assert len(everything(records[1])) > 12
    assert not storage.exists(f"{records[1]}/work")

    manifest = Manifest.read(records[1])
    data = DataConfig(image_size=32, batch_size=8, shuffle_buffer=16)
    here, there = (dataset.training_batches(where, manifest, data, seed=0) for where in records)
    for one, other in zip(here.take(3), there.take(3)):
        np.testing.assert_array_equal(one["pixels"], other["pixels"])
        np.testing.assert_array_equal(one["product_id"], other["product_id"])


def test_photos_in_a_bucket_can_be_built_into_local_records(places, tmp_path: Path, schema: Schema):
    rows = small_shop(tmp_path, 12)
    table, _ = tables(places, rows, "table.csv")
    found = []
    for i, root in enumerate(places):
        builder.build(table, schema, tmp_path / f"records{i}", root, OPTIONS, InProcess())
        found.append(contents(tmp_path / f"records{i}"))
    assert found[0] == found[1]


def test_image_paths_in_a_bucket_must_be_below_the_image_root(
    places, tmp_path: Path, schema: Schema
):
    bucket = places[1]
    images = [f"{bucket}/1_0.jpg", f"{bucket}2/1_0.jpg", "../shop/1_0.jpg", "http://x.org/a.jpg"]
    rows = [row(f"p{i}", image) for i, image in enumerate(images)]
    table, _ = tables(places, rows, "table.csv")
    builder.build(table, schema, tmp_path / "records", bucket, OPTIONS, InProcess())
    reasons = {r["image"]: r["reason"] for r in read_csv(tmp_path / "records" / "rejects.csv")}
    assert reasons == dict(zip(images[1:], [photos.OUTSIDE, photos.OUTSIDE, photos.WEB_ADDRESS]))


def test_a_bucket_folder_with_other_files_is_rejected(places, schema: Schema):
    table, _ = tables(places, [row("p", "1_0.jpg")], "table.csv")
    with pytest.raises(
        InputError, match=r"shop: the output folder contains '.*', which no build has"
    ):
        builder.build(table, schema, places[1], places[0], OPTIONS, InProcess())
    shutil.rmtree(places[0])
    with pytest.raises(InputError, match="the catalogue does not exist"):
        builder.build(table, schema, f"{places[1]}/records", places[1], OPTIONS, InProcess())
