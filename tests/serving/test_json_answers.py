"""Claims about the JSON that is sent: RapidJSON's layout and TF Serving's decimals."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from attr_extractor.serving import json_answers


def texts(*values: str) -> np.ndarray:
    return np.array([value.encode() for value in values], object)


def test_each_photo_is_one_object_with_its_arrays_on_one_line():
    outputs = {
        "neck": texts("v-neck", "").reshape(2, 1),
        "neck_score": np.array([[0.75], [0.0]], np.float32),
        "error": texts("", "empty"),
    }
    assert json_answers.predictions(outputs).decode() == (
        '{\n    "predictions": [\n'
        '        {\n            "neck": ["v-neck"],\n            "neck_score": [0.75],\n'
        '            "error": ""\n        },\n'
        '        {\n            "neck": [""],\n            "neck_score": [0.0],\n'
        '            "error": "empty"\n        }\n    ]\n}'
    )


def test_a_single_output_has_no_names_and_tf_servings_odd_last_line():
    # "predictions": [2.5, 3.0, 4.5\n    ]\n} is what TF Serving's half_plus_two example returns
    found = json_answers.predictions({"y": np.array([2.5, 3.0, 4.5], np.float32)})
    assert found.decode() == '{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}'


def test_columns_have_a_line_per_value():
    found = json_answers.outputs({"a": np.array([[1], [2]]), "error": texts("", "x")})
    assert found.decode() == (
        '{\n    "outputs": {\n        "a": [\n            [\n                1\n            ],\n'
        "            [\n                2\n            ]\n        ],\n"
        '        "error": [\n            "",\n            "x"\n        ]\n    }\n}'
    )


def test_decimals_are_tf_servings():
    # six digits where they are exact, nine (float) or seventeen (double) where not
    given_and_words = [(0.2, "0.2"), (9e6, "9e+06"), (3e-5, "3e-05"), (1.0, "1.0")]
    given_and_words += [(1 / 3, "0.333333343"), (np.nan, "NaN"), (-np.inf, "-Infinity")]
    values = np.array([value for value, _ in given_and_words], np.float32)
    found = json_answers.predictions({"y": values}).decode()
    assert found.split("[")[1].split("\n")[0] == ", ".join(word for _, word in given_and_words)
    assert "0.33333333333333331" in json_answers.outputs({"y": np.array([1 / 3])}).decode()


@given(arrays.arrays(np.float32, st.integers(1, 5), elements=st.floats(width=32)))
def test_every_float_comes_back_as_itself(values):
    found = json.loads(json_answers.predictions({"y": values}))["predictions"]
    np.testing.assert_array_equal(np.array(found, np.float32), values)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back_as_itself(text):
    assert json.loads(json_answers.outputs({"y": texts(text)}))["outputs"] == [text]


def test_only_what_must_be_is_escaped():
    found = json_answers.error('é "\\" \\u00ab \x1f\n/').decode()
    assert found == '{\n    "error": "é \\"\\\\\\" \\\\u00ab \\u001F\\n/"\n}'
