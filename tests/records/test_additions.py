"""Tests of additions to finished records: new rows in new shards, existing shards unchanged."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from attr_extractor.catalogue.splits import SPLITS
from attr_extractor.records.builder import LINKS_SPLITS
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from tests.records.by_hand import (
    InProcess,
    Killer,
    build,
    contents,
    labels_of,
    products_of,
    read_csv,
    read_split,
    row,
    small_shop,
    write_photo,
)

OPTIONS = {"shards": 2, "split_fractions": (0.5, 0.25, 0.25)}


class NothingToDo(InProcess):
    """Is given no task, or none of one kind."""

    def __init__(self, kind: str | None = None):
        self.kind = kind

    def run(self, work, tasks, name):
        assert list(tasks) == [] or self.kind not in (None, name), name
        super().run(work, tasks, name)


def stamps(records: Path) -> dict[str, tuple[bytes, int, int]]:
    """Bytes, inode and time of every shard and of its index."""
    return {
        path.name: (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
        for path in [*records.glob("*.tfrecord"), *records.glob("index/*.parquet")]
    }


def split_of(records: Path) -> dict[str, str]:
    return {product: name for name, held in products_of(records).items() for product in held}


@pytest.fixture
def shop_of_20(tmp_path: Path, schema: Schema) -> tuple[list[dict[str, str]], Path]:
    """Rows and their records; every split holds some."""
    rows = small_shop(tmp_path, 20)
    records = build(tmp_path, rows, schema, **OPTIONS)
    assert min(len(held) for held in products_of(records).values()) > 1
    return rows, records


# New rows


def test_an_addition_writes_new_shards_and_keeps_existing_ones(
    tmp_path: Path, schema: Schema, shop_of_20
):
    rows, records = shop_of_20
    before, placed, first = stamps(records), split_of(records), Manifest.read(records)
    more = small_shop(tmp_path, 12, first=100)
    build(tmp_path, [*more[:6], *rows[::2], *more[6:]], schema, **OPTIONS)  # not all old ones
    after, manifest = stamps(records), Manifest.read(records)
    assert before.items() <= after.items() and len(after) >= len(before) + 6
    assert placed.items() <= split_of(records).items()
    assert set(split_of(records)) == {r["product_id"] for r in [*rows, *more]}
    new = sorted(name for name in after.keys() - before.keys() if name.endswith(".tfrecord"))
    for split in SPLITS:
        names = [name for name in new if name.startswith(split)]
        count = len(names)
        assert names == [f"{split}-added1-{i:05d}-of-{count:05d}.tfrecord" for i in range(count)]
        shards = [shard.name for shard in manifest.splits[split].shards]
        assert shards == [shard.name for shard in first.splits[split].shards] + names
    assert list(manifest.rows.values()) == [22, 12, 10, 0]  # read, written, there, rejected
    assert (first.additions, manifest.additions) == (0, 1)
    assert manifest.digest != first.digest
    for split in SPLITS:  # the counts are those of old and new together
        codes = labels_of(read_split(records, split))
        assert manifest.present(split).tolist() == (codes == 1).sum(0).tolist()
        assert manifest.splits[split].photos == len(codes)
        assert manifest.splits[split].products == len(products_of(records)[split])


def test_an_addition_splits_new_rows_like_a_full_build(tmp_path: Path, schema: Schema, shop_of_20):
    rows, records = shop_of_20
    more = [*rows, *small_shop(tmp_path, 12, first=100)]
    build(tmp_path, more, schema, **OPTIONS)
    assert split_of(records) == split_of(
        build(tmp_path, more, schema, records=tmp_path / "fresh", **OPTIONS)
    )


def test_each_addition_has_its_own_shard_names(tmp_path: Path, schema: Schema):
    rows = small_shop(tmp_path, 4)
    records, known = build(tmp_path, rows, schema, split_fractions=(1, 0, 0)), {}
    for number in (1, 2, 3):
        rows += small_shop(tmp_path, 3, first=100 * number)
        before = stamps(records)
        build(tmp_path, rows, schema, split_fractions=(1, 0, 0))
        after = stamps(records)
        assert before.items() <= after.items()
        known[number] = sorted(name for name in after.keys() - before.keys())
    assert known == {
        n: [f"train-added{n}-00000-of-00001.{kind}" for kind in ("parquet", "tfrecord")]
        for n in (1, 2, 3)
    }
    assert Manifest.read(records).additions == 3
    ids = [e["product_id"].decode() for e in read_split(records, "train")]
    assert Counter(ids) == Counter(r["product_id"] for r in rows for _ in r["image"].split("|"))


def test_an_addition_ignores_changed_rows_of_existing_products(
    tmp_path: Path, schema: Schema, shop_of_20
):
    rows, records = shop_of_20
    before = stamps(records)
    changed = [{**r, "color": "green"} for r in rows]
    build(tmp_path, changed, schema, NothingToDo(), **OPTIONS)
    assert stamps(records) == before


# The same table again


def test_adding_the_same_table_writes_nothing_and_keeps_the_digest(
    tmp_path: Path, schema: Schema, shop_of_20
):
    rows, records = shop_of_20
    before, first = stamps(records), Manifest.read(records)
    build(tmp_path, rows, schema, NothingToDo(), **OPTIONS)
    again = Manifest.read(records)
    assert stamps(records) == before
    assert (again.digest, again.additions, again.splits) == (first.digest, 0, first.splits)
    assert again.rows == {"read": 20, "written": 0, "already there": 20, "rejected": 0}
    assert not (records / "work").exists()


def test_adding_the_same_table_with_broken_photos_writes_nothing(tmp_path: Path, schema: Schema):
    (tmp_path / "text.jpg").write_text("no photo")
    broken = [row("x", "text.jpg"), row("y", "lost.jpg"), row("z", "1_0.jpg|lost.jpg")]
    rows = [*small_shop(tmp_path, 8), *broken]
    records = build(tmp_path, rows, schema, **OPTIONS)
    before, first = contents(records), Manifest.read(records)
    for _ in range(2):
        build(tmp_path, rows, schema, **OPTIONS)
    again = Manifest.read(records)
    after = contents(records)
    for name in ("manifest.json", "report.html"):  # say how many rows were there already
        before[name] = after[name]
    assert after == before
    assert (again.digest, again.additions, again.photos) == (first.digest, 0, first.photos)
    assert again.rows == {"read": 11, "written": 0, "already there": 9, "rejected": 2}


def test_a_repaired_photo_is_added_and_no_longer_rejected(tmp_path: Path, schema: Schema):
    (tmp_path / "text.jpg").write_text("no photo")
    rows = [*small_shop(tmp_path, 8), row("x", "text.jpg"), row("y", "lost.jpg")]
    records = build(tmp_path, rows, schema, **OPTIONS)
    assert len(read_csv(records / "rejects.csv")) == 2
    write_photo(tmp_path / "text.jpg", "text")
    build(tmp_path, rows, schema, **OPTIONS)
    (reject,) = read_csv(records / "rejects.csv")
    assert reject["product_id"] == "y"
    manifest = Manifest.read(records)
    assert manifest.rows == {"read": 10, "written": 1, "already there": 8, "rejected": 1}
    assert manifest.photos["rejected"] == 1
    assert "x" in split_of(records)


# Leaks


@pytest.mark.parametrize("split", SPLITS)
def test_a_new_product_with_an_existing_photo_gets_its_split(
    tmp_path: Path, schema: Schema, shop_of_20, split: str
):
    rows, records = shop_of_20
    old = sorted(products_of(records)[split])[0]
    photo = (tmp_path / f"{old[1:]}_0.jpg").read_bytes()
    for i in range(8):  # ids of their own would scatter them
        (tmp_path / f"copy{i}.jpg").write_bytes(photo)
        write_photo(tmp_path / f"own{i}.jpg", f"own{i}")
    copies = [row(f"n{i}", f"own{i}.jpg|copy{i}.jpg") for i in range(8)]
    build(tmp_path, [*rows, *copies], schema, **OPTIONS)
    assert {split_of(records)[f"n{i}"] for i in range(8)} == {split}


@pytest.mark.parametrize("split", SPLITS)
def test_a_new_product_of_an_existing_group_gets_its_split(
    tmp_path: Path, schema: Schema, split: str
):
    options = {"group_column": "brand", "split_column": "part"}
    rows = [r | {"brand": SPLITS[i % 3]} for i, r in enumerate(small_shop(tmp_path, 9))]
    records = build(tmp_path, [r | {"part": r["brand"]} for r in rows], schema, **options)
    new = [r | {"brand": split} for r in small_shop(tmp_path, 6, first=100)]
    table = [r | {"part": SPLITS[i % 3]} for i, r in enumerate([*rows, *new])]
    build(tmp_path, table, schema, **options)
    assert {split_of(records)[r["product_id"]] for r in new} == {split}


def test_new_rows_that_link_two_splits_are_rejected_with_a_reason(
    tmp_path: Path, schema: Schema, shop_of_20
):
    rows, records = shop_of_20
    train, test = (sorted(products_of(records)[name])[0] for name in ("train", "test"))
    for name in ("own.jpg", "free.jpg"):
        write_photo(tmp_path / name, name)
    (tmp_path / "a.jpg").write_bytes((tmp_path / f"{train[1:]}_0.jpg").read_bytes())
    (tmp_path / "b.jpg").write_bytes((tmp_path / f"{test[1:]}_0.jpg").read_bytes())
    rows += [
        row("both", "a.jpg|b.jpg"),
        row("one link", "own.jpg|a.jpg"),  # and by a.jpg to the product above, so to the other
        row("free", "free.jpg"),
    ]
    build(tmp_path, rows, schema, **OPTIONS)
    assert [tuple(reject.values()) for reject in read_csv(records / "rejects.csv")] == [
        ("21", "both", "a.jpg|b.jpg", LINKS_SPLITS),
        ("22", "one link", "own.jpg|a.jpg", LINKS_SPLITS),
    ]
    assert "free" in split_of(records)
    counts = {"read": 23, "written": 1, "already there": 20, "rejected": 2}
    assert Manifest.read(records).rows == counts


# Options


def test_the_cap_includes_products_of_earlier_builds(tmp_path: Path, schema: Schema):
    options = {"cap_per_category": 5, "split_fractions": (1, 0, 0)}
    rows = small_shop(tmp_path, 9)  # three jeans, six shirts
    records = build(tmp_path, rows, schema, **options)
    assert len(products_of(records)["train"]) == 3 + 5
    before = stamps(records)
    build(tmp_path, rows, schema, NothingToDo("writing shards"), **options)
    assert stamps(records) == before
    rows += small_shop(tmp_path, 12, first=100)  # four jeans, eight shirts
    build(tmp_path, rows, schema, **options)
    held = products_of(records)["train"]
    kinds = Counter(r["category"] for r in rows if r["product_id"] in held)
    assert kinds == {"jeans": 5, "shirt": 5}
    reasons = Counter(reject["reason"] for reject in read_csv(records / "rejects.csv"))
    assert reasons == {"beyond the cap of 5 training products per category": 21 - 10}


def test_a_small_addition_keeps_the_shard_size_of_other_splits(tmp_path: Path, schema: Schema):
    options = {"shards": 3, "split_column": "part"}
    rows = [r | {"part": "train"} for r in small_shop(tmp_path, 20)]
    records = build(tmp_path, rows, schema, **options)
    new = small_shop(tmp_path, 16, first=100)
    rows += [r | {"part": "train" if i == 0 else "test"} for i, r in enumerate(new)]
    build(tmp_path, rows, schema, **options)
    shards = Counter(path.name.split("-")[0] for path in records.glob("*-added1-*.tfrecord"))
    assert shards == {"train": 1, "test": 1}


# Kills


@pytest.mark.parametrize("step", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_an_addition_killed_before_any_disk_change_resumes_to_the_same_result(
    tmp_path: Path, schema: Schema, shop_of_20, step: int
):
    rows, records = shop_of_20
    rows = [*rows, *small_shop(tmp_path, 6, first=100)]
    old = stamps(records)

    def add(to: Path) -> dict[str, bytes]:
        return contents(build(tmp_path, rows, schema, records=to, **OPTIONS))

    whole = Path(shutil.copytree(records, tmp_path / "whole"))
    with Killer(at=-1) as counter:
        undisturbed = add(whole)
    again = add(whole)  # the same shards; the manifest says "already there"
    changes = -1 - counter.left
    for at in sorted({*range(0, changes, step), *range(changes - 8, changes)}):  # the end: all
        killed = Path(shutil.copytree(records, tmp_path / f"killed {at}"))
        with Killer(at):
            add(killed)
        finished = Manifest.read(killed).additions == 1  # the old records were readable meanwhile
        assert add(killed) == (again if finished else undisturbed), f"killed at {at}"
        there = stamps(killed)
        assert {name: there[name][0] for name in old} == {name: old[name][0] for name in old}
        shutil.rmtree(killed)
