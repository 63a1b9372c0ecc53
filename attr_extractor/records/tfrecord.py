"""A TFRecord file read in spite of damage: which record is broken, and those behind it.

A record is the length of its data (8 bytes, little-endian) and the length's checksum (4), then the
data and its checksum (4). TensorFlow verifies both, but gives up at the first that is wrong, and
takes a file that ends within a length for whole.
"""

from __future__ import annotations

import contextlib
import functools
import struct
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf

from attr_extractor import storage

_BATCH = 64  # records that TensorFlow hands over at a time
_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")


class Record(NamedTuple):
    """One record of a file."""

    offset: int  # where it begins, bytes
    data: bytes
    broken: str  # why the data cannot be trusted; "" where it can


def read(path: str) -> Iterator[Record]:
    """The records of a file, both checksums of each verified.

    After a broken length, or where the file ends too early, nothing follows: where the next
    record begins is not known.

    Raises:
      tf.errors.OpError: the file cannot be read.
    """
    offset = 0
    with contextlib.suppress(tf.errors.DataLossError):  # what is left is read by hand
        for batch in tf.data.TFRecordDataset(path).batch(_BATCH).as_numpy_iterator():
            for data in batch:
                yield Record(offset, data, "")
                offset += _HEADER.size + len(data) + _CHECKSUM.size
    if offset < storage.size(path):
        yield from _read_by_hand(path, offset)


def masked_crc32c(data: bytes) -> int:
    """The checksum: CRC-32C, rotated right by 15 bits, plus a constant. About 10 MiB a second."""
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
                wrong = "the checksum of its length is wrong, so what follows cannot be found"
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
        table = [crc >> 1 ^ (0x82F63B78 if crc & 1 else 0) for crc in table]  # Castagnoli's
    return table
