"""Verify one shard, record by record, against its index and its entry in the manifest.

Every photo is decoded, which takes most of the time: only decoding shows that training can read the
photo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf
from google.protobuf.message import DecodeError

from attr_extractor import storage
from attr_extractor.errors import InputError
from attr_extractor.records import example, index, tfrecord
from attr_extractor.records.manifest import FILE, Counts, Shard, count_by_attribute
from attr_extractor.schema import Schema

LISTED = 20  # problems of one file that are listed individually
COLUMNS = ["product_id", "image_index", "group", "digest", "labels_digest", "height", "width"]
_JPEG = b"\xff\xd8\xff"
_CODES = np.array([-1, 0, 1], np.int8).tobytes()  # the valid label codes


@dataclass
class Problems:
    """Problems of one file: a count of all, and the first lines."""

    where: str  # file name
    count: int = 0
    lines: list[str] = field(default_factory=list)

    def add(self, what: str) -> None:
        """Add one problem."""
        self.count += 1
        if self.count <= LISTED:
            self.lines.append(f"{self.where}: {what}")

    def compare(self, who: str, said: Mapping[str, int], found: Mapping[str, int]) -> None:
        """Add a problem for every number that differs from the one in `said`."""
        for key in dict.fromkeys([*said, *found]):
            if said.get(key) != found.get(key):
                self.add(f"{key}: {who} says {said.get(key)}, found {found.get(key)}")

    def __str__(self) -> str:
        more = self.count - len(self.lines)
        return "\n".join([*self.lines, *([f"{self.where}: and {more:,} more"] if more else [])])


@dataclass
class Found:
    """Contents of one shard."""

    problems: Problems
    photos: pa.Table  # COLUMNS of its index; empty without an index
    counts: dict[str, int]  # see `numbers`; from its index if a record is unreadable
    complete: bool  # whether `counts` cover all its records


def check(records: str, split: str, said: Shard, schema: Schema) -> Found:
    """Verify one shard.

    Args:
      split: the split under which the manifest lists the shard.
      said: the shard's entry in the manifest.
      schema: the schema of the manifest.
    """
    problems, path = Problems(said.name), storage.join(records, said.name)
    if not said.name.startswith(f"{split}-"):
        problems.add(f"{FILE} lists it under {split}")
    listed = _index(records, said.name, schema, problems)
    # if records are unreadable, the counts can still come from the index
    agree = all(listed.numbers.get(key) == getattr(said, key) for key in ("records", "bytes"))
    if not storage.exists(path):
        problems.add("the shard is missing")
        return Found(problems, listed.photos, listed.numbers, agree)

    rows = listed.photos.to_pylist() if listed.there else None
    num_values = schema.num_values if listed.same_schema else None
    codes: list[bytes] = []
    products: set[str] = set()
    number = 0
    try:
        for record in tfrecord.read(path):
            row = rows[number] if rows and number < len(rows) else {}
            content, faults = _inspect(record, row, num_values)
            product = content["product_id"] if content else row.get("product_id")
            if content and rows is not None and not row:
                faults.append("its index has no row for it")
            for what in faults:
                whose = f"product {product!r}, " if product else ""
                problems.add(f"record {number} ({whose}byte {record.offset:,}): {what}")
            if content and not faults:
                codes.append(content["labels"])
                products.add(content["product_id"])
            number += 1
    except tf.errors.OpError as error:
        problems.add(f"record {number}: cannot be read: {error.message.splitlines()[0]}")

    size = storage.size(path)
    found = {"records": number, "bytes": size}
    problems.compare(FILE, {"records": said.records, "bytes": said.bytes}, found)
    if rows is not None and len(rows) != said.records:
        problems.compare("its index", {"records": len(rows)}, {"records": number})
    if not listed.same_schema:
        return Found(problems, listed.photos, {}, False)
    labels = count_by_attribute(schema, *map(np.array, index.total_labels(codes, schema.sizes)))
    counts = numbers(number, size, len(products), labels)
    complete = len(codes) == number == (said.records if rows is None else len(rows))
    if agree and not complete:
        return Found(problems, listed.photos, listed.numbers, True)
    if listed.numbers and complete:
        problems.compare("its index", listed.numbers, counts)
    return Found(problems, listed.photos, counts, complete)


def numbers(records: int, size: int, products: int, labels: Mapping[str, Counts]) -> dict[str, int]:
    """Return the counts of a shard or a split by name, so that they can be summed."""
    found = {"records": records, "bytes": size, "products": products}
    for name, counts in labels.items():
        found.update({f"{name}={value}": count for value, count in counts.present.items()})
        found[f"{name} answered"] = counts.answered
        found[f"{name} not applicable"] = counts.not_applicable
        found[f"{name} missing"] = counts.missing
    return found


class _Index(NamedTuple):
    there: bool
    same_schema: bool  # also True if the index is missing
    numbers: dict[str, int]  # see `numbers`; empty if missing or of another schema
    photos: pa.Table  # COLUMNS


def _index(records: str, name: str, schema: Schema, problems: Problems) -> _Index:
    """Read the index of a shard, and add the problems of the index itself."""
    where = index.path(records, name)
    try:
        summary = index.read_summary(records, name, schema)
        if summary:
            photos = index.read_photos(records, [name], COLUMNS)
            if summary.fingerprint == schema.fingerprint:
                totals = np.array(summary.present), np.array(summary.states)
                labels = count_by_attribute(schema, *totals)
                counts = numbers(summary.records, summary.bytes, summary.products, labels)
                return _Index(True, True, counts, photos)
            problems.add(
                f"its index was made with another schema (fingerprint {summary.fingerprint}) than "
                f"{FILE} (fingerprint {schema.fingerprint})"
            )
            return _Index(True, False, {}, photos)
        problems.add(f"its index {where} is missing")
    except InputError as error:
        problems.add(f"its index {error}")
    return _Index(False, True, {}, index.COLUMNS.empty_table().select(COLUMNS))


def _inspect(
    record: tfrecord.Record, row: Mapping[str, Any], num_values: int | None
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the content of a record, see `_parse`, or None if unreadable; and its problems.

    Args:
      row: of the index; empty if there is none.
      num_values: V; None if unknown.
    """
    if record.broken:
        return None, [record.broken]
    try:
        content = _parse(record.data)
    except ValueError as error:
        return None, [str(error)]
    faults = [_photo_fault(content), _labels_fault(content["labels"], num_values)]
    if row:
        faults.append(_row_fault(content, row))
    return content, [fault for fault in faults if fault]


def _parse(data: bytes) -> dict[str, Any]:
    """Return the features of an Example, with index column names for the image features.

    Raises:
      ValueError: if the data is not an Example, or its features are not those of records.
    """
    try:
        features = tf.train.Example.FromString(data).features.feature
    except DecodeError as error:
        raise ValueError("is not a tf.train.Example") from error
    if features.keys() != example.FEATURES.keys():
        raise ValueError(f"has the features {sorted(features)}, not {sorted(example.FEATURES)}")
    found: dict[str, Any] = {}
    for name, spec in example.FEATURES.items():
        kind = "int64_list" if spec.dtype == tf.int64 else "bytes_list"
        values = getattr(features[name], kind).value
        if len(values) != 1:
            raise ValueError(f"its feature {name!r} is not a single value of {kind}")
        found[name] = values[0]
    return {
        "product_id": found["product_id"].decode(errors="backslashreplace"),
        "image_index": found["image/index"],
        "height": found["image/height"],
        "width": found["image/width"],
        "encoded": found["image/encoded"],
        "labels": found["labels"],
    }


def _row_fault(content: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    photo, listed = (
        f"photo {found['image_index']} of product {found['product_id']!r}"
        for found in (content, row)
    )
    if photo != listed:
        return f"is {photo}, but its index lists {listed} here"
    if index.labels_digest(content["labels"]) != row["labels_digest"]:
        return "its labels differ from those in its index"
    if (content["height"], content["width"]) != (row["height"], row["width"]):
        return (
            f"is {content['height']} x {content['width']} pixels, "
            f"{row['height']} x {row['width']} in its index"
        )
    return ""


def _photo_fault(content: Mapping[str, Any]) -> str:
    if not content["encoded"].startswith(_JPEG):  # TensorFlow would decode a PNG as well
        return "its photo is not a JPEG"
    try:
        height, width, channels = tf.io.decode_jpeg(content["encoded"]).shape
    except tf.errors.InvalidArgumentError as error:
        return f"its photo cannot be decoded: {error.message.splitlines()[0].split('} ')[-1]}"
    if channels != 3:
        return f"its photo has {channels} channels, not 3"
    if (height, width) != (content["height"], content["width"]):
        said = f"{content['height']} x {content['width']}"
        return f"its photo has {height} x {width} pixels, image/height x image/width says {said}"
    return ""


def _labels_fault(labels: bytes, num_values: int | None) -> str:
    if num_values is not None and len(labels) != num_values:
        return f"has {len(labels)} labels, the schema has {num_values} values"
    others = labels.translate(None, _CODES)
    return f"has the label {np.frombuffer(others, np.int8)[0]}, not -1, 0 or 1" if others else ""
