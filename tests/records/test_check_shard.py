"""Tests of `records/check_shard.py`: damaged shards and records are named."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

from attr_extractor.records import check
from tests.conftest import Shop
from tests.records.spoiled import OTHER, SHARD, Copy

WRONG_DATA = "the checksum of its data is wrong"


@pytest.fixture
def copy(built: Shop, tmp_path: Path) -> Copy:
    return Copy(Path(shutil.copytree(built.records, tmp_path / "records")))


def jpeg(width: int, height: int, mode: str = "RGB", form: str = "JPEG") -> bytes:
    out = io.BytesIO()
    Image.new(mode, (width, height)).save(out, form)
    return out.getvalue()


@pytest.mark.parametrize("part", [12, 200, -1])
def test_a_flipped_bit_of_the_data_or_its_checksum(copy: Copy, part: int):
    expected = [copy.at(record) + WRONG_DATA for record in (4, 7)]
    begins = {record: copy.offset(record + (part < 0)) for record in (4, 7)}
    for begin in begins.values():
        copy.flip(begin + part)
    assert copy.found() == expected


@pytest.mark.parametrize("byte", [0, 7, 8])
def test_a_flipped_bit_of_a_length_and_another_broken_shard(copy: Copy, byte: int):
    first, second, count = copy.at(5), copy.at(0, OTHER), len(copy.examples())
    copy.flip(copy.offset(5) + byte)
    copy.flip(30, OTHER)
    assert copy.found() == [
        f"{first}the checksum of its length is wrong, so later records cannot be found",
        f"{SHARD}: records: manifest.json says {count}, found 6",
        f"{second}{WRONG_DATA}",
    ]


@pytest.mark.parametrize(("beyond", "what"), [(5, "its length"), (40, "its data"), (0, "")])
def test_a_truncated_shard(copy: Copy, beyond: int, what: str):
    data, size, count = copy.path().read_bytes(), copy.offset(9) + beyond, len(copy.examples())
    expected = [f"{copy.at(9)}the file ends within {what}"] if what else []
    copy.path().write_bytes(data[:size])
    expected += [f"{SHARD}: records: manifest.json says {count}, found {9 + (beyond > 0)}"]
    assert copy.found() == expected
    (problems,) = check.check(copy.folder).problems
    expected += [f"{SHARD}: bytes: manifest.json says {len(data)}, found {size}"]
    assert problems.lines == expected


def test_bytes_after_the_last_record(copy: Copy):
    size, count = copy.path().stat().st_size, len(copy.examples())
    with open(copy.path(), "ab") as file:
        file.write(b"more")
    assert copy.found() == [
        f"{SHARD}: record {count} (byte {size:,}): the file ends within its length",
        f"{SHARD}: records: manifest.json says {count}, found {count + 1}",
    ]


def test_two_swapped_shards(copy: Copy):
    firsts = {
        a: copy.examples(b)[0]["product_id"].decode() for a, b in [(SHARD, OTHER), (OTHER, SHARD)]
    }
    copy.path().rename(copy.path("x"))
    copy.path(OTHER).rename(copy.path())
    copy.path("x").rename(copy.path(OTHER))
    for problems, (name, product) in zip(check.check(copy.folder).problems, firsts.items()):
        assert problems.where == name
        assert f"record 0 (product {product!r}, byte 0): is photo" in problems.lines[0]
        assert len(problems.lines) == 20 < len(copy.examples(name)) <= problems.count
        assert str(problems).endswith(f"{name}: and {problems.count - 20} more")


def test_two_swapped_records(copy: Copy):
    examples = copy.examples()
    a, b = (
        f"photo {e['image/index']} of product {e['product_id'].decode()!r}" for e in examples[2:4]
    )
    examples[2:4] = examples[3], examples[2]
    copy.write(examples)
    assert copy.found() == [
        f"{copy.at(2)}is {b}, but its index lists {a} here",
        f"{copy.at(3)}is {a}, but its index lists {b} here",
    ]


def test_another_photo_of_the_same_product(copy: Copy):
    before = copy.examples()[6]["image/index"]
    copy.change(6, image_index=before + 3)
    product = copy.examples()[6]["product_id"].decode()
    expected = (
        f"is photo {before + 3} of product {product!r}, but its index lists photo {before} of"
    )
    (line,) = copy.found()
    assert line.startswith(copy.at(6) + expected)


CHANGES = {
    "labels": (
        lambda e: {"labels": bytes(b ^ 1 if b < 2 else b for b in e["labels"])},
        ["its labels differ from those in its index"],
    ),
    "a label that is none": (
        lambda e: {"labels": e["labels"][:-1] + b"\xfb"},
        ["has the label -5, not -1, 0 or 1", "its labels differ from those in its index"],
    ),
    "a label too many": (
        lambda e: {"labels": e["labels"] + b"\0"},
        ["has 12 labels, the schema has 11 values", "its labels differ from those in its index"],
    ),
    "a height": (
        lambda e: {"image_height": 5},
        [
            "its photo has {h} x {w} pixels, image/height x image/width says 5 x {w}",
            "is 5 x {w} pixels, {h} x {w} in its index",
        ],
    ),
    "another photo's pixels": (
        lambda e: {"image_encoded": jpeg(9, 8)},
        ["its photo has 8 x 9 pixels, image/height x image/width says {h} x {w}"],
    ),
    "a PNG": (lambda e: {"image_encoded": jpeg(9, 8, form="PNG")}, ["its photo is not a JPEG"]),
    "a grey photo": (
        lambda e: {"image_encoded": jpeg(e["image/width"], e["image/height"], "L")},
        ["its photo has 1 channels, not 3"],
    ),
    "a photo cut short": (
        lambda e: {"image_encoded": e["image/encoded"][:-200]},
        ["its photo cannot be decoded: "],
    ),
    "no photo": (lambda e: {"image_encoded": b""}, ["its photo is not a JPEG"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_record_with_valid_checksums_and_wrong_content(copy: Copy, name: str):
    change, expected = CHANGES[name]
    record = copy.examples()[3]
    height, width = record["image/height"], record["image/width"]
    copy.change(3, **change(record))
    found = copy.found()
    assert len(found) == len(expected)
    for line, what in zip(found, expected):
        assert line.startswith(copy.at(3) + what.format(h=height, w=width))


def serialize(features: dict) -> bytes:
    """An Example of any features: bytes, a number, or a list of numbers."""
    message = tf.train.Example()
    for name, value in features.items():
        feature = message.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.int64_list.value.extend(value if isinstance(value, list) else [value])
    return message.SerializeToString()


def test_a_record_that_is_not_an_example_of_records(copy: Copy):
    e = copy.examples()
    changed = {
        1: b"\xff" * 40,
        2: serialize({k: v for k, v in e[2].items() if k != "labels"}),
        3: serialize({**e[3], "image/index": b"0"}),
        4: serialize({**e[4], "image/index": [0, 1]}),
        5: serialize({**e[5], "more": 1}),
    }
    expected = {
        1: "is not a tf.train.Example",
        2: "has the features ['image/encoded', 'image/height', 'image/index', 'image/width', "
        "'product_id'], not [",
        3: "its feature 'image/index' is not a single value of int64_list",
        4: "its feature 'image/index' is not a single value of int64_list",
        5: "has the features ['image/encoded', 'image/height', 'image/index', 'image/width', "
        "'labels', 'more', 'product_id'], not [",
    }
    written = [changed.get(i, data) for i, data in enumerate(map(serialize, e))]
    copy.write(written)
    found = copy.found()
    assert len(found) == len(expected)
    for line, (record, what) in zip(found, expected.items()):
        begins = sum(16 + len(data) for data in written[:record])
        product = e[record]["product_id"].decode()  # which the index knows
        assert line.startswith(f"{SHARD}: record {record} (product {product!r}, byte {begins:,}): ")
        assert what in line


def test_more_records_than_rows_in_the_index(copy: Copy):
    examples = copy.examples()
    count = len(examples)
    copy.write([*examples, examples[4]])
    assert copy.found() == [
        f"{copy.at(count)}its index has no row for it",
        f"{SHARD}: records: manifest.json says {count}, found {count + 1}",
    ]


def test_a_missing_or_invalid_index_is_reported_and_the_records_are_still_checked(copy: Copy):
    path, bare = copy.index(), pa.table({"a": [1]})
    begins = f"{SHARD}: its index {path}"
    expected = copy.at(2)
    copy.flip(copy.offset(2) + 20)

    def require(what: str) -> None:
        first, second = copy.found()
        assert first.startswith(begins) and what in first
        assert second == re.sub(r"product '\w+', ", "", expected) + WRONG_DATA

    whole = path.read_bytes()
    path.unlink()
    require("is missing")
    path.write_bytes(whole[:-9])
    require("not a readable Parquet file")
    pq.write_table(bare, path)
    require("not an index written by a build")
    facts = pa.table({"a": [1]}).replace_schema_metadata({"attr_extractor": "{}"})
    pq.write_table(facts, path)
    require("not an index written by a build")


def test_the_index_of_another_shard(copy: Copy):
    shutil.copy(copy.index(OTHER), copy.index())
    problems, twice = check.check(copy.folder).problems
    assert (problems.where, twice.where) == (SHARD, "two records")
    assert problems.count == len(copy.examples())  # each record, and nothing that follows from it


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({"products": 999}, "products: its index says 999, found "),
        ({"records": 999}, "records: its index says 999, found "),
        ({"present": [0] * 11}, "category=shirt: its index says 0, found "),
        ({"states": []}, "its index "),
    ],
)
def test_wrong_counts_in_the_index(copy: Copy, facts: dict, what: str):
    copy.edit_index(SHARD, lambda rows: None, **facts)
    assert copy.found()[0].startswith(f"{SHARD}: {what}")


def test_a_missing_shard(copy: Copy):
    copy.path().unlink()
    assert copy.found() == [f"{SHARD}: the shard is missing"]


def test_an_unreadable_shard_does_not_stop_the_check(copy: Copy):
    copy.path().unlink()
    copy.path().mkdir()
    expected = copy.at(1, OTHER) + WRONG_DATA
    copy.flip(copy.offset(1, OTHER) + 90, OTHER)
    first, *_, last = copy.found()
    assert first.startswith(f"{SHARD}: record 0: cannot be read: ")
    assert last == expected
