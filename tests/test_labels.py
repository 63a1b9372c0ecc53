"""Tests of labels.py: the four states of a label, against an independent reading of DESIGN.md."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import yaml

from attr_extractor import labels
from attr_extractor.labels import Issue
from attr_extractor.schema import Schema

# Every option that decides a label, in one small schema.
TEXT = """
name: wardrobe
category: kind
missing_values: [NA, "-"]
attributes:
  - name: kind
    values: [shirt, jeans, sari]
    synonyms: {denims: jeans}
  - name: neck
    applies_to: [shirt]
    values: [V-Neck, round]
    synonyms: {vee: V-Neck}
  - name: color
    exclusive: false
    values: [red, green, blue]
  - name: occasion
    exclusive: false
    unlisted: missing
    applies_to: [shirt, sari]
    values: [party, work, sport]
    values_by_category: {sari: [party, work]}
  - name: closure
    values: [button, zip, elastic]
    values_by_category: {jeans: [button, zip]}
"""
CONTENT = yaml.safe_load(TEXT)


@pytest.fixture(scope="module")
def wardrobe() -> Schema:
    return Schema.parse(TEXT, "test")


def independent_encoding(cells: dict[str, str]) -> tuple[list[int], list[tuple[str, str]]]:
    """DESIGN.md, "The four states of a label", sentence by sentence, on plain words."""

    def words(cell: str) -> list[str]:
        parts = [" ".join(part.lower().split()) for part in cell.split("|")]
        return [part for part in parts if part not in ("", "na", "-")]

    def known(attribute: dict, word: str) -> str | None:
        for value in attribute["values"]:
            if word == value.lower():
                return value
        return attribute.get("synonyms", {}).get(word)

    def judge(attribute: dict) -> tuple[set[str], str]:
        """The values that a cell lists, and why it cannot be used."""
        listed = [known(attribute, word) for word in words(cells.get(attribute["name"], ""))]
        if None in listed:
            return set(), "unknown value"
        values = set(listed)
        if attribute["name"] == "kind":
            return values, "two categories" if len(values) > 1 else ""
        if category and category not in attribute.get("applies_to", [category]):
            return values, "does not apply"
        allowed = attribute.get("values_by_category", {}).get(category)
        if category and allowed is not None and not values <= set(allowed):
            return values, "value not allowed for the category"
        if attribute.get("exclusive", True) and len(values) > 1:
            return values, "several values of an exclusive attribute"
        return values, ""

    category = None
    kinds, why = judge(CONTENT["attributes"][0])
    if len(kinds) == 1 and not why:
        (category,) = kinds

    result, issues = [], []
    for attribute in CONTENT["attributes"]:
        filled = bool(words(cells.get(attribute["name"], "")))
        applies = not category or category in attribute.get("applies_to", [category])
        values, why = judge(attribute) if filled else (set(), "")
        if why:
            issues.append((attribute["name"], why))
        for value in attribute["values"]:
            if why:
                result.append(-1)
            elif not filled:
                result.append(-1 if applies else 0)
            elif value in values:
                result.append(1)
            else:
                result.append(-1 if attribute.get("unlisted") == "missing" else 0)
    return result, issues


def random_cells(draw: random.Random) -> dict[str, str]:
    cells = {}
    for attribute in CONTENT["attributes"]:
        choices = [*attribute["values"], *attribute.get("synonyms", {})] * 3
        choices += ["", " ", "NA", "na", "-", "plaid"]
        parts = [draw.choice(choices) for _ in range(draw.choice([0, 1, 1, 1, 1, 2, 3]))]
        parts = [draw.choice([part, part.upper(), f" {part} "]) for part in parts]
        if parts or draw.random() < 0.5:  # otherwise the row lacks the column
            cells[attribute["name"]] = "|".join(parts)
    return cells


def test_random_rows_equal_an_independent_encoding(wardrobe: Schema):
    draw = random.Random(0)
    seen: Counter[str] = Counter()
    for _ in range(4000):
        cells = random_cells(draw)
        codes, issues = labels.encode(wardrobe, cells)
        expected, reasons = independent_encoding(cells)
        assert codes.tolist() == expected, cells
        assert [(issue.attribute, issue.kind) for issue in issues] == reasons, cells
        seen.update(kind for _, kind in reasons)
    assert set(seen) == set(labels.Kind.__args__) and min(seen.values()) > 50


def encode(schema: Schema, **cells: str) -> tuple[dict[str, list[int]], list[Issue]]:
    """Labels by attribute."""
    codes, issues = labels.encode(schema, cells)
    assert codes.dtype == np.int8 and codes.shape == (14,)
    return {name: codes[where].tolist() for name, where in schema.slices.items()}, issues


def test_the_four_states_of_one_product(wardrobe: Schema):
    found, issues = encode(wardrobe, kind="Denims", color="red|BLUE", neck="", closure="NA")
    assert found == {
        "kind": [0, 1, 0],  # present, absent
        "neck": [0, 0],  # not applicable
        "color": [1, 0, 1],
        "occasion": [0, 0, 0],  # not applicable, whatever `unlisted` says
        "closure": [-1, -1, -1],  # missing
    }
    assert issues == []


def test_without_a_category_filled_cells_are_used_and_empty_cells_are_missing(wardrobe: Schema):
    found, issues = encode(wardrobe, neck="round", closure="elastic")
    assert found["neck"] == [0, 1] and found["closure"] == [0, 0, 1]
    assert found["kind"] == found["color"] == [-1, -1, -1]
    assert issues == []


def test_unlisted_missing_masks_the_unlisted_values(wardrobe: Schema):
    found, _ = encode(wardrobe, kind="shirt", occasion="work", color="green")
    assert found["occasion"] == [-1, 1, -1]
    assert found["color"] == [0, 1, 0]


@pytest.mark.parametrize(
    ("cells", "attribute", "issue"),
    [
        ({"kind": "jeans", "neck": "vee"}, "neck", Issue("neck", "vee", "does not apply")),
        (
            {"kind": "shirt", "neck": "vee|round"},
            "neck",
            Issue("neck", "vee|round", "several values of an exclusive attribute"),
        ),
        (
            {"kind": "jeans", "closure": "elastic"},
            "closure",
            Issue("closure", "elastic", "value not allowed for the category"),
        ),
        (
            {"kind": "shirt", "color": "red| grean"},
            "color",
            Issue("color", "grean", "unknown value", "green"),
        ),
        (
            {"kind": "shirt", "neck": "V-NEKC"},
            "neck",
            Issue("neck", "V-NEKC", "unknown value", "V-Neck"),
        ),
        ({"kind": "shirt", "color": "xyz"}, "color", Issue("color", "xyz", "unknown value", "")),
    ],
)
def test_a_contradiction_masks_only_its_attribute(wardrobe: Schema, cells, attribute, issue):
    found, issues = encode(wardrobe, **cells)
    rest = {name: cell for name, cell in cells.items() if name != attribute}
    expected, none = encode(wardrobe, **rest)
    expected[attribute] = [-1] * len(found[attribute])
    assert found == expected
    assert issues == [issue] and none == []


@pytest.mark.parametrize(
    ("cell", "kind"),
    [("shirt|jeans", "two categories"), ("shrit", "unknown value")],
)
def test_a_contradictory_category_is_missing(wardrobe: Schema, cell, kind):
    cells = {"neck": "round", "closure": "elastic", "color": ""}
    found, issues = encode(wardrobe, kind=cell, **cells)
    expected, _ = encode(wardrobe, **cells)
    assert found == expected
    assert [issue.kind for issue in issues] == [kind]


def test_two_spellings_of_one_category_are_not_contradictory(wardrobe: Schema):
    found, issues = encode(wardrobe, kind="jeans|Denims|NA")
    assert found["kind"] == [0, 1, 0] and issues == []


def test_decode_inverts_encode(wardrobe: Schema):
    cells = {"kind": "denims", "color": " Blue |RED", "occasion": "", "closure": "NA"}
    codes, _ = labels.encode(wardrobe, cells)
    assert labels.decode(wardrobe, codes) == {
        "kind": ["jeans"],
        "neck": [],  # known to have none
        "color": ["red", "blue"],
        "occasion": [],
        "closure": None,  # missing
    }


def test_encoding_decoded_labels_changes_nothing(wardrobe: Schema):
    draw = random.Random(2)
    for _ in range(1000):
        codes, issues = labels.encode(wardrobe, random_cells(draw))
        decoded = labels.decode(wardrobe, codes)
        if issues or decoded["kind"] is None:
            continue  # a cell that was not used cannot come back
        again, none = labels.encode(wardrobe, {k: "|".join(v or []) for k, v in decoded.items()})
        assert again.tolist() == codes.tolist() and none == []


# Runs of a table


@pytest.mark.parametrize("rows", [1, 7, 500])
def test_chunks_of_rows_equal_an_independent_encoding(wardrobe: Schema, rows: int):
    draw = random.Random(rows)
    table = [random_cells(draw) for _ in range(500)]
    encoder = labels.Encoder(wardrobe)
    kinds = CONTENT["attributes"][0]["values"]
    for start in range(0, len(table), rows):  # one encoder for all, as it remembers cells
        part = table[start : start + rows]
        names = set().union(*part)
        columns = {name: [cells.get(name, "") for cells in part] for name in names}
        found = encoder.encode(columns, len(part))
        expected = [independent_encoding(cells) for cells in part]
        assert (found.labels.dtype, found.category.dtype) == (np.int8, np.int64)
        assert found.labels.tolist() == [codes for codes, _ in expected]
        assert [(row, i.attribute, i.kind) for row, i in found.issues] == [
            (row, *issue) for row, (_, issues) in enumerate(expected) for issue in issues
        ]
        alone = [labels.encode(wardrobe, cells)[1] for cells in part]
        assert found.issues == [(row, i) for row, issues in enumerate(alone) for i in issues]
        known = [labels.decode(wardrobe, np.array(codes, np.int8))["kind"] for codes, _ in expected]
        assert found.category.tolist() == [kinds.index(k[0]) if k else -1 for k in known]


def test_a_chunk_without_rows_is_empty(wardrobe: Schema):
    found = labels.Encoder(wardrobe).encode({"kind": []}, 0)
    assert (found.labels.shape, found.category.shape, found.issues) == ((0, 14), (0,), [])


def test_labels_of_one_chunk_do_not_share_memory_with_the_next(wardrobe: Schema):
    encoder = labels.Encoder(wardrobe)
    first = encoder.encode({"color": ["red"] * 3}, 3).labels
    expected = first.copy()
    first[:] = 9
    assert (encoder.encode({"color": ["red"] * 3}, 3).labels == expected).all()


def test_states_count_each_attribute_once(wardrobe: Schema):
    draw = random.Random(3)
    codes = np.array([labels.encode(wardrobe, random_cells(draw))[0] for _ in range(300)])
    found = labels.states(codes, wardrobe.sizes)
    assert (found.dtype, found.shape) == (bool, (300, 5, 3)) and (found.sum(2) == 1).all()
    for row, states in zip(codes, found):
        for part, (answered, not_applicable, missing) in zip(
            labels.decode(wardrobe, row).values(), states
        ):
            assert answered == bool(part) and missing == (part is None)
            assert not_applicable == (part == [])
