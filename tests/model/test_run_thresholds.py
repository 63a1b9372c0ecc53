"""The content of thresholds.json: valid files are read, all others are bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest

from attr_extractor.errors import InputError
from attr_extractor.model.answers import default_thresholds
from attr_extractor.model.thresholds import Thresholds


def content(schema) -> dict:
    return Thresholds.of_schema(schema).model_dump()


def test_a_new_run_has_the_schemas_thresholds_and_temperature_1(schema):
    color = schema["color"].model_copy(update={"threshold": 0.3})
    attributes = [color if a.name == "color" else a for a in schema.attributes]
    found = Thresholds.of_schema(schema.model_copy(update={"attributes": attributes}))
    expected = np.full(11, 0.5, np.float32)
    expected[5:8] = 0.3
    np.testing.assert_array_equal(found.per_value(schema), expected)
    np.testing.assert_array_equal(found.temperatures(schema), np.ones(11, np.float32))
    np.testing.assert_array_equal(default_thresholds(schema), np.full(11, 0.5, np.float32))


def test_a_value_has_its_own_threshold_or_its_attributes(schema, tmp_path):
    changed = content(schema)
    changed["attributes"]["neck_type"].update(
        threshold=0.25, temperature=2.0, values={"no neck": 1, "v-neck": 0.125}
    )
    (tmp_path / "thresholds.json").write_text(json.dumps(changed))
    found = Thresholds.read(tmp_path / "thresholds.json", schema)
    expected = [0.5, 0.5, 0.125, 0.25, 1.0, *[0.5] * 6]
    np.testing.assert_array_equal(found.per_value(schema), np.array(expected, np.float32))
    np.testing.assert_array_equal(found.temperatures(schema), [1, 1, 2, 2, 2, *[1] * 6])


def other_attribute(c):
    c["attributes"]["colour"] = c["attributes"]["color"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(fingerprint="0" * 16), "made with another schema"),
        (lambda c: c["attributes"].pop("color"), "no threshold for the attribute 'color'"),
        (other_attribute, "'colour' is not an attribute of the schema; did you mean 'color'"),
        (
            lambda c: c["attributes"]["color"].update(values={"gren": 0.1}),
            "'gren' is not a value of color; did you mean 'green'",
        ),
        (
            lambda c: c["attributes"]["color"].update(threshold=1.5),
            "attributes.color.threshold: input should be less than or equal to 1, not 1.5; "
            "attr-extractor calibrate rewrites the file",
        ),
        (lambda c: c["attributes"]["color"].update(temperature=0), "greater than 0"),
        (lambda c: c.pop("attributes"), "attributes: this key is required"),
    ],
)
def test_a_file_of_another_schema_is_bad_input(schema, tmp_path, change, words):
    path = tmp_path / "thresholds.json"
    changed = content(schema)
    change(changed)
    path.write_text(json.dumps(changed))
    with pytest.raises(InputError) as error:
        Thresholds.read(path, schema)
    assert str(error.value).startswith(f"{path}: ") and words in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"color": 0.5}'])
def test_a_damaged_file_is_bad_input(schema, tmp_path, text):
    path = tmp_path / "thresholds.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"thresholds.json: "):
        Thresholds.read(path, schema)
