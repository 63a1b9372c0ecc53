"""Tests of `records/example.py`: one definition for writing and parsing."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.records import example

VALUES = {
    "image/encoded": b"\xff\xd8\x00photo",
    "image/height": 301,
    "image/width": 256,
    "image/index": 1,
    "product_id": "größe 42".encode(),
    "labels": np.array([1, 0, -1, 0], np.int8),
}


def test_a_serialized_example_has_exactly_the_specified_features():
    parsed = tf.train.Example.FromString(example.serialize(VALUES)).features.feature
    assert sorted(parsed) == sorted(VALUES)
    assert list(parsed["image/encoded"].bytes_list.value) == [b"\xff\xd8\x00photo"]
    sizes = [parsed[f"image/{key}"].int64_list.value for key in ("height", "width", "index")]
    assert [list(size) for size in sizes] == [[301], [256], [1]]
    assert list(parsed["product_id"].bytes_list.value) == ["größe 42".encode()]
    assert list(parsed["labels"].bytes_list.value) == [b"\x01\x00\xff\x00"]


def test_an_example_written_by_tensorflow_is_parsed():
    def feature(value) -> tf.train.Feature:
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(value)]))

    stock = tf.train.Example(
        features=tf.train.Features(
            feature={k: feature(v.tobytes() if k == "labels" else v) for k, v in VALUES.items()}
        )
    )
    found = example.parse(stock.SerializeToString())
    assert {name: value.dtype for name, value in found.items()} == {
        name: tf.int64 if isinstance(value, int) else tf.string for name, value in VALUES.items()
    }
    assert found["image/height"] == 301 and found["product_id"] == "größe 42".encode()
    labels = example.decode_labels(found["labels"], 4)
    assert labels.dtype == tf.int8 and labels.numpy().tolist() == [1, 0, -1, 0]


def test_only_the_named_features_are_parsed():
    without_size = {k: v for k, v in VALUES.items() if k != "image/height"}
    stock = tf.train.Example.FromString(example.serialize(VALUES))
    del stock.features.feature["image/height"]
    serialized = stock.SerializeToString()
    found = example.parse(serialized, ["labels", "product_id"])
    assert sorted(found) == ["labels", "product_id"]
    assert found["product_id"] == "größe 42".encode()
    assert sorted(example.parse(serialized, without_size)) == sorted(without_size)
    with pytest.raises(tf.errors.InvalidArgumentError, match="image/height"):
        example.parse(serialized)


def test_serialization_does_not_depend_on_the_order_of_keys():
    assert example.serialize(VALUES) == example.serialize(dict(reversed(VALUES.items())))


@pytest.mark.parametrize("change", [{"labels": None}, {"more": 1}])
def test_unknown_or_missing_keys_raise_value_error(change):
    values = {k: v for k, v in {**VALUES, **change}.items() if v is not None}
    with pytest.raises(ValueError, match="an Example has"):
        example.serialize(values)


def test_labels_of_another_length_are_an_error():
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        example.decode_labels(tf.constant(b"\x01\x00\xff"), 4)
