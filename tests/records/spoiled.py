"""Copies of finished records that the tests of the check damage."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import tensorflow as tf

from attr_extractor import files
from attr_extractor.records import check, example, index
from tests.records.by_hand import read_tfrecord

SHARD, OTHER = "train-00001-of-00003.tfrecord", "train-00002-of-00003.tfrecord"


class Copy:
    """A copy of the records, to be damaged."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest = folder / "manifest.json"

    def path(self, shard: str = SHARD) -> Path:
        return self.folder / shard

    def index(self, shard: str = SHARD) -> Path:
        return self.folder / "index" / shard.replace(".tfrecord", ".parquet")

    def examples(self, shard: str = SHARD) -> list[dict]:
        return read_tfrecord(self.path(shard))

    def at(self, record: int, shard: str = SHARD) -> str:
        """Return the beginning of the problems of a record."""
        examples = self.examples(shard)
        offset = sum(16 + len(example.serialize(e)) for e in examples[:record])
        product = examples[record]["product_id"].decode()
        return f"{shard}: record {record} (product {product!r}, byte {offset:,}): "

    def offset(self, record: int, shard: str = SHARD) -> int:
        return int(re.search(r"byte ([\d,]+)", self.at(record, shard))[1].replace(",", ""))

    def flip(self, at: int, shard: str = SHARD) -> None:
        data = bytearray(self.path(shard).read_bytes())
        data[at] ^= 1
        self.path(shard).write_bytes(data)

    def write(self, examples: list[dict | bytes], shard: str = SHARD) -> None:
        """Replace the records of a shard, with valid checksums."""
        with tf.io.TFRecordWriter(str(self.path(shard))) as writer:
            for content in examples:
                writer.write(content if isinstance(content, bytes) else example.serialize(content))

    def change(self, record: int, **features: object) -> None:
        """Change features of one record; `image_encoded` stands for `image/encoded`."""
        examples = self.examples()
        examples[record].update({k.replace("image_", "image/"): v for k, v in features.items()})
        self.write(examples)

    def edit(self, change: Callable[[dict], object]) -> None:
        """Change the manifest."""
        content = json.loads(self.manifest.read_text(encoding="utf-8"))
        change(content)
        self.manifest.write_text(json.dumps(content), encoding="utf-8")

    def edit_index(self, shard: str, change: Callable[[list[dict]], object], **facts: object):
        """Change the rows of an index and its summary."""
        before = index.require_summary(str(self.folder), shard)
        rows = files.read_table(self.index(shard)).to_pylist()
        change(rows)
        table = pa.Table.from_pylist(rows, index.COLUMNS)
        index.write_index(str(self.folder), shard, table, before.model_copy(update=facts))

    def found(self) -> list[str]:
        """Return all problems by line, except shard sizes, which change with the content."""
        lines = [line for p in check.check(self.folder).problems for line in str(p).splitlines()]
        return [line for line in lines if ": bytes: " not in line]
