"""The format of a record; `FEATURES` and `OPTIONAL` define both writing and parsing.

There is one Example per photo. `labels` is int8[V] in schema order as raw bytes, so a record is
only meaningful with the schema fingerprint in the manifest next to the shards.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from attr_extractor.labels import MISSING

FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),  # JPEG of the stored photo
    "image/height": tf.io.FixedLenFeature([], tf.int64),  # pixels of the stored photo
    "image/width": tf.io.FixedLenFeature([], tf.int64),
    "image/index": tf.io.FixedLenFeature([], tf.int64),  # photo number within the product
    "product_id": tf.io.FixedLenFeature([], tf.string),  # UTF-8
    "labels": tf.io.FixedLenFeature([], tf.string),  # int8[V]: 1 present, 0 absent, -1 missing
}
SOFT = ("soft/value", "soft/probability")  # pairs, any number
_PAIRS = {"shape": [], "allow_missing": True}
OPTIONAL = {  # not written if empty
    "text": tf.io.FixedLenFeature([], tf.string, default_value=""),  # UTF-8, see catalogue/texts.py
    # probabilities of values that label sources give for missing attributes, see sources/belief.py;
    # further values of such an attribute have probability 0
    "soft/value": tf.io.FixedLenSequenceFeature(dtype=tf.int64, **_PAIRS),  # positions in V
    "soft/probability": tf.io.FixedLenSequenceFeature(dtype=tf.float32, **_PAIRS),
}


def serialize(values: dict[str, Any]) -> bytes:
    """Return one serialized tf.train.Example; `values` must have all keys of FEATURES."""
    if values.keys() - OPTIONAL.keys() != FEATURES.keys():
        raise ValueError(f"an Example has the features {sorted(FEATURES)}, not {sorted(values)}")
    example = tf.train.Example()
    features = example.features.feature  # filled in place, which avoids a copy of the messages
    for name, spec in {**FEATURES, **OPTIONAL}.items():
        value = values.get(name, "")
        if name in OPTIONAL and not value:
            continue
        if isinstance(value, np.ndarray):
            value = value.astype(np.int8).tobytes()
        feature = features[name]
        (feature.int64_list if spec.dtype == tf.int64 else feature.bytes_list).value.append(value)
    return example.SerializeToString(deterministic=True)


def set_soft(record: tf.train.Example, values: list[int], probabilities: list[float]) -> None:
    """Replace the soft labels of an Example; no pairs remove them."""
    features = record.features.feature
    for name in SOFT:
        features.pop(name, None)
    if values:
        features["soft/value"].int64_list.value.extend(values)
        features["soft/probability"].float_list.value.extend(probabilities)


def soft(record: tf.train.Example) -> tuple[list[int], list[float]]:
    """Return the soft labels of an Example: positions in V, and their probabilities."""
    features = record.features.feature
    values, probabilities = (features.get(name) for name in SOFT)
    if values is None or probabilities is None:
        return [], []
    return list(values.int64_list.value), list(probabilities.float_list.value)


def set_text(record: tf.train.Example, text: str) -> None:
    """Replace the text of an Example, which has none if it is empty."""
    record.features.feature.pop("text", None)
    if text:
        record.features.feature["text"].bytes_list.value.append(text.encode())


def of_photo(encoded: bytes) -> bytes:
    """Return a serialized Example with a photo; all other features are 0 or empty."""
    blank = {name: 0 if spec.dtype == tf.int64 else b"" for name, spec in FEATURES.items()}
    return serialize({**blank, "image/encoded": encoded})


def photo(serialized: bytes) -> bytes:
    """Return the JPEG of one serialized Example, read in Python.

    Raises:
      google.protobuf.message.DecodeError: if the data is not an Example.
      LookupError: if the Example has no photo.
    """
    features = tf.train.Example.FromString(serialized).features.feature
    return features["image/encoded"].bytes_list.value[0]


def parse(serialized: tf.Tensor, names: Iterable[str] = tuple(FEATURES)) -> dict[str, tf.Tensor]:
    """Parse the named features of one serialized Example (string scalar), undecoded."""
    specs = {**FEATURES, **OPTIONAL}
    return tf.io.parse_single_example(serialized, {name: specs[name] for name in names})


def targets(
    labels: tf.Tensor, values: tf.Tensor, probabilities: tf.Tensor, sizes: list[int]
) -> tf.Tensor:
    """Return the targets of one Example's loss: labels, and soft labels of missing attributes.

    Args:
      labels: int8 [V].
      values: int64 [n], positions in V, in any order.
      probabilities: float32 [n].
      sizes: number of values of each of the T attributes.

    Returns:
      float32 [V]: 0 .. 1, or -1 where neither the seller nor a source gave a label.
    """
    owner = tf.constant(np.repeat(np.arange(len(sizes)), sizes))  # [V]
    soft = tf.scatter_nd(values[:, tf.newaxis], probabilities, tf.constant([sum(sizes)], tf.int64))
    hard = tf.cast(labels, tf.float32)
    missing = tf.math.segment_max(hard, owner) == MISSING  # [T]
    told = tf.math.unsorted_segment_max(tf.ones_like(values), tf.gather(owner, values), len(sizes))
    return tf.where(tf.gather(missing & (told > 0), owner), soft, hard)


def decode_labels(labels: tf.Tensor, num_values: int) -> tf.Tensor:
    """Decode the `labels` feature of one Example to int8[V]."""
    return tf.ensure_shape(tf.io.decode_raw(labels, tf.int8), [num_values])
