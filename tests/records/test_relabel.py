"""Tests of `records/relabel.py`: new labels for the same photos, which are not read."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from attr_extractor.errors import InputError
from attr_extractor.records import index, relabel
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from tests.conftest import write_table
from tests.records.by_hand import (
    InProcess,
    Killer,
    build,
    contents,
    labels_of,
    read_csv,
    read_split,
    read_tfrecord,
    small_shop,
)

SPLITS = ("train", "validation", "test")
OPTIONS = {"shards": 2, "split_fractions": (0.5, 0.25, 0.25)}


@pytest.fixture(scope="module")
def wider(schema: Schema) -> Schema:
    """Another meaning of the labels: a value more, two in another order, one applies to all."""
    text = schema.to_yaml().replace("- drawstring", "- drawstring\n  - elastic\n  - ties")
    text = text.replace("- v-neck\n  - round neck", "- round neck\n  - v-neck")
    found = Schema.parse(text, "wider")
    assert found.num_values == schema.num_values + 2
    return found


@pytest.fixture
def made(tmp_path: Path, schema: Schema) -> tuple[list[dict[str, str]], Path]:
    """Rows, one of them with a broken photo, and their records, whose photos are gone."""
    folder = tmp_path / "shop"
    folder.mkdir()
    rows = small_shop(folder, 20)
    rows[1]["image"] += "|lost.jpg"
    rows[2]["image"] = "lost.jpg"
    build(folder, rows, schema, **OPTIONS)
    shutil.move(folder, tmp_path / "elsewhere")
    (tmp_path / "shop").mkdir()
    return rows, Path(shutil.move(tmp_path / "elsewhere" / "records", tmp_path / "records"))


def run(records: Path, rows: list[dict[str, str]], schema: Schema, runner=None) -> Manifest:
    table = write_table(records.parent / "shop" / "new.csv", rows)
    return relabel.relabel(table, schema, records, runner or InProcess())


def changed(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Other cells in every second row: other values, none, and one that nobody knows."""
    cells = [
        {"color": "green|blue"},
        {"closure": "", "color": "rad"},
        {"category": "jeans", "neck_type": ""},
    ]
    return [r | cells[i // 2 % 3] if i % 2 else r for i, r in enumerate(rows)]


def all_examples(records: Path) -> dict[tuple[bytes, int], dict]:
    examples = [e for split in SPLITS for e in read_split(records, split)]
    found = {(e["product_id"], e["image/index"]): e for e in examples}
    assert len(found) == len(examples)
    return found


def fresh_labels(folder: Path, rows: list[dict[str, str]], schema: Schema) -> dict[bytes, bytes]:
    """Labels by product of records built anew from the table."""
    records = build(folder, rows, schema, records=folder / "fresh")
    return {key[0]: e["labels"] for key, e in all_examples(records).items()}


@pytest.mark.parametrize("which", ["schema", "wider"])
def test_labels_equal_those_of_a_new_build_and_photos_are_unchanged(made, tmp_path, which, request):
    rows, records = made
    new_schema = request.getfixturevalue(which)
    before = {name: read_order(records, name) for name in SPLITS}
    examples = all_examples(records)
    manifest = run(records, changed(rows), new_schema)
    assert {name: read_order(records, name) for name in SPLITS} == before
    expected = fresh_labels(tmp_path / "elsewhere", changed(rows), new_schema)
    after = all_examples(records)
    assert {key: e["labels"] for key, e in after.items()} == {k: expected[k[0]] for k in examples}
    for key, old in examples.items():
        assert {**after[key], "labels": 0} == {**old, "labels": 0}
    assert sum(after[key]["labels"] != old["labels"] for key, old in examples.items()) >= 8
    assert manifest == Manifest.read(records, new_schema)
    kinds = {r["product_id"]: r["category"] for r in changed(rows)}
    for shard in [shard.name for split in manifest.splits.values() for shard in split.shards]:
        for found, example in zip(
            index.read_photos(str(records), [shard]).to_pylist(), read_tfrecord(records / shard)
        ):
            assert found["category"] == kinds[found["product_id"]]
            digest = hashlib.blake2b(example["labels"], digest_size=8).digest()
            assert found["labels_digest"] == digest
    assert not (records / "work").exists()


def read_order(records: Path, split: str) -> list[tuple[bytes, int]]:
    return [(e["product_id"], e["image/index"]) for e in read_split(records, split)]


def test_the_manifest_counts_the_new_labels_and_lists_the_new_issues(made, wider: Schema):
    rows, records = made
    first = Manifest.read(records)
    manifest = run(records, changed(rows), wider)
    for split in SPLITS:
        codes = labels_of(read_split(records, split))
        assert manifest.present(split).tolist() == (codes == 1).sum(0).tolist()
        for name, where in wider.slices.items():
            counts = manifest.splits[split].labels[name]
            assert counts.missing == (codes[:, where] == -1).all(1).sum()
        for shard in manifest.splits[split].shards:
            assert shard.bytes == (records / shard.name).stat().st_size
    assert manifest.build == first.build and manifest.additions == first.additions == 0
    assert manifest.digest != first.digest
    assert manifest.rows == {"read": 20, "written": 0, "already there": 19, "rejected": 1}
    assert manifest.near_duplicates == first.near_duplicates
    issues = read_csv(records / "label_issues.csv")
    assert {i["cell"] for i in issues} == {"rad"} and len(issues) == manifest.label_issues[
        "unknown value"
    ]
    left_out = {(r["product_id"], r["reason"]) for r in read_csv(records / "rejects.csv")}
    assert ("p1", "image not found") in left_out  # a photo of a product that is there
    assert ("p2", relabel.NOT_THERE) in left_out


def test_a_row_that_is_not_in_the_records_is_rejected(made, schema: Schema):
    rows, records = made
    manifest = run(
        records, [*rows, *({**rows[0], "product_id": f"n{i}"} for i in range(3))], schema
    )
    assert manifest.rows == {"read": 23, "written": 0, "already there": 19, "rejected": 4}
    left_out = {r["product_id"] for r in read_csv(records / "rejects.csv")}
    assert left_out == {"p1", "p2", "n0", "n1", "n2"}


# Products that the table lacks


def test_a_product_missing_from_the_table_keeps_its_labels(made, schema: Schema):
    rows, records = made
    before = all_examples(records)
    run(records, changed(rows)[10:], schema)
    after = all_examples(records)
    kept = {r["product_id"].encode() for r in rows[:10]}
    assert all(after[key] == before[key] for key in before if key[0] in kept)
    assert any(after[key] != before[key] for key in before if key[0] not in kept)


def test_a_schema_with_another_fingerprint_requires_every_product(made, wider: Schema):
    rows, records = made
    before = contents(records)
    with pytest.raises(InputError, match="the table lacks 2 products .*'p1[67]'.*new records"):
        run(records, [r for r in rows if r["product_id"] not in ("p16", "p17", "p2")], wider)
    assert contents(records) == before


# Interruptions


@pytest.mark.parametrize("step", [25, pytest.param(2, marks=pytest.mark.slow)])
def test_a_relabel_killed_before_any_disk_change_resumes_to_the_same_result(
    made, tmp_path: Path, wider: Schema, step: int
):
    rows, records = made
    old = contents(records)
    whole = Path(shutil.copytree(records, tmp_path / "whole"))
    with Killer(at=-1) as counter:
        run(whole, changed(rows), wider)
    undisturbed, changes = contents(whole), -1 - counter.left
    for at in sorted({*range(0, changes, step), *range(changes - 10, changes)}):  # the end: all
        killed = Path(shutil.copytree(records, tmp_path / f"killed {at}"))
        with Killer(at, reverse=bool(at % 2)):
            run(killed, changed(rows), wider)
        there = contents(killed)
        if "manifest.json" in there:  # whoever reads it must find what it says
            same = old if there["manifest.json"] == old["manifest.json"] else undisturbed
            assert there["manifest.json"] == same["manifest.json"], f"killed at {at}"
            shards = {name: data for name, data in same.items() if name.endswith(".tfrecord")}
            assert shards.items() <= there.items(), f"killed at {at}"
        else:
            with pytest.raises(InputError, match=r"no manifest\.json"):
                Manifest.read(killed)
        run(killed, changed(rows), wider)
        assert contents(killed) == undisturbed, f"killed at {at}"
        shutil.rmtree(killed)


class Stops(InProcess):
    """Writes so many shards and is stopped."""

    def __init__(self, after: int):
        self.after = after

    def run(self, work, tasks, name):
        stops = work is relabel.write_labels
        super().run(work, tasks[: self.after] if stops else tasks, name)
        if stops:
            raise KeyboardInterrupt


def interrupted(records: Path, rows: list[dict[str, str]], schema: Schema) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(records, rows, schema, Stops(after=2))


def test_a_build_is_rejected_while_a_relabel_is_unfinished(made, tmp_path, schema, wider):
    rows, records = made
    interrupted(records, changed(rows), wider)
    before = contents(records)
    for meaning in (schema, wider):
        with pytest.raises(InputError, match="a --relabel was interrupted here; run it again"):
            build(tmp_path / "elsewhere", rows, meaning, records=records, **OPTIONS)
    assert contents(records) == before


def test_a_relabel_resumed_with_another_schema_relabels_every_shard(made, tmp_path, schema, wider):
    rows, records = made
    interrupted(records, changed(rows), wider)
    run(records, rows, schema)
    expected = fresh_labels(tmp_path / "elsewhere", rows, schema)
    assert {key[0]: e["labels"] for key, e in all_examples(records).items()} == expected


def test_labels_of_another_fingerprint_are_not_kept_after_an_interrupted_relabel(
    made, schema, wider
):
    rows, records = made
    interrupted(records, changed(rows), wider)
    with pytest.raises(InputError, match="lacks .* products .*cannot be carried over"):
        run(records, rows[:4], schema)
    run(records, rows, schema)  # all of them: fine


def test_a_relabel_without_changes_writes_no_shard(made, wider: Schema):
    rows, records = made
    run(records, changed(rows), wider)
    before = {path: path.stat().st_ino for path in records.glob("*.tfrecord")}
    first = Manifest.read(records)
    again = run(records, changed(rows), wider)
    assert {path: path.stat().st_ino for path in records.glob("*.tfrecord")} == before
    assert again.digest == first.digest


def test_rows_can_be_added_after_a_relabel(made, tmp_path: Path, wider: Schema):
    rows, records = made
    run(records, changed(rows), wider)
    before = contents(records)
    folder = tmp_path / "elsewhere"
    more = [*changed(rows), *small_shop(folder, 6, first=100)]
    build(folder, more, wider, records=records, **OPTIONS)
    after = contents(records)
    old = {name: data for name, data in before.items() if name.endswith((".tfrecord", ".parquet"))}
    assert old.items() <= after.items()
    found = {key[0]: e["labels"] for key, e in all_examples(records).items()}
    assert found == fresh_labels(folder, more, wider)
    assert Manifest.read(records).rows["written"] == 6


# Bad input


def test_a_folder_without_records_is_bad_input(tmp_path: Path, schema: Schema):
    (tmp_path / "shop").mkdir()
    with pytest.raises(InputError, match="not a folder of records"):
        run(tmp_path / "no", small_shop(tmp_path, 2), schema)
    assert not (tmp_path / "no").exists()


def test_a_damaged_shard_is_named_and_the_records_are_unchanged(made, wider: Schema):
    rows, records = made
    whole = contents(records)
    path = sorted(records.glob("train-*.tfrecord"))[1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"{path.name}.*(damaged|corrupt)") as caught:
        run(records, rows, wider)
    assert "cannot be written" not in str(caught.value)
    after = {name: data for name, data in contents(records).items() if "work" not in name}
    assert after == {**whole, path.name: bytes(data)}
    path.write_bytes(whole[path.name])  # from a backup, say
    assert run(records, changed(rows), wider).fingerprint == wider.fingerprint
