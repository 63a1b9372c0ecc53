"""Tests of interrupted builds: a rerun skips finished work and gives the same result.

Programs that are killed for real are in test_killed_programs.py; here a build is stopped in this
process before every single change that it makes to the disk.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from attr_extractor.catalogue import photos
from attr_extractor.errors import InputError
from attr_extractor.records import tasks
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from tests.conftest import draw_photo
from tests.records.by_hand import (
    InProcess,
    Killed,
    Killer,
    build,
    contents,
    products_of,
    read_csv,
    read_split,
    row,
    small_shop,
    write_photo,
)

SPLITS = ("train", "validation", "test")
OPTIONS = {"shards": 3, "split_fractions": (0.6, 0.2, 0.2)}
COUNT = 14  # products, of which three have two photos


@pytest.fixture(autouse=True)
def short_hashing_tasks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tasks, "PHOTOS_PER_HASH_TASK", 4)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, schema: Schema) -> dict[str, bytes]:
    """The files of a build that nothing interrupts."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return contents(build(folder, small_shop(folder, COUNT), schema, **OPTIONS))


class StopsBefore(InProcess):
    """Is stopped before its k-th task, and knows which were done."""

    def __init__(self, at: int):
        self.at, self.done = at, []

    def run(self, work, tasks, name):
        for task in tasks:
            if len(self.done) == self.at:
                raise Killed
            work(task)
            self.done.append((name, task))


def shards_of(records: Path) -> dict[str, tuple[int, int]]:
    """What tells a file from one that was written in its place."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in [*records.glob("*.tfrecord"), *records.glob("index/*.parquet")]
    }


def test_a_resumed_build_runs_only_the_remaining_tasks(tmp_path: Path, schema: Schema, undisturbed):
    all_done = StopsBefore(-1)
    (tmp_path / "all").mkdir()
    build(tmp_path / "all", small_shop(tmp_path / "all", COUNT), schema, all_done, **OPTIONS)
    names = Counter(name for name, _ in all_done.done)
    assert names == {"hashing photos": 5, "writing shards": 5}  # of 17 photos
    for at in range(len(all_done.done)):
        folder = tmp_path / str(at)
        folder.mkdir()
        rows, first = small_shop(folder, COUNT), StopsBefore(at)
        with pytest.raises(Killed):
            build(folder, rows, schema, first, **OPTIONS)
        with pytest.raises(InputError, match="its build did not finish"):
            Manifest.read(folder / "records")
        written, second = shards_of(folder / "records"), StopsBefore(-1)
        build(folder, rows, schema, second, **OPTIONS)
        assert contents(folder / "records") == undisturbed
        assert len(first.done) + len(second.done) == len(all_done.done)
        assert written.items() <= shards_of(folder / "records").items()


def count_of_changes(folder: Path, rows: list[dict[str, str]], schema: Schema) -> int:
    with Killer(at=-1) as counter:
        build(folder, rows, schema, **OPTIONS)
    return -1 - counter.left


@pytest.mark.parametrize("step", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_a_build_killed_before_any_disk_change_resumes_to_the_same_result(
    tmp_path: Path, schema: Schema, undisturbed, step: int
):
    whole = tmp_path / "whole"
    whole.mkdir()
    rows = small_shop(whole, COUNT)
    changes = count_of_changes(whole, rows, schema)
    assert changes > 80 and contents(whole / "records") == undisturbed
    build(whole, rows, schema, **OPTIONS)
    again = contents(whole / "records")  # the same shards; the manifest says "already there"
    for at in sorted({*range(0, changes, step), *range(changes - 10, changes)}):  # the end: all
        records = whole / f"killed {at}"
        with Killer(at, reverse=at % 2 == 1):
            build(whole, rows, schema, records=records, **OPTIONS)
        finished = (records / "manifest.json").exists()
        build(whole, rows, schema, records=records, **OPTIONS)
        assert contents(records) == (again if finished else undisturbed), f"killed at {at}"
        assert not (records / "work").exists()


def test_no_product_is_duplicated_after_kills(tmp_path: Path, schema: Schema):
    rows = small_shop(tmp_path, COUNT)
    for at in range(2, 60, 7):
        with Killer(at):
            build(tmp_path, rows, schema, **OPTIONS)
    records = build(tmp_path, rows, schema, **OPTIONS)
    found = [
        (example["product_id"].decode(), example["image/index"])
        for split in SPLITS
        for example in read_split(records, split)
    ]
    expected = [(r["product_id"], k) for r in rows for k in range(len(r["image"].split("|")))]
    assert sorted(found) == sorted(expected)


# What changed between the kill and the second run


def killed_while_writing(folder: Path, rows: list[dict[str, str]], schema: Schema, **options):
    """A build that hashed all photos and wrote two shards."""
    num_photos = sum(len(r["image"].split("|")) for r in rows)
    hash_tasks = math.ceil(num_photos / tasks.PHOTOS_PER_HASH_TASK)
    with pytest.raises(Killed):
        build(folder, rows, schema, StopsBefore(hash_tasks + 2), **OPTIONS, **options)


def fresh(folder: Path, rows: list[dict[str, str]], schema: Schema) -> dict[str, bytes]:
    """The files of a build elsewhere, from the photos as they are."""
    return contents(build(folder, rows, schema, records=folder / "fresh", **OPTIONS))


def test_a_resumed_build_uses_the_current_table(tmp_path: Path, schema: Schema):
    rows = small_shop(tmp_path, COUNT)
    killed_while_writing(tmp_path, rows, schema)
    stopped = shards_of(tmp_path / "records")
    changed = [
        *({**r, "color": "green"} if r["product_id"] == "p4" else r for r in rows[:-4]),
        *small_shop(tmp_path, 3, first=100),
    ]
    records = build(tmp_path, changed, schema, **OPTIONS)
    assert contents(records) == fresh(tmp_path, changed, schema)
    assert stopped.keys() & shards_of(records).keys()


def test_a_rerun_with_fewer_shards_removes_those_of_the_first_run(tmp_path: Path, schema: Schema):
    rows = small_shop(tmp_path, COUNT)
    killed_while_writing(tmp_path, rows, schema)
    build(tmp_path, rows, schema, shards=1, split_fractions=(1, 0, 0))
    names = {path.name for path in (tmp_path / "records").glob("**/*") if path.is_file()}
    assert {name for name in names if name.startswith(SPLITS)} == {
        "train-00000-of-00001.tfrecord",
        "train-00000-of-00001.parquet",
    }


def test_a_rerun_uses_its_own_image_size(tmp_path: Path, schema: Schema):
    rows = small_shop(tmp_path, COUNT)
    killed_while_writing(tmp_path, rows, schema)
    records = build(tmp_path, rows, schema, image_size=32, **OPTIONS)
    examples = [e for split in SPLITS for e in read_split(records, split)]
    assert {example["image/width"] for example in examples} == {32}


def test_a_rerun_uses_its_own_image_root(tmp_path: Path, schema: Schema):
    other = tmp_path / "other"
    other.mkdir()
    rows = small_shop(tmp_path, COUNT)
    killed_while_writing(tmp_path, rows, schema)
    for path in tmp_path.glob("*.jpg"):
        write_photo(other / path.name, f"other bytes of {path.name}")
    records = build(tmp_path, rows, schema, image_root=other, **OPTIONS)
    assert read_csv(records / "rejects.csv") == []
    assert Manifest.read(records).rows["written"] == COUNT


class ChangesAPhoto(InProcess):
    """Another program writes a photo after all are hashed."""

    def __init__(self, path: Path):
        self.path = path

    def run(self, work, tasks, name):
        super().run(work, tasks, name)
        if name == "hashing photos":
            draw_photo(self.path, "jeans", ["blue"], "")


def test_a_photo_that_changed_after_it_was_hashed_is_rejected_and_added_by_the_next_build(
    tmp_path: Path, schema: Schema
):
    rows = small_shop(tmp_path, COUNT)
    records = build(tmp_path, rows, schema, ChangesAPhoto(tmp_path / "4_0.jpg"), **OPTIONS)
    (reject,) = read_csv(records / "rejects.csv")
    assert list(reject.values()) == ["5", "p4", "4_0.jpg", photos.CHANGED]
    assert "p4" not in set().union(*products_of(records).values())
    assert Manifest.read(records).rows == {
        "read": COUNT,
        "written": COUNT - 1,
        "already there": 0,
        "rejected": 1,
    }
    build(tmp_path, rows, schema, **OPTIONS)
    assert "p4" in set().union(*products_of(records).values())
    assert read_csv(records / "rejects.csv") == []


@pytest.mark.parametrize("broken", [None, b"", b"no photo"], ids=["no file", "empty", "no photo"])
def test_a_photo_repaired_before_the_second_run_is_written(
    tmp_path: Path, schema: Schema, broken: bytes | None
):
    rows = [*small_shop(tmp_path, COUNT), row("late", "late.jpg")]
    if broken is not None:
        (tmp_path / "late.jpg").write_bytes(broken)
    killed_while_writing(tmp_path, rows, schema)
    write_photo(tmp_path / "late.jpg", "late")
    records = build(tmp_path, rows, schema, **OPTIONS)
    if broken == b"no photo":  # its bytes were hashed; they are others now
        (reject,) = read_csv(records / "rejects.csv")
        assert reject["reason"] == photos.CHANGED
        build(tmp_path, rows, schema, **OPTIONS)
    assert "late" in set().union(*products_of(records).values())
    assert read_csv(records / "rejects.csv") == []


def test_a_finished_build_leaves_no_stale_digests(tmp_path: Path, schema: Schema):
    rows = [*small_shop(tmp_path, 5), row("late", "late.jpg")]
    write_photo(tmp_path / "late.jpg", "cut short")
    cut = (tmp_path / "late.jpg").read_bytes()[:300]
    (tmp_path / "late.jpg").write_bytes(cut)
    changes = count_of_changes(tmp_path, rows, schema)
    for at in range(changes - 12, changes):
        records = tmp_path / f"killed {at}"
        (tmp_path / "late.jpg").write_bytes(cut)
        with Killer(at):
            build(tmp_path, rows, schema, records=records, **OPTIONS)
        if (records / "manifest.json").exists():
            write_photo(tmp_path / "late.jpg", "repaired")
            build(tmp_path, rows, schema, records=records, **OPTIONS)
            assert read_csv(records / "rejects.csv") == [], f"killed at {at}"


# No row at all


def test_a_build_without_usable_rows_can_be_rerun(tmp_path: Path, schema: Schema):
    rows = [row("a", "a.jpg"), row("", "b.jpg")]
    with pytest.raises(InputError, match=r"no row could be used; see .*rejects.csv"):
        build(tmp_path, rows, schema)
    assert len(read_csv(tmp_path / "records" / "rejects.csv")) == 2
    with pytest.raises(InputError, match="its build did not finish"):
        Manifest.read(tmp_path / "records")
    write_photo(tmp_path / "a.jpg", "a")
    assert contents(build(tmp_path, rows, schema)) == contents(
        build(tmp_path, rows, schema, records=tmp_path / "fresh")
    )
