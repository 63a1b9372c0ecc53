"""What the records tests compare with: TFRecord files read byte by byte, builds in one process."""

from __future__ import annotations

import csv
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # Castagnoli, reflected
        table.append(byte)
    return table


_TABLE = _crc_table()


def masked_crc32c(data: bytes) -> int:
    """The checksum of tensorflow/core/lib/hash/crc32c.h."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_tfrecord(path: Path) -> list[dict[str, bytes | int]]:
    """The Examples of a file, both checksums of every record checked on the way."""
    data, at, records = path.read_bytes(), 0, []
    while at < len(data):
        length, length_crc = struct.unpack_from("<QI", data, at)
        assert masked_crc32c(data[at : at + 8]) == length_crc
        body = data[at + 12 : at + 12 + length]
        (crc,) = struct.unpack_from("<I", data, at + 12 + length)
        assert masked_crc32c(body) == crc
        records.append(_features(body))
        at += 16 + length
    assert at == len(data)
    return records


def read_split(records: Path, split: str) -> list[dict[str, bytes | int]]:
    """The Examples of all shards of a split, found by name."""
    paths = sorted(records.glob(f"{split}-*.tfrecord"))
    return [example for path in paths for example in read_tfrecord(path)]


def labels_of(examples: list[dict]) -> np.ndarray:
    """int8[N, V]."""
    return np.array([np.frombuffer(example["labels"], np.int8) for example in examples])


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class OneProcess:
    """Stands in for ProcessPoolExecutor: the same calls, without starting TensorFlow again."""

    def __init__(self, *_args: object, **_options: object):
        pass

    def __enter__(self) -> OneProcess:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def map(self, call: Callable, values: Iterable, chunksize: int = 1) -> Iterator:
        return map(call, values)


def _features(body: bytes) -> dict[str, bytes | int]:
    found = {}
    for name, feature in tf.train.Example.FromString(body).features.feature.items():
        (found[name],) = feature.bytes_list.value or feature.int64_list.value
    return found
