"""Test the JSON of requests and responses without a server."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from attr_extractor.serving.server import tensors
from attr_extractor.serving.server.predict_json import format_response, parse_body
from attr_extractor.serving.server.status import ServingError

MAX_VALUES = 1000


def texts(*values: str) -> np.ndarray:
    return np.array([value.encode() for value in values], object)


def parsed(body: str, dtype: tf.DType, shape: tuple = (None,)) -> np.ndarray:
    """Return the only tensor of a request."""
    parsed_body = parse_body(body.encode(), MAX_VALUES)
    return parsed_body.tensors({"x": tf.TensorSpec(shape, dtype, "x")})["x"]


def test_rows_are_one_object_per_photo():
    outputs = {
        "neck": texts("v-neck", "").reshape(2, 1),
        "neck_score": np.array([[0.5], [0.0]], np.float32),
        "error": texts("", "empty"),
    }
    assert json.loads(format_response(outputs, in_rows=True)) == {
        "predictions": [
            {"neck": ["v-neck"], "neck_score": [0.5], "error": ""},
            {"neck": [""], "neck_score": [0.0], "error": "empty"},
        ]
    }


def test_only_a_product_has_a_limit_of_photos():
    spec = tf.TensorSpec([None, None], tf.int32, "tokens")
    shape = [2, 65]
    assert tensors.count_rows({"tokens": shape}, {"tokens": spec}, 8) == 2  # another model's
    photos = tf.TensorSpec([None, None], tf.string, "image_bytes")
    assert tensors.count_rows({"image_bytes": [2, 64]}, {"image_bytes": photos}, 8) == 2
    with pytest.raises(ServingError, match="at most 64 photos"):
        tensors.count_rows({"image_bytes": shape}, {"image_bytes": photos}, 8)
    assert tensors.max_json_values({"tokens": spec}, 8) > 10 * tensors.max_json_values(
        {"image_bytes": photos}, 8
    )


def test_columns_are_one_list_per_output():
    outputs = {"a": np.array([[1], [2]]), "error": texts("", "x")}
    response = json.loads(format_response(outputs, in_rows=False))
    assert response == {"outputs": {"a": [[1], [2]], "error": ["", "x"]}}


def test_a_single_output_has_no_name():
    outputs = {"y": np.array([2.5, 3.0, 4.5], np.float32)}
    assert json.loads(format_response(outputs, in_rows=True)) == {"predictions": [2.5, 3.0, 4.5]}
    assert json.loads(format_response(outputs, in_rows=False)) == {"outputs": [2.5, 3.0, 4.5]}


@given(arrays.arrays(np.float32, st.integers(0, 5), elements=st.floats(width=32)))
def test_floats_survive_a_round_trip(values):
    response = json.loads(format_response({"y": values}, in_rows=True))
    np.testing.assert_array_equal(np.array(response["predictions"], np.float32), values)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_survives_a_round_trip(text):
    response = json.loads(format_response({"y": texts(text)}, in_rows=False))
    assert response == {"outputs": [text]}
    body = json.dumps({"inputs": [text]})
    if sum(map(body.count, ",[{")) <= MAX_VALUES:
        assert parsed(body, tf.string).tolist() == [text.encode()]


@given(st.binary(), st.sampled_from(["", "\n", " "]))
def test_base64_may_lack_padding_and_contain_blanks(data, blank):
    encoded = base64.b64encode(data).decode().rstrip("=")
    lines = blank.join(encoded[i : i + 5] for i in range(0, len(encoded), 5))
    assert parsed(json.dumps({"instances": [{"b64": lines}]}), tf.string).tolist() == [data]


def test_nan_and_infinity_are_floats_and_no_integers():
    values = parsed('{"inputs": [NaN, Infinity, -Infinity, 1]}', tf.float32)
    np.testing.assert_array_equal(values, np.array([np.nan, np.inf, -np.inf, 1], np.float32))
    for dtype in (tf.int64, tf.bool):
        with pytest.raises(ServingError, match="nan is not of the type"):
            parsed('{"inputs": [NaN]}', dtype)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("9" * 5_000, "number out of range"),
        ("9" * 400, "out of range for int32"),
        ("2147483648", "cannot convert 2147483648 to int32"),
        ("[" * 500 + "]" * 500, "recursion limit exceeded"),
        ("1," * 2_000 + "1", "more than 1,000 values"),
        ("1.5", "1.5 is not of the type int32"),
        ("[1], [1, 2]", "lists differ in size"),
    ],
)
def test_invalid_numbers_and_lists_are_rejected(value, reason):
    with pytest.raises(ServingError, match=reason) as refused:
        parsed(f'{{"inputs": [{value}]}}', tf.int32)
    assert refused.value.http == 400
