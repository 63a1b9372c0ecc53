"""Tests of schema.py: lookups, arrays, the fingerprint, and errors in one line."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from attr_extractor import schema as schema_module
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema, fold
from tests.conftest import ROOT, SCHEMA

FLIPKART = ROOT / "configs" / "schemas" / "flipkart49.yaml"


def parsed(**changes: object) -> Schema:
    """Parse the test schema after changes such as `attributes__1__values=[...]`; None removes."""
    return Schema.parse(yaml.safe_dump(changed(**changes), sort_keys=False), "test")


def changed(**changes: object) -> dict:
    content = copy.deepcopy(yaml.safe_load(SCHEMA))
    for path, value in changes.items():
        *keys, last = (int(key) if key.isdigit() else key for key in path.split("__"))
        place = content
        for key in keys:
            place = place[key]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return content


# Spellings


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("V-Neck", "v-neck"),
        (" a  b\t", "A B"),
        ("STRASSE", "straße"),
        ("ﬁt", "FIT"),
        ("\uff21\uff14", "a4"),
    ],
)
def test_fold_makes_spellings_equal(first, second):
    assert fold(first) == fold(second)


def test_fold_keeps_accents_and_hyphens_apart():
    assert len({fold(text) for text in ("café", "cafe", "v-neck", "v neck", "vneck")}) == 5


def test_a_cell_is_looked_up_by_value_synonym_and_fold(schema: Schema):
    neck = schema["neck_type"]
    found = [neck.value_of(c) for c in ("v-neck", "V  Neck", " ROUND neck", "no neck", "round", "")]
    assert found == [0, 0, 1, 2, None, None]


def test_missing_is_blank_or_one_of_missing_values_in_every_part(schema: Schema):
    missing = ["", "  ", "NA", " na ", "|", "NA| ", "na|NA"]
    assert [schema.is_missing(cell) for cell in missing] == [True] * len(missing)
    assert not any(schema.is_missing(cell) for cell in ("N A", "red", "NA|red", "nan", "none"))


# Arrays


def test_slices_and_attribute_of_value_follow_the_order_of_the_file(schema: Schema):
    assert schema.names == ["category", "neck_type", "color", "closure"]
    assert (schema.sizes, schema.num_values) == ([2, 3, 3, 3], 11)
    assert schema.slices == {
        "category": slice(0, 2),
        "neck_type": slice(2, 5),
        "color": slice(5, 8),
        "closure": slice(8, 11),
    }
    assert schema.attribute_of_value.dtype == np.int32
    assert schema.attribute_of_value.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_allowed_follows_applies_to_and_values_by_category(schema: Schema):
    assert schema.allowed.dtype == bool
    # category, then neck, color and closure: button zip drawstring
    shirt, jeans = "11 111 111 111", "11 000 111 110"
    assert ["".join(map(str, row)) for row in schema.allowed.astype(int)] == [
        shirt.replace(" ", ""),
        jeans.replace(" ", ""),
    ]


def test_columns_rename_and_default_to_the_name():
    schema = parsed(columns={"color": "Farbe", "product_id": "SKU"})
    assert [schema.column(n) for n in ("color", "product_id", "image")] == ["Farbe", "SKU", "image"]


def test_title_falls_back_from_language_to_any_language_to_the_name():
    schema = parsed(
        attributes__0__display_name="Kind", attributes__1__display_name={"de": "Ausschnitt"}
    )
    assert [a.title() for a in schema.attributes] == ["Kind", "Ausschnitt", "color", "closure"]
    assert schema["neck_type"].title("de") == "Ausschnitt"


# Fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"attributes__3__name": "closing"},
        {"attributes__2__values": ["red", "green", "navy"]},
        {"attributes__2__values": ["red", "green", "blue", "navy"]},
        {"attributes__2__values": ["green", "red", "blue"]},
        {"attributes__2__exclusive": True},
        {"attributes__1__applies_to": ["shirt", "jeans"]},
        {"attributes__1__applies_to": None},
        {"attributes__3__values_by_category": {"jeans": ["button"]}},
        {"attributes__3__values_by_category": None},
    ],
)
def test_the_fingerprint_changes_with_the_meaning_of_a_label(change):
    assert parsed(**change).fingerprint != parsed().fingerprint


def test_the_fingerprint_changes_with_the_attribute_that_is_the_category():
    plain = {"attributes__1__applies_to": None, "attributes__3__values_by_category": None}
    assert parsed(**plain, category="closure").fingerprint != parsed(**plain).fingerprint


def test_the_fingerprint_changes_with_the_order_of_attributes():
    content = changed()
    content["attributes"][2], content["attributes"][3] = content["attributes"][3:1:-1]
    assert Schema.parse(yaml.safe_dump(content), "t").fingerprint != parsed().fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"name": "another"},
        {"attributes__1__display_name": "Neck"},
        {"attributes__1__synonyms": {"vee": "v-neck"}},
        {"attributes__1__weight": 3.0, "attributes__1__threshold": 0.9},
        {"columns": {"color": "Farbe"}},
        {"missing_values": ["-", "?"]},
        {"attributes__3__values_by_category": {"jeans": ["zip", "button"]}},
    ],
)
def test_the_fingerprint_ignores_what_does_not_change_a_label(change):
    assert parsed(**change).fingerprint == parsed().fingerprint


def test_the_fingerprint_is_the_same_on_every_machine_and_release(schema: Schema):
    meaning = (
        '["category",[["category",["shirt","jeans"],true,null,{}],'
        '["neck_type",["v-neck","round neck","no neck"],true,["shirt"],{}],'
        '["color",["red","green","blue"],false,null,{}],'
        '["closure",["button","zip","drawstring"],true,null,{"jeans":["button","zip"]}]]]'
    )
    expected = hashlib.sha256(meaning.encode()).hexdigest()[:16]
    assert schema.fingerprint == expected == "c07a7d9c001fd16b"


def test_another_fingerprint_raises_and_names_both(schema: Schema):
    with pytest.raises(InputError, match=f"here.*0123.*{schema.fingerprint}"):
        schema_module.require_same("0123", schema, "here")


# Mistakes


MISTAKES = {
    "misspelt key": ({"attributes__1__valuess": ["x"]}, "attributes.1.valuess", "mean 'values'?"),
    "misspelt top key": ({"categry": "x"}, "categry", "did you mean 'category'?"),
    "missing key": ({"attributes__1__values": None}, "attributes.1.values", "required"),
    "no values": ({"attributes__1__values": []}, "attributes.1.values", "at least 1 item"),
    "number as value": ({"attributes__1__values": ["a", 42]}, "values.1", "not 42; write it in q"),
    "text as flag": ({"attributes__1__exclusive": "yes"}, "attributes.1.exclusive", "not 'yes'"),
    "text as number": ({"attributes__1__weight": "1"}, "attributes.1.weight", "valid number"),
    "infinite weight": ({"attributes__1__weight": float("inf")}, "weight", "finite"),
    "negative weight": ({"attributes__1__weight": -1}, "weight", "greater than or equal to 0"),
    "threshold over 1": ({"attributes__1__threshold": 1.5}, "threshold", "less than or equal to 1"),
    "unlisted misspelt": ({"attributes__2__unlisted": "abscent"}, "unlisted", "mean 'absent'?"),
    "unlisted of exclusive": ({"attributes__1__unlisted": "missing"}, "neck_type", "exclusive"),
    "attribute twice": ({"attributes__2__name": "neck_type"}, "'neck_type' appears twice"),
    "value twice": ({"attributes__2__values": ["red", "red"]}, "color", "'red' appears twice"),
    "two spellings": ({"attributes__2__values": ["Red", "red"]}, "'red' is 'Red' in another spell"),
    "value with bar": ({"attributes__2__values": ["a|b"]}, "color", "'a|b'", "contains a '|'"),
    "blank value": ({"attributes__2__values": [" "]}, "color", "' ' is empty"),
    "synonym is value": ({"attributes__1__synonyms": {"V-NECK": "no neck"}}, "is a value"),
    "synonym of unknown": ({"attributes__1__synonyms": {"v": "v-nec"}}, "mean 'v-neck'?"),
    "applies to unknown": ({"attributes__1__applies_to": ["shrt"]}, "neck_type", "mean 'shirt'?"),
    "values of unknown category": (
        {"attributes__3__values_by_category": {"jean": ["zip"]}},
        "jeans",
    ),
    "unknown value by category": (
        {"attributes__3__values_by_category": {"jeans": ["zap"]}},
        "'zip'",
    ),
    "category outside applies_to": (
        {"attributes__3__applies_to": ["shirt"]},
        "closure: values_by_category names 'jeans', not in applies_to",
    ),
    "missing value is a value": ({"missing_values": ["RED"]}, "'red' is also a value of color"),
    "no such category": ({"category": "categori"}, "did you mean 'category'?"),
    "category of several": ({"attributes__0__exclusive": False}, "category", "exclusive"),
    "category that applies": ({"attributes__0__applies_to": ["shirt"]}, "without applies_to"),
    "reserved error": ({"attributes__1__name": "error"}, "'error' would collide"),
    "reserved _score": ({"attributes__1__name": "neck_score"}, "'neck_score' would collide"),
    "reserved _bytes": ({"attributes__1__name": "neck_bytes"}, "'neck_bytes' would collide"),
    "name with capital": ({"attributes__1__name": "Neck"}, "'Neck' is not an identifier"),
    "name with space": ({"attributes__1__name": "neck type"}, "not an identifier"),
    "name with digit first": ({"attributes__1__name": "1neck"}, "not an identifier"),
    "name with newline": ({"attributes__1__name": "neck\n"}, "not an identifier"),
    "column of nobody": ({"columns": {"colr": "x"}}, "did you mean 'color'?"),
    "column for two": ({"columns": {"color": "closure"}}, "'closure' is used for 2 names"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_error_names_the_file_the_key_and_the_fix_in_one_line(tmp_path: Path, mistake: str):
    change, *words = MISTAKES[mistake]
    path = tmp_path / "mistake.yaml"
    path.write_text(yaml.safe_dump(changed(**change)), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        Schema.read(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and "\n" not in line
    for word in words:
        assert word in line


# The shipped schema of the paper's size


def test_flipkart49_has_the_papers_sizes():
    schema = Schema.read(FLIPKART)
    sizes = dict(zip(schema.names, schema.sizes))
    assert len(sizes) == 49 and schema.category == "category" and sizes["category"] == 25
    given = {"pattern": 89, "print_type": 91, "neck_type": 50, "top_type": 49, "ideal_for": 7}
    assert {name: sizes[name] for name in given} == given
    assert 1850 <= schema.num_values <= 1950


def test_flipkart49_closure_depends_on_the_category():
    schema = Schema.read(FLIPKART)
    where = schema.slices["closure_type"]

    def closures(category: str) -> set[str]:
        row = schema.allowed[schema["category"].values.index(category), where]
        return {value for value, ok in zip(schema["closure_type"].values, row) if ok}

    assert closures("jeans") == {"button", "zip"}
    assert closures("pyjama") == {"drawstring", "elastic"}
    assert closures("trousers") == {"button", "zip", "drawstring", "elastic"}
