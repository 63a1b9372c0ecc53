"""Claims about the JSON that is sent: TF Serving's two formats, every value as itself."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from attr_extractor.serving import json_answers


def texts(*values: str) -> np.ndarray:
    return np.array([value.encode() for value in values], object)


def test_each_photo_is_one_object():
    outputs = {
        "neck": texts("v-neck", "").reshape(2, 1),
        "neck_score": np.array([[0.2], [0.0]], np.float32),
        "error": texts("", "empty"),
    }
    assert json_answers.predictions(outputs) == {
        "predictions": [
            {"neck": ["v-neck"], "neck_score": [0.2], "error": ""},
            {"neck": [""], "neck_score": [0.0], "error": "empty"},
        ]
    }


def test_a_single_output_has_no_name():
    numbers = {"y": np.array([2.5, 3.0, 4.5], np.float32)}
    assert json_answers.predictions(numbers) == {"predictions": [2.5, 3.0, 4.5]}
    assert json_answers.outputs(numbers) == {"outputs": [2.5, 3.0, 4.5]}


def test_columns_hold_a_list_per_output():
    found = json_answers.outputs({"a": np.array([[1], [2]]), "error": texts("", "x")})
    assert found == {"outputs": {"a": [[1], [2]], "error": ["", "x"]}}


def test_numbers_that_json_lacks_are_tf_servings_words():
    found = json_answers.outputs({"y": np.array([np.nan, np.inf, -np.inf], np.float32)})
    assert json.dumps(found) == '{"outputs": [NaN, Infinity, -Infinity]}'


@given(arrays.arrays(np.float32, st.integers(0, 5), elements=st.floats(width=32)))
def test_every_float_comes_back_as_itself(values):
    found = json.loads(json.dumps(json_answers.predictions({"y": values})))["predictions"]
    np.testing.assert_array_equal(np.array(found, np.float32), values)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back_as_itself(text):
    found = json.loads(json.dumps(json_answers.outputs({"y": texts(text)})))
    assert found == {"outputs": [text]}
