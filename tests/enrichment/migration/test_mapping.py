"""Tests of migration/mapping.py and plan.py: incomplete mappings and changed meanings raise."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from attr_extractor import yaml_files
from attr_extractor.enrichment.migration.mapping import Mapping
from attr_extractor.enrichment.migration.plan import Plan
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema
from tests.conftest import SCHEMA
from tests.enrichment.migration.by_hand import APART, JOINED, MAPPING, MOVES, NEW_SCHEMA, TOGETHER


def plan(mapping: str, new: str = NEW_SCHEMA, old: str = SCHEMA) -> Plan:
    content = yaml_files.load(mapping, "m.yaml") or {}
    parsed = yaml_files.validate(Mapping, content, "m.yaml")
    return parsed.plan(Schema.parse(old, "old"), Schema.parse(new, "new"), "m.yaml")


def refused(mapping: str, new: str = NEW_SCHEMA, old: str = SCHEMA) -> str:
    with pytest.raises(InputError) as caught:
        plan(mapping, new, old)
    return str(caught.value)


def edited(text: str, **edits: Any) -> str:
    """A YAML mapping with other content under some keys."""
    return yaml.safe_dump({**yaml.safe_load(text), **edits}, sort_keys=False)


def schema_with(attribute: str, **edits: Any) -> str:
    """The shop's schema with other keys of one attribute; None takes a key away."""
    content = yaml.safe_load(SCHEMA)
    (found,) = [a for a in content["attributes"] if a["name"] == attribute]
    found.update(edits)
    for key in [key for key, setting in found.items() if setting is None]:
        del found[key]
    return yaml.safe_dump(content, sort_keys=False)


def test_the_summary_counts_values_by_their_change():
    assert plan(MAPPING).summary() == MOVES


def test_an_empty_mapping_maps_a_schema_to_itself():
    found = plan("", SCHEMA)
    assert found.summary() == "values: 11 kept"
    assert found.changed_meanings == {}


def test_order_display_names_weights_and_columns_change_nothing():
    content = yaml.safe_load(SCHEMA)
    content["attributes"].reverse()
    content["columns"] = {"color": "Colour"}
    for attribute in content["attributes"]:
        attribute["values"].reverse()
        attribute.update(display_name="X", weight=2.0, threshold=0.25)
    assert plan("", yaml.safe_dump(content)).summary() == "values: 11 kept"


@pytest.mark.parametrize(
    ("key", "content", "message"),
    [
        ("attributes", {}, "the new attribute neckline has no source"),
        ("added", ["color=black", "neckline=halter"], "the new attribute pocket has no source"),
        ("added", ["pocket", "color=black"], "the new value neckline=halter has no source"),
        ("removed", [], "m.yaml: the old value color=green has no target"),
    ],
)
def test_an_incomplete_mapping_raises(key, content, message):
    edits = {key: content}
    if key == "attributes":
        values = yaml.safe_load(MAPPING)["values"]
        del values["neckline"]
        edits.update(values=values, added=["pocket", "color=black"])
    assert message in refused(edited(MAPPING, **edits))


def test_the_error_names_the_first_problem_and_counts_the_others():
    found = refused(edited(MAPPING, added=["pocket"], removed=[]))
    assert found.startswith("m.yaml: the new value color=black has no source; name its old")
    assert found.endswith(" (and 2 more)")


def test_a_listed_value_does_not_also_come_from_the_old_value_of_its_name():
    found = refused("values: {closure: {zip: [button, drawstring]}}", schema_with_closure("zip"))
    assert "the old value closure=zip has no target" in found


def schema_with_closure(*values: str) -> str:
    return schema_with("closure", values=list(values), values_by_category=None)


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        (
            {"attributes": {"neckline": "neck_typ"}},
            "'neck_typ' is not an attribute of the old schema;",
        ),
        ({"attributes": {"neklin": "neck_type"}}, "did you mean 'neckline'?"),
        (
            {"values": {"colour": {}}},
            "values: 'colour' is not an attribute of the new schema; did you",
        ),
        ({"values": {"color": {"dark rde": ["red"]}}}, "did you mean 'dark red'?"),
        (
            {"values": {"color": {"dark red": ["rad"]}}},
            "values.color.dark red: 'rad' is not a value of color in the old schema; did you mean",
        ),
        (
            {"added": ["poket"]},
            "added: 'poket' is not an attribute of the new schema; did you mean",
        ),
        (
            {"added": ["color=blakc"]},
            "'blakc' is not a value of color in the new schema; did you",
        ),
        (
            {"removed": ["color=gren"]},
            "'gren' is not a value of color in the old schema; did you",
        ),
        (
            {"changed": ["colour"]},
            "changed: 'colour' is not an attribute of the new schema; did",
        ),
    ],
)
def test_an_unknown_name_raises_with_the_nearest_name(edits, message):
    assert message in refused(edited(MAPPING, **edits))


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"removed": ["color=green", "color=red"]}, "color=red is removed, but color=dark red of"),
        ({"removed": ["color=green", "color=blue"]}, "color=blue is removed, but color=blue of"),
        ({"removed": ["color=green", "neck_type"]}, "neck_type is removed, but neckline of the"),
        ({"added": ["pocket", "color=dark red"]}, "color=dark red is added, but values maps it"),
        ({"added": ["pocket", "neckline"]}, "neckline is added, but attributes maps it from n"),
        ({"values": {"pocket": {"patch": ["red"]}}}, "pocket comes from no old attribute, but val"),
        ({"changed": ["pocket"]}, "pocket comes from no old attribute, but changed names it"),
        ({"values": {"color": {"black": []}}, "added": []}, "color=black is mapped from nothing"),
        (
            {"values": {"color": {"black": ["red", "red"]}}, "added": []},
            "is mapped from 'red' twice",
        ),
    ],
)
def test_a_contradictory_mapping_raises(edits, message):
    assert message in refused(edited(MAPPING, **edits))


def test_a_removed_name_can_be_reused_for_a_new_attribute():
    new = schema_with_closure("zip", "button", "drawstring")
    found = plan("{removed: [closure], added: [closure]}", new)
    assert "closure" not in found.sources
    assert "closure: added; 3 added, 3 removed" in found.summary()


@pytest.mark.parametrize(
    ("new", "attribute", "message"),
    [
        (schema_with("color", exclusive=True), "color", "exclusive was false and is true"),
        (schema_with("color", unlisted="missing"), "color", "unlisted was absent and is missing"),
        (
            schema_with("neck_type", applies_to=None),
            "neck_type",
            "'v-neck' did not apply to 'jeans' and does now",
        ),
        (
            schema_with("closure", values_by_category={"jeans": ["zip"]}),
            "closure",
            "'button' did apply to 'jeans' and does not now",
        ),
        (
            schema_with("neck_type", synonyms=None),
            "neck_type",
            "the synonym 'v neck' of 'v-neck' was removed",
        ),
        (
            schema_with("neck_type", synonyms={"v neck": "no neck"}),
            "neck_type",
            "'v neck' was read as 'v-neck' and is read as 'no neck'",
        ),
        (
            schema_with("color", synonyms={"crimson": "red"}),
            "color",
            "the synonym 'crimson' of 'red' is new",
        ),
    ],
    ids=lambda text: "" if "\n" in text else text,  # not the whole schema
)
def test_a_changed_meaning_must_be_listed(new, attribute, message):
    assert f"m.yaml: {attribute}: {message}" in refused("", new)
    assert list(plan(f"changed: [{attribute}]", new).changed_meanings) == [attribute]


def test_swapped_values_change_the_meaning_of_their_names():
    swapped = "values: {color: {red: [green], green: [red]}}"
    assert "'red' was read as 'red' and is read as 'green'" not in refused(swapped, SCHEMA)
    assert "color: 'red' was read as 'red' and is read as 'red'" in refused(swapped, SCHEMA)


def test_another_category_attribute_changes_all_attributes_that_depend_on_it():
    new = """
name: shop
category: kind
attributes:
  - {name: kind, values: [a, b]}
  - {name: category, values: [shirt, jeans]}
  - name: neck_type
    applies_to: [a]
    values: [v-neck, round neck, no neck]
    synonyms: {v neck: v-neck}
  - {name: color, exclusive: false, values: [red, green, blue]}
  - {name: closure, values: [button, zip, drawstring]}
"""
    found = refused("added: [kind]", new)
    assert "neck_type: the category is another attribute" in found and "(and 1 more)" in found
    plan("{added: [kind], changed: [neck_type, closure]}", new)


def test_an_attribute_can_be_split_into_two():
    new = schema_with("closure", values=["zip", "button"], values_by_category=None)
    content = yaml.safe_load(new)
    content["attributes"].append({"name": "waist", "values": ["drawstring"]})
    found = plan(
        "{attributes: {waist: closure}, changed: [closure, waist]}", yaml.safe_dump(content)
    )
    assert [source.new.name for source in found.targets["closure"]] == ["closure", "waist"]
    assert "waist: was closure; 1 kept" in found.summary()


def test_an_unknown_key_of_the_mapping_file_raises(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text("remove: [fit]", encoding="utf-8")
    with pytest.raises(InputError, match="m.yaml: remove: unknown key; did you mean 'removed'"):
        Mapping.read(path)


def test_two_attributes_can_be_merged():
    assert plan(JOINED, TOGETHER, APART).summary() == (
        "values: 5 kept, 1 renamed, 2 merged, 1 removed\n"
        "  neck: was shirt_neck and dress_neck; 1 kept, 1 renamed, 1 merged, 1 removed\n"
        "  pattern: was print and motif; 2 kept, 1 merged"
    )


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"attributes": {"neck": ["shirt_neck"], "pattern": ["print", "motif"]}}, "halter"),
        ({"values": {"neck": {"crew": ["dress_neck=round neck"]}}}, "'dress_neck=round neck' is n"),
        ({"values": {"neck": {"crew": ["round nek"]}}}, "value of shirt_neck or dress_neck in the"),
        ({"values": {"neck": {"crew": ["round neck", "shirt_neck=round neck"]}}}, "twice"),
        ({"values": {"neck": {"v-neck": ["shirt_neck=v-neck"]}}}, "neck=crew has no source"),
        ({"removed": []}, "the old value dress_neck=strapless has no target"),
        ({"removed": ["dress_neck=v-neck"]}, "dress_neck=v-neck is removed, but neck=v-neck"),
        ({"removed": ["dress_neck"]}, "dress_neck is removed, but neck of the new schema comes"),
        ({"attributes": {"neck": ["shirt_neck", "shirt_neck"], "pattern": []}}, "shirt_neck twice"),
        ({"attributes": {"neck": ["shirt_neck", "dress_nek"]}}, "did you mean 'dress_neck'?"),
    ],
)
def test_an_incomplete_merge_of_attributes_raises(edits, message):
    assert message in refused(edited(JOINED, **edits), TOGETHER, APART)


def test_a_merged_value_that_applies_to_more_categories_changes_its_meaning():
    new = TOGETHER.replace("dress: [v-neck, halter]", "dress: [v-neck, halter, crew]")
    assert "neck: 'crew' did not apply to 'dress' and does now" in refused(JOINED, new, APART)
    assert plan(f"{JOINED}changed: [neck]", new, APART).changed_meanings.keys() == {"neck"}


def test_a_value_may_contain_an_equals_sign():
    old = APART.replace("[v-neck, round neck]", "[v-neck, dress_neck=halter]")
    new = TOGETHER.replace("v-neck, crew, halter]", "v-neck, crew, halter, odd]")
    new = new.replace("shirt: [v-neck, crew]", "shirt: [v-neck, odd]")
    new = new.replace("dress: [v-neck, halter]", "dress: [v-neck, crew, halter]")
    values = {"odd": ["shirt_neck=dress_neck=halter"], "crew": ["dress_neck=strapless"]}
    edits = {"values": {"neck": values}, "removed": []}
    found = plan(edited(JOINED, **edits), new, old)
    shirt, dress = found.sources["neck"]
    assert (shirt.old_values["odd"], dress.old_values["odd"]) == (["dress_neck=halter"], [])
    assert (shirt.old_values["halter"], dress.old_values["halter"]) == ([], ["halter"])
