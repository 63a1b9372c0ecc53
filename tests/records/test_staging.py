"""Tests of staging.py: shards of a bucket on the disk, downloaded ahead, within a limit."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import tensorflow as tf

from attr_extractor import storage
from attr_extractor.config import DataConfig
from attr_extractor.errors import InputError
from attr_extractor.records import dataset, staging
from attr_extractor.records.manifest import Manifest
from tests.conftest import Shop

SIZE = 1000  # bytes of a shard


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    """Addresses of shards, each of its own letter."""
    paths = [f"memory://staging/{tmp_path.name}/{letter}" for letter in "abcdefgh"]
    for path in paths:
        storage.write(path, path[-1].encode() * SIZE)
    return paths


def read(files: list[str]) -> str:
    """Return the letters of files that contain a single letter."""
    contents = [Path(file).read_text() for file in files]
    assert all(content == content[0] * SIZE for content in contents)
    return "".join(content[0] for content in contents)


def test_a_shard_is_downloaded_once(shards: list[str]):
    cache = staging.Cache(100 * SIZE)
    for _ in range(3):
        assert read(cache.stage(shards[:3])) == "abc"
    assert (cache.counts.downloads, cache.counts.bytes) == (3, 3 * SIZE)


def test_the_next_shards_are_downloaded_ahead(shards: list[str]):
    cache = staging.Cache(100 * SIZE)
    cache.stage(shards[:1], shards[1:3])
    for _ in range(100):
        if cache.counts.downloads == 3:
            break
        time.sleep(0.05)
    time.sleep(0.2)
    waited = cache.counts.waited_for
    assert read(cache.stage(shards[1:3])) == "bc"
    assert (cache.counts.downloads, cache.counts.waited_for) == (3, waited)


def test_the_cache_stays_within_its_limit_and_keeps_what_may_not_be_open_yet(shards: list[str]):
    cache = staging.Cache(5 * SIZE)
    folder = Path(cache.stage(shards[:1])[0]).parent
    for path in [*shards, *shards]:
        assert read(cache.stage([path])) == path[-1]
        assert sum(file.stat().st_size for file in folder.iterdir()) <= 5 * SIZE
    assert cache.counts.downloads > len(shards)
    with pytest.raises(InputError, match="do not fit into the cache of 0.0 GiB"):
        cache.stage(shards[:6])


def test_a_shard_that_is_being_read_can_be_removed(shards: list[str]):
    cache = staging.Cache(5 * SIZE)
    first = cache.stage(shards[:1])[0]
    with open(first) as file:
        for path in shards[1:]:
            cache.stage([path])
        assert not os.path.exists(first)
        assert file.read() == "a" * SIZE


def test_a_shard_that_was_written_again_is_downloaded_again(shards: list[str]):
    cache = staging.Cache(100 * SIZE)
    cache.stage(shards[:1])
    storage.write(shards[0], b"z" * SIZE)
    assert read(cache.stage(shards[:1])) == "z"


def test_a_missing_shard_raises_one_line():
    with pytest.raises(InputError, match="memory://staging/none: cannot be read: no such file"):
        staging.Cache().stage(["memory://staging/none"])


@pytest.fixture
def in_memory(built: Shop, tmp_path: Path) -> str:
    """The records of the shop in a bucket."""
    address = f"memory://staging/{tmp_path.name}/records"
    for path in built.records.rglob("*"):
        if path.is_file():
            storage.write(f"{address}/{path.relative_to(built.records)}", path.read_bytes())
    return address


@pytest.mark.parametrize("start", [0, 5])
@pytest.mark.parametrize("readers", [1, 2, 16])
def test_batches_from_a_bucket_equal_those_from_a_disk(
    built: Shop, in_memory: str, monkeypatch: pytest.MonkeyPatch, readers: int, start: int
):
    monkeypatch.setattr(dataset, "READERS", readers)
    manifest = Manifest.read(in_memory)
    data = DataConfig(image_size=32, batch_size=8, shuffle_buffer=16)
    here, there = (
        dataset.training_batches(records, manifest, data, 0, start).take(25)
        for records in (built.records, in_memory)
    )
    pairs = list(zip(here, there))
    assert len(pairs) == 25  # more than an epoch
    for one, other in pairs:
        for name in one:
            tf.debugging.assert_equal(one[name], other[name])
    for split in ("validation", "test"):
        here, there = (
            dataset.evaluation_batches(records, manifest, data, split, start=start)
            for records in (built.records, in_memory)
        )
        for one, other in zip(here, there):
            tf.debugging.assert_equal(one["image_index"], other["image_index"])
            tf.debugging.assert_equal(one["pixels"], other["pixels"])


def test_a_shard_that_disappears_during_training_is_one_line(in_memory: str):
    manifest = Manifest.read(in_memory)
    shard = storage.join(in_memory, manifest.split("train").shards[0].name)
    storage.remove(shard)
    batches = dataset.training_batches(in_memory, manifest, DataConfig(batch_size=8), 0)
    with pytest.raises(InputError, match=f"{shard}: cannot be read"), dataset.readable(in_memory):
        list(batches.take(1))
