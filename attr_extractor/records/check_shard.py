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

    def add(self, problem: str) -> None:
        """Add one problem."""
        self.count += 1
        if self.count <= LISTED:
            self.lines.append(f"{self.where}: {problem}")

    def compare(self, source: str, expected: Mapping[str, int], found: Mapping[str, int]) -> None:
        """Add a problem for every count that differs from the one that `source` states."""
        for key in dict.fromkeys([*expected, *found]):
            if expected.get(key) != found.get(key):
                self.add(f"{key}: {source} says {expected.get(key)}, found {found.get(key)}")

    def __str__(self) -> str:
        more = self.count - len(self.lines)
        return "\n".join([*self.lines, *([f"{self.where}: and {more:,} more"] if more else [])])


@dataclass
class ShardContents:
    """Contents of one shard."""

    problems: Problems
    photos: pa.Table  # COLUMNS of its index; empty without an index
    counts: dict[str, int]  # see `counts_by_name`; from its index if a record is unreadable
    complete: bool  # whether `counts` cover all its records


def check(records: str, split: str, entry: Shard, schema: Schema) -> ShardContents:
    """Verify one shard.

    Args:
      split: the split under which the manifest lists the shard.
      entry: of the shard, in the manifest.
      schema: the schema of the manifest.
    """
    problems, path = Problems(entry.name), storage.join(records, entry.name)
    if not entry.name.startswith(f"{split}-"):
        problems.add(f"{FILE} lists it under {split}")
    listed = _read_index(records, entry.name, schema, problems)
    # if records are unreadable, the counts can still come from the index
    agree = all(listed.counts.get(key) == getattr(entry, key) for key in ("records", "bytes"))
    if not storage.exists(path):
        problems.add("the shard is missing")
        return ShardContents(problems, listed.photos, listed.counts, agree)

    rows = listed.photos.to_pylist() if listed.exists else None
    num_values = schema.num_values if listed.same_schema else None
    codes: list[bytes] = []
    soft: list[list[int]] = []
    products: set[str] = set()
    number = 0
    try:
        for record in tfrecord.read_records(path):
            row = rows[number] if rows and number < len(rows) else {}
            photo, faults = _inspect(record, row, num_values)
            product = photo.product_id if photo else row.get("product_id")
            if photo and rows is not None and not row:
                faults.append("its index has no row for it")
            for fault in faults:
                owner = f"product {product!r}, " if product else ""
                problems.add(f"record {number} ({owner}byte {record.offset:,}): {fault}")
            if photo and not faults:
                codes.append(photo.labels)
                soft.append(photo.soft)
                products.add(photo.product_id)
            number += 1
    except tf.errors.OpError as error:
        problems.add(f"record {number}: cannot be read: {error.message.splitlines()[0]}")

    size = storage.size(path)
    found = {"records": number, "bytes": size}
    problems.compare(FILE, {"records": entry.records, "bytes": entry.bytes}, found)
    if rows is not None and len(rows) != entry.records:
        problems.compare("its index", {"records": len(rows)}, {"records": number})
    if not listed.same_schema:
        return ShardContents(problems, listed.photos, {}, False)
    totals = index.total_labels(codes, schema.sizes, soft)
    labels = _counts(schema, totals)
    counts = counts_by_name(number, size, len(products), labels)
    complete = len(codes) == number == (entry.records if rows is None else len(rows))
    if agree and not complete:
        return ShardContents(problems, listed.photos, listed.counts, True)
    if listed.counts and complete:
        problems.compare("its index", listed.counts, counts)
    return ShardContents(problems, listed.photos, counts, complete)


def counts_by_name(
    records: int, size: int, products: int, labels: Mapping[str, Counts]
) -> dict[str, int]:
    """Return the counts of a shard or a split by name, so that they can be summed."""
    by_name = {"records": records, "bytes": size, "products": products}
    for name, counts in labels.items():
        by_name.update({f"{name}={value}": count for value, count in counts.present.items()})
        by_name[f"{name} answered"] = counts.answered
        by_name[f"{name} not applicable"] = counts.not_applicable
        by_name[f"{name} missing"] = counts.missing
        by_name[f"{name} with soft labels"] = counts.soft
    return by_name


def _counts(schema: Schema, totals: index.LabelTotals | index.ShardSummary) -> dict[str, Counts]:
    soft = totals.soft or [0] * len(schema.attributes)
    return count_by_attribute(schema, *map(np.array, (totals.present, totals.states, soft)))


class _Index(NamedTuple):
    exists: bool
    same_schema: bool  # also True if the index is missing
    counts: dict[str, int]  # see `counts_by_name`; empty if missing or of another schema
    photos: pa.Table  # COLUMNS


def _read_index(records: str, name: str, schema: Schema, problems: Problems) -> _Index:
    """Read the index of a shard, and add the problems of the index itself."""
    where = index.path(records, name)
    try:
        summary = index.read_summary(records, name, schema)
        if summary:
            photos = index.read_photos(records, [name], COLUMNS)
            if summary.fingerprint == schema.fingerprint:
                labels = _counts(schema, summary)
                counts = counts_by_name(summary.records, summary.bytes, summary.products, labels)
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


class _Photo(NamedTuple):
    """The features of one Example."""

    product_id: str
    image_index: int
    height: int
    width: int
    encoded: bytes
    labels: bytes
    soft: list[int]  # positions in V
    probabilities: list[float]  # of `soft`


def _inspect(
    record: tfrecord.Record, row: Mapping[str, Any], num_values: int | None
) -> tuple[_Photo | None, list[str]]:
    """Return the photo of a record, or None if it is unreadable; and the record's faults.

    Args:
      row: of the index; empty if there is none.
      num_values: V; None if unknown.
    """
    if record.broken:
        return None, [record.broken]
    try:
        photo = _parse(record.data)
    except ValueError as error:
        return None, [str(error)]
    faults = [
        _photo_fault(photo),
        _labels_fault(photo.labels, num_values),
        _soft_fault(photo, num_values),
    ]
    if row:
        faults.append(_row_fault(photo, row))
    return photo, [fault for fault in faults if fault]


def _parse(data: bytes) -> _Photo:
    """Parse an Example.

    Raises:
      ValueError: if the data is not an Example, or its features are not those of records.
    """
    try:
        parsed = tf.train.Example.FromString(data)
        features = parsed.features.feature
    except DecodeError as error:
        raise ValueError("is not a tf.train.Example") from error
    if features.keys() - example.OPTIONAL.keys() != example.FEATURES.keys():
        raise ValueError(f"has the features {sorted(features)}, not {sorted(example.FEATURES)}")
    content: dict[str, Any] = {}
    for name, spec in example.FEATURES.items():
        kind = "int64_list" if spec.dtype == tf.int64 else "bytes_list"
        values = getattr(features[name], kind).value
        if len(values) != 1:
            raise ValueError(f"its feature {name!r} is not a single value of {kind}")
        content[name] = values[0]
    soft, probabilities = example.soft(parsed)
    return _Photo(
        product_id=content["product_id"].decode(errors="backslashreplace"),
        image_index=content["image/index"],
        height=content["image/height"],
        width=content["image/width"],
        encoded=content["image/encoded"],
        labels=content["labels"],
        soft=soft,
        probabilities=probabilities,
    )


def _row_fault(photo: _Photo, row: Mapping[str, Any]) -> str:
    """Return how a record differs from its row in the index, or ""."""
    name = f"photo {photo.image_index} of product {photo.product_id!r}"
    listed = f"photo {row['image_index']} of product {row['product_id']!r}"
    if name != listed:
        return f"is {name}, but its index lists {listed} here"
    if index.labels_digest(photo.labels) != row["labels_digest"]:
        return "its labels differ from those in its index"
    if (photo.height, photo.width) != (row["height"], row["width"]):
        return (
            f"is {photo.height} x {photo.width} pixels, "
            f"{row['height']} x {row['width']} in its index"
        )
    return ""


def _photo_fault(photo: _Photo) -> str:
    """Return why a photo cannot be used, or ""."""
    if not photo.encoded.startswith(_JPEG):  # TensorFlow would decode a PNG as well
        return "its photo is not a JPEG"
    try:
        height, width, channels = tf.io.decode_jpeg(photo.encoded).shape
    except tf.errors.InvalidArgumentError as error:
        return f"its photo cannot be decoded: {error.message.splitlines()[0].split('} ')[-1]}"
    if channels != 3:
        return f"its photo has {channels} channels, not 3"
    if (height, width) != (photo.height, photo.width):
        stated = f"{photo.height} x {photo.width}"
        return f"its photo has {height} x {width} pixels, image/height x image/width says {stated}"
    return ""


def _labels_fault(labels: bytes, num_values: int | None) -> str:
    if num_values is not None and len(labels) != num_values:
        return f"has {len(labels)} labels, the schema has {num_values} values"
    others = labels.translate(None, _CODES)
    return f"has the label {np.frombuffer(others, np.int8)[0]}, not -1, 0 or 1" if others else ""


def _soft_fault(photo: _Photo, num_values: int | None) -> str:
    if len(photo.soft) != len(photo.probabilities):
        return f"has {len(photo.soft)} soft labels with {len(photo.probabilities)} probabilities"
    if any(not 0 <= probability <= 1 for probability in photo.probabilities):
        return "has a soft label whose probability is not between 0 and 1"
    if num_values is not None and any(not 0 <= value < num_values for value in photo.soft):
        return f"has a soft label of none of the schema's {num_values} values"
    return ""
