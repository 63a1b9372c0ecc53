"""The format of a record; `FEATURES` and `OPTIONAL` define both writing and parsing.

There is one Example per photo. `labels` is int8[V] in schema order as raw bytes, so a record is
only meaningful with the schema fingerprint in the manifest next to the shards.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),  # JPEG of the stored photo
    "image/height": tf.io.FixedLenFeature([], tf.int64),  # pixels of the stored photo
    "image/width": tf.io.FixedLenFeature([], tf.int64),
    "image/index": tf.io.FixedLenFeature([], tf.int64),  # photo number within the product
    "product_id": tf.io.FixedLenFeature([], tf.string),  # UTF-8
    "labels": tf.io.FixedLenFeature([], tf.string),  # int8[V]: 1 present, 0 absent, -1 missing
}
OPTIONAL = {  # not written if empty
    "text": tf.io.FixedLenFeature([], tf.string, default_value=""),  # UTF-8, see catalogue/texts.py
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


def decode_labels(labels: tf.Tensor, num_values: int) -> tf.Tensor:
    """Decode the `labels` feature of one Example to int8[V]."""
    return tf.ensure_shape(tf.io.decode_raw(labels, tf.int8), [num_values])
