"""Tests of `records/tfrecord.py`: damage is reported at its record, and later records are read."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
import tensorflow as tf

from attr_extractor import storage
from attr_extractor.records import tfrecord
from tests.records import by_hand

SIZES = [0, 1, 7, 300, 8, 150, 0, 64, 33, 90] * 9  # more than TensorFlow hands over at a time
DATA = [random.Random(i).randbytes(size) for i, size in enumerate(SIZES)]
OFFSETS = [sum(16 + size for size in SIZES[:i]) for i in range(len(SIZES) + 1)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.tfrecord"
    path.write_bytes(b"".join(map(framed, DATA)))
    return path


def framed(data: bytes) -> bytes:
    """A record: length, its checksum, data, its checksum."""
    length = struct.pack("<Q", len(data))
    crc = by_hand.masked_crc32c
    return length + struct.pack("<I", crc(length)) + data + struct.pack("<I", crc(data))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


def test_the_checksum_is_the_published_crc32c_masked_like_tensorflow(path: Path):
    crc = 0xE3069283  # of "123456789": RFC 3720's CRC-32C, in every catalogue of CRCs
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
    assert tfrecord.masked_crc32c(b"123456789") == masked
    assert [r.numpy() for r in tf.data.TFRecordDataset(str(path))] == DATA  # so framed() is right


def test_an_intact_file_is_read_with_the_offset_of_every_record(path: Path):
    expected = [(offset, data, "") for offset, data in zip(OFFSETS, DATA)]
    assert list(tfrecord.read_records(str(path))) == expected
    path.write_bytes(b"")
    assert list(tfrecord.read_records(str(path))) == []


@pytest.mark.parametrize("record", [0, 3, 63, 64, 65, 89])
@pytest.mark.parametrize("part", ["length", "checksum of the length", "data", "checksum"])
def test_a_flipped_bit_is_reported_at_its_record(path: Path, record: int, part: str):
    begin, end = OFFSETS[record : record + 2]
    at = {"length": 0, "checksum of the length": 9, "data": 12, "checksum": end - begin - 1}[part]
    flip(path, begin + at)
    found = list(tfrecord.read_records(str(path)))
    assert [(r.offset, r.data) for r in found[:record]] == list(zip(OFFSETS, DATA))[:record]
    assert [r.offset for r in found if r.broken] == [begin]
    if part in ("length", "checksum of the length"):
        assert "checksum of its length is wrong" in found[record].broken
        assert len(found) == record + 1
    else:
        assert found[record].broken == "the checksum of its data is wrong"
        assert [r.data for r in found[record + 1 :]] == DATA[record + 1 :]


def test_every_damaged_record_of_a_file_is_reported(path: Path):
    for record in (1, 2, 40, 88):
        flip(path, OFFSETS[record + 1] - 1)
    broken = [i for i, record in enumerate(tfrecord.read_records(str(path))) if record.broken]
    assert broken == [1, 2, 40, 88]


@pytest.mark.parametrize(
    ("size", "why"),
    [
        (OFFSETS[70] + 1, "the file ends within its length"),
        (OFFSETS[70] + 11, "the file ends within its length"),
        (OFFSETS[70] + 12, "the file ends within its data"),
        (OFFSETS[71] - 1, "the file ends within its data"),
    ],
)
def test_a_truncated_file_is_damaged_at_its_last_record(path: Path, size: int, why: str):
    path.write_bytes(path.read_bytes()[:size])
    *before, last = tfrecord.read_records(str(path))
    assert [r.data for r in before] == DATA[:70]
    assert last == (OFFSETS[70], b"", why)


def test_a_remote_file_is_read_like_a_local_one(path: Path):
    flip(path, OFFSETS[5] + 12)
    remote = "memory://tfrecord/a.tfrecord"
    storage.write(remote, path.read_bytes())
    assert list(tfrecord.read_records(remote)) == list(tfrecord.read_records(str(path)))
