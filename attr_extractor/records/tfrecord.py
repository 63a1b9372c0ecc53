"""A TFRecord reader that tolerates damage: it reports broken records and reads the ones after.

A record is the length of its data (8 bytes, little-endian), the checksum of the length (4 bytes),
the data, and the checksum of the data (4 bytes). TensorFlow verifies both checksums, but stops at
the first error, and accepts a file that is truncated within a length.
"""

from __future__ import annotations

import contextlib
import functools
import struct
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf

from attr_extractor import storage
from attr_extractor.records import staging

_BATCH = 64  # records read per call
_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")


class Record(NamedTuple):
    """One record of a file."""

    offset: int  # start in the file, bytes
    data: bytes
    broken: str  # why the data is invalid; "" if valid


def read_records(path: str) -> Iterator[Record]:
    """Yield the records of a file, with both checksums verified.

    Reading ends after a broken length or a truncated record, because the start of the next record
    is then unknown.

    Raises:
      tf.errors.OpError: if the file cannot be read.
      InputError: if it is in a bucket and cannot be copied.
    """
    path, offset = staging.local(path), 0
    with contextlib.suppress(tf.errors.DataLossError):  # the rest is read in Python
        for batch in tf.data.TFRecordDataset(path).batch(_BATCH).as_numpy_iterator():
            for data in batch:
                yield Record(offset, data, "")
                offset += _HEADER.size + len(data) + _CHECKSUM.size
    if offset < storage.size(path):
        yield from _read_by_hand(path, offset)


def masked_crc32c(data: bytes) -> int:
    """Return the checksum: CRC-32C, rotated right by 15 bits, plus a constant. About 10 MiB/s."""
    crc, table = 0xFFFFFFFF, _crc_table()
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _read_by_hand(path: str, offset: int) -> Iterator[Record]:
    size = storage.size(path)
    with storage.open_read(path) as file:
        file.seek(offset)
        while offset < size:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                yield Record(offset, b"", "the file ends within its length")
                return
            length, checksum = _HEADER.unpack(header)
            if checksum != masked_crc32c(header[:8]):
                wrong = "the checksum of its length is wrong, so later records cannot be found"
                yield Record(offset, b"", wrong)
                return
            end = offset + _HEADER.size + length + _CHECKSUM.size
            if end > size:
                yield Record(offset, b"", "the file ends within its data")
                return
            data = file.read(length)
            (checksum,) = _CHECKSUM.unpack(file.read(_CHECKSUM.size))
            sound = checksum == masked_crc32c(data)
            yield Record(offset, data, "" if sound else "the checksum of its data is wrong")
            offset = end


@functools.lru_cache(maxsize=1)
def _crc_table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [crc >> 1 ^ (0x82F63B78 if crc & 1 else 0) for crc in table]  # Castagnoli
    return table
