"""Tests of catalogue/boxes.py: four cells of a row -> the box of each of its photos."""

from __future__ import annotations

import pytest

from attr_extractor.catalogue import boxes, photos
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema


def of_photos(cells: list[str], count: int) -> list[photos.Box | None | str]:
    """Return the box of each photo, None without a box, or the reason of its error."""
    found: list[photos.Box | None | str] = []
    for of_photo in boxes.of_photos(boxes.join(cells), count):
        try:
            found.append(photos.parse_box(of_photo))
        except photos.PhotoError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize("named", ["a", "a,b,c", "a,b,c,d,e"])
def test_product_boxes_require_four_columns(named: str, schema: Schema):
    with pytest.raises(InputError, match=f"--box_columns {named}: name four columns"):
        boxes.columns(named.split(","), list("abcde"), schema, "table.csv")


def test_columns_are_given_by_their_names_in_the_table(schema: Schema):
    renamed = Schema.parse(schema.to_yaml() + "columns: {color: Farbe}\n", "renamed")
    table = ["color", "x", "y", "z"]  # as it was read
    assert boxes.columns(["x", "Farbe", "y", "z"], table, renamed, "t.csv") == ["x", "color", *"yz"]
    assert boxes.columns([], table, renamed, "t.csv") == []
    with pytest.raises(InputError, match=r"t\.csv: .*'xx'; did you mean 'x'"):
        boxes.columns(["x", "xx", "y", "z"], table, renamed, "t.csv")


def test_one_photo_has_the_box_of_its_row():
    assert of_photos(["1", " 2.5 ", "30", "4e1"], 1) == [photos.Box(1, 2.5, 30, 40)]


def test_each_photo_gets_its_own_numbers():
    assert of_photos(["1|2|3", "4|5|6", "7|8|9", "10|11|12"], 3) == [
        photos.Box(1, 4, 7, 10),
        photos.Box(2, 5, 8, 11),
        photos.Box(3, 6, 9, 12),
    ]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("empty", ["", "  "])
def test_four_empty_cells_are_not_a_box(count: int, empty: str):
    assert boxes.join([empty, "", "", ""]) == ""
    assert of_photos([empty, "", "", ""], count) == [None] * count


def test_a_photo_without_numbers_is_not_cropped():
    assert of_photos(["1|", "2|", "3| ", "4|"], 2) == [photos.Box(1, 2, 3, 4), None]


@pytest.mark.parametrize(
    "cells, count",
    [
        (["1", "2", "3", "4"], 2),  # whose photo's?
        (["1|2", "1|2", "3|4", "3|4"], 1),
        (["1|2", "1|2", "3|4", "3|4"], 3),
        (["1|2", "1|2", "3|4", "3"], 2),
        (["1", "2", "3", ""], 1),
        (["a", "2", "3", "4"], 1),
        (["3", "2", "1", "4"], 1),
        (["1|", "2|", "3|", "4|5"], 2),
    ],
    ids=str,
)
def test_invalid_numbers_or_a_wrong_count_are_malformed_boxes(cells, count: int):
    found = of_photos(cells, count)
    assert len(found) == count and photos.BOX_MALFORMED in found
    for box in found:  # a box of the rest may stand, a guessed one never
        assert box == photos.BOX_MALFORMED or (cells[3] == "4|5" and box == photos.Box(1, 2, 3, 4))
