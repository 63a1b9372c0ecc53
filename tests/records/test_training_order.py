"""Tests of the order of training photos: groups of shards, runs, start positions.

The shards are made by hand, so that a photo that must not be decoded can be made undecodable, and
a shard that must not be opened unreadable.
"""

from __future__ import annotations

import io
from collections.abc import Set
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from attr_extractor.config import DataConfig
from attr_extractor.records import dataset, example
from attr_extractor.records.manifest import Manifest, Shard
from tests.conftest import Shop

DATA = DataConfig(image_size=32, batch_size=7, shuffle_buffer=1000)


@dataclass(frozen=True)
class Shards:
    """A folder of training shards; product `12` is photo number 12, counted through them."""

    folder: Path
    manifest: Manifest

    @property
    def sizes(self) -> list[int]:
        return [shard.records for shard in self.manifest.splits["train"].shards]

    @property
    def steps(self) -> int:
        return sum(self.sizes) // DATA.batch_size

    def shard_of(self, photo: int) -> int:
        return int(np.searchsorted(np.cumsum(self.sizes), photo, side="right"))

    def batches(
        self, count: int, seed: int = 0, start_step: int = 0, data: DataConfig = DATA
    ) -> list:
        stream = dataset.training_batches(self.folder, self.manifest, data, seed, start_step)
        return list(islice(stream.as_numpy_iterator(), count))

    def order(self, *args, **options) -> list[int]:
        found = self.batches(*args, **options)
        return [int(photo) for batch in found for photo in batch["product_id"]]


def write(
    folder: Path, manifest: Manifest, sizes: list[int], broken: Set[int] = frozenset()
) -> Shards:
    """Shards of so many photos each; the bytes of broken photos are no JPEG."""
    folder.mkdir()
    shards, photo = [], 0
    for index, size in enumerate(sizes):
        path = folder / f"train-{index}.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for _ in range(size):
                writer.write(record(photo, manifest.schema.num_values, photo in broken))
                photo += 1
        shards.append(Shard(name=path.name, records=size, bytes=path.stat().st_size))
    train = manifest.splits["train"].model_copy(update={"shards": shards, "photos": photo})
    return Shards(folder, manifest.model_copy(update={"splits": {"train": train}}))


def record(photo: int, num_values: int, broken: bool) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 36), (photo, 255 - photo, 99)).save(out, "JPEG")
    values = {
        "image/encoded": b"no photo" if broken else out.getvalue(),
        "image/height": 36,
        "image/width": 40,
        "image/index": 0,
        "product_id": str(photo).encode(),
        "labels": np.full(num_values, photo % 2, np.int8),
    }
    return example.serialize(values)


@pytest.fixture(scope="module")
def manifest(built: Shop) -> Manifest:
    return Manifest.read(built.records)


def require_equal(found: list[dict], expected: list[dict]) -> None:
    assert len(found) == len(expected) > 0
    for batch, other in zip(found, expected):
        assert {k: v.tobytes() for k, v in batch.items() if k != "product_id"} == {
            k: v.tobytes() for k, v in other.items() if k != "product_id"
        }
        assert batch["product_id"].tolist() == other["product_id"].tolist()


SIZES = {"one shard": [65], "shards": [20, 5, 25, 15], "many shards": [1, 2] * 20 + [5]}


@pytest.mark.parametrize("shuffle_buffer", [1000, 8])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_every_start_position_continues_the_same_stream(tmp_path, manifest, sizes, shuffle_buffer):
    shards = write(tmp_path / "records", manifest, sizes)
    data = DATA.model_copy(update={"shuffle_buffer": shuffle_buffer})
    steps = shards.steps
    assert sum(sizes) == 65 and steps == 9
    stream = shards.batches(3 * steps, data=data)
    for start in (4, steps - 1, steps + 5):
        require_equal(
            shards.batches(3 * steps - start, start_step=start, data=data), stream[start:]
        )
    photos = np.array([batch["product_id"] for batch in stream]).reshape(3, -1)  # one row an epoch
    assert [len(set(epoch)) for epoch in photos] == [63] * 3
    assert len({tuple(epoch) for epoch in photos}) == 3
    assert len({tuple(sorted(epoch)) for epoch in photos}) > 1  # not always the same two left out


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_photos_before_the_position_are_not_decoded(tmp_path, manifest, sizes):
    clean = write(tmp_path / "clean", manifest, sizes)
    stream = clean.batches(clean.steps)
    for start in (1, clean.steps - 1):
        needed = {int(photo) for batch in stream[start:] for photo in batch["product_id"]}
        before = set(range(65)) - needed
        broken = write(tmp_path / f"broken {start}", manifest, sizes, before)
        left = clean.steps - start
        require_equal(broken.batches(left, start_step=start), stream[start:])
        with pytest.raises(tf.errors.InvalidArgumentError, match="JPEG"):
            broken.batches(clean.steps)


def test_groups_of_shards_before_the_position_are_not_opened(tmp_path, manifest, monkeypatch):
    monkeypatch.setattr(dataset, "READERS", 2)
    shards = write(tmp_path / "records", manifest, [7] * 10)  # 5 groups of 2 batches
    stream = shards.batches(shards.steps)
    for start in (2, 4, 8):
        gone = {shards.shard_of(int(p)) for b in stream[:start] for p in b["product_id"]}
        assert len(gone) == start
        for index in gone:
            path = shards.folder / f"train-{index}.tfrecord"
            path.write_bytes(bytes(path.stat().st_size))
        left = shards.steps - start
        require_equal(shards.batches(left, start_step=start), stream[start:])
    with pytest.raises(tf.errors.DataLossError):
        shards.batches(shards.steps)


def test_a_run_mixes_the_shards_of_its_group_in_equal_shares(tmp_path, manifest, monkeypatch):
    monkeypatch.setattr(dataset, "READERS", 3)
    shards = write(tmp_path / "records", manifest, [14] * 5)  # groups of 3 and 2 shards
    data = DATA.model_copy(update={"shuffle_buffer": 21})
    order = shards.order(shards.steps, data=data)
    firsts = [shards.order(3, start_step=epoch * shards.steps, data=data) for epoch in range(4)]
    groups = {frozenset(shards.shard_of(photo) for photo in first) for first in firsts}
    assert len(groups) > 1  # other shards are read together in another epoch
    origin = [shards.shard_of(photo) for photo in order]
    counts = [sorted(np.bincount(origin[i : i + 21], minlength=5)) for i in (0, 21)]
    assert counts == [[0, 0, 7, 7, 7]] * 2
    assert set(origin[:42]).isdisjoint(origin[42:])
    places = [order.index(photo) for photo in sorted(order[:21])]
    assert places != sorted(places)  # shuffled within the run


def test_the_order_depends_only_on_seed_and_epoch(tmp_path, manifest):
    shards = write(tmp_path / "records", manifest, SIZES["shards"])
    expected = shards.order(9, seed=2)
    other = DataConfig(image_size=64, square="pad", batch_size=21, shuffle_buffer=1000)
    assert shards.order(3, seed=2, data=other) == expected
    assert shards.order(9, seed=2) == expected
    assert shards.order(9, seed=3) != expected
    assert shards.order(9, seed=2**32 - 1) != expected
