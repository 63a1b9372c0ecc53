"""Shared by the tests of records: a TFRecord reader by hand, in-process builds, kills."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from attr_extractor import storage
from attr_extractor.catalogue import splits
from attr_extractor.records import builder, plan
from attr_extractor.records.runner import Runner
from attr_extractor.schema import Schema
from tests.conftest import write_table


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # Castagnoli, reflected
        table.append(byte)
    return table


_TABLE = _crc_table()


def masked_crc32c(data: bytes) -> int:
    """Return the checksum as in tensorflow/core/lib/hash/crc32c.h."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_tfrecord(path: Path) -> list[dict[str, bytes | int]]:
    """Return the Examples of a file; check both checksums of every record."""
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


def read_split(records: str | Path, split: str) -> list[dict[str, bytes | int]]:
    """Return the Examples of all shards of a split, found by file name."""
    paths = sorted(Path(records).glob(f"{split}-*.tfrecord"))
    return [example for path in paths for example in read_tfrecord(path)]


def labels_of(examples: list[dict]) -> np.ndarray:
    """Return the labels as int8[N, V]."""
    return np.array([np.frombuffer(example["labels"], np.int8) for example in examples])


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class InProcess:
    """A runner that runs every task in this process, in order."""

    def run(self, work: Callable[[str], None], tasks: Sequence[str], name: str) -> None:
        for task in tasks:
            work(task)


def build(
    folder: Path,
    rows: list[dict[str, str]],
    schema: Schema,
    runner: Runner | None = None,
    records: Path | None = None,
    image_root: Path | None = None,
    **options,
) -> Path:
    """Write the table into a folder with photos, and build records, by default in the folder."""
    table = write_table(folder / "catalogue.csv", rows)
    chosen = plan.BuildOptions(**{"image_size": 64, **options})
    records = records or folder / "records"
    builder.build(table, schema, records, image_root, chosen, runner or InProcess())
    return records


CELLS = {"category": "shirt", "neck_type": "v-neck", "color": "red", "closure": "zip"}


def row(product: str, image: str, **cells: str) -> dict[str, str]:
    """Return a row of the test schema, by default a shirt."""
    return {"product_id": product, "image": image, **CELLS, **cells}


def write_photo(path: Path, text: str) -> None:
    """Write a photo of one colour; `text` changes its bytes, but not its pixels."""
    out = io.BytesIO()
    Image.new("RGB", (40, 44), "teal").save(out, "JPEG", comment=text.encode())
    path.write_bytes(out.getvalue())


def small_shop(folder: Path, count: int, first: int = 0) -> list[dict[str, str]]:
    """Return rows of products with one photo, every fifth with two; no two photos are identical."""
    rows = []
    for i in range(first, first + count):
        images = [f"{i}_{k}.jpg" for k in range(1 + (i % 5 == 0))]
        for image in images:
            write_photo(folder / image, image)
        kind = {"category": "jeans", "neck_type": "", "color": "blue"} if i % 3 == 0 else {}
        rows.append(row(f"p{i}", "|".join(images), **kind))
    return rows


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file in a folder by relative path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def products_of(records: Path) -> dict[str, set[str]]:
    """Return the products in the shards of every split."""
    return {
        name: {example["product_id"].decode() for example in read_split(records, name)}
        for name in splits.SPLITS
    }


class Killed(BaseException):
    """Stands for SIGKILL: no part of the package catches it."""


class Killer:
    """Raise Killed before the k-th change of the disk, counted from 0."""

    def __init__(self, at: int, reverse: bool = False):
        self.left, self.reverse = at, reverse  # of a folder the last file is removed first

    def __enter__(self) -> Killer:
        self._patch = pytest.MonkeyPatch()
        for name in ("whole", "remove", "make_folder"):
            real = getattr(storage, name)
            self._patch.setattr(storage, name, functools.partial(getattr(self, name), real))
        return self

    def __exit__(self, kind: type | None, *_error: object) -> bool:
        """Suppress Killed."""
        self._patch.undo()
        return kind is Killed

    def moment(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    @contextlib.contextmanager
    def whole(self, real: Callable, path: str | Path, workers: bool = False) -> Iterator[str]:
        with real(path, workers) as temporary:
            self.moment()
            yield temporary
            self.moment()  # written and not yet renamed
        self.moment()

    def make_folder(self, real: Callable, path: str | Path) -> None:
        self.moment()
        real(path)

    def remove(self, real: Callable, path: str | Path) -> None:
        for below in sorted(Path(path).rglob("*"), reverse=self.reverse):
            if below.is_file():
                self.moment()
                below.unlink()
        self.moment()
        real(path)


def _features(body: bytes) -> dict[str, bytes | int]:
    found = {}
    for name, feature in tf.train.Example.FromString(body).features.feature.items():
        (found[name],) = feature.bytes_list.value or feature.int64_list.value
    return found
