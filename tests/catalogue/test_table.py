"""Claims about `catalogue/table.py`: every cell a string, and nothing guessed about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from attr_extractor.catalogue import table
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema

HEADER = "product_id,image,category,neck_type,color,closure"


@pytest.fixture
def renaming(schema: Schema) -> Schema:
    text = schema.to_yaml() + "columns: {color: Farbe, product_id: SKU}\n"
    return Schema.parse(text, "test")


def write(folder: Path, content: str | bytes, name: str = "catalogue.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(path: Path) -> list[dict[str, str]]:
    return table.cells_of(table.read_columns(path))


def test_nothing_is_guessed_about_a_cell(tmp_path: Path):
    cells = ["007", "1e5", "NA", "null", "nan", "True", "", " x ", "1,5", "größe", "2024-01-02"]
    header = ",".join(f"c{i}" for i in range(len(cells)))
    line = ",".join(f'"{cell}"' for cell in cells)
    assert rows(write(tmp_path, f"{header}\n{line}\n")) == [
        {f"c{i}": cell for i, cell in enumerate(cells)}
    ]


def test_quotes_hold_commas_quotes_and_newlines(tmp_path: Path):
    assert rows(write(tmp_path, 'a,b\n"x, ""y""\nz",2\n')) == [{"a": 'x, "y"\nz', "b": "2"}]


def test_tsv_is_parted_by_tabs(tmp_path: Path):
    assert rows(write(tmp_path, "a\tb\n1,5\t2\n", "t.TSV")) == [{"a": "1,5", "b": "2"}]


def test_a_byte_order_mark_crlf_and_spaces_in_the_header_do_no_harm(tmp_path: Path):
    assert rows(write(tmp_path, "\ufeffa, b \r\n1,2\r\n")) == [{"a": "1", "b": "2"}]


def test_a_short_row_ends_in_empty_cells(tmp_path: Path):
    assert rows(write(tmp_path, "a,b,c\n1,2,3\n4\n")) == [
        {"a": "1", "b": "2", "c": "3"},
        {"a": "4", "b": "", "c": ""},
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("a,b\n", "has a header and no rows"),
        ("a,b,a \n1,2,3\n", "the column 'a' stands twice"),
        ("a,b\n1,2,3\n", "cannot be read as a table"),
        ('a,b\n"1,2\n', "cannot be read as a table"),
        ("größe,b\n1,2\n".encode("latin-1"), "cannot be read as a table"),
        ("a,b\n1,2\n".encode("utf-16"), "cannot be read as a table"),
        (bytes(range(256)) * 4, "cannot be read as a table"),
    ],
)
def test_what_is_no_table_is_one_line_naming_the_file(tmp_path: Path, content, words):
    path = write(tmp_path, content)
    with pytest.raises(InputError) as caught:
        table.read_columns(path)
    assert str(caught.value).startswith((f"{path}: ", f"{path}, line ")) and words in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path):
    with pytest.raises(InputError, match="no.csv: the catalogue does not exist"):
        table.read_columns(tmp_path / "no.csv")
    with pytest.raises(InputError, match="is a folder"):
        table.read_columns(tmp_path)


def test_renamed_columns_come_back_under_the_schemas_names(tmp_path: Path, renaming: Schema):
    header = "SKU,image,category,neck_type,Farbe,closure,brand"
    path = write(tmp_path, f"{header}\np1,1.jpg,shirt,NA,red,zip,acme\n")
    (row,) = table.cells_of(table.read_catalogue(path, renaming))
    assert row == {
        "product_id": "p1",
        "image": "1.jpg",
        "category": "shirt",
        "neck_type": "NA",
        "color": "red",
        "closure": "zip",
        "brand": "acme",
    }


@pytest.mark.parametrize("missing", ["product_id", "image", "neck_type"])
def test_a_missing_column_is_named_with_the_nearest_one(tmp_path, schema: Schema, missing):
    path = write(tmp_path, HEADER.replace(missing, f"{missing[:-1]}x") + "\n1,2,3,4,5,6\n")
    words = f"the column '{missing}' is missing; did you mean '{missing[:-1]}x'"
    with pytest.raises(InputError, match=words):
        table.read_catalogue(path, schema)


def test_a_table_to_be_filled_needs_no_attribute_column(tmp_path: Path, schema: Schema):
    path = write(tmp_path, "product_id,image\np1,1.jpg\n")
    assert list(table.read_catalogue(path, schema, require_all=False)) == ["product_id", "image"]
    path = write(tmp_path, "product_id,color\np1,red\n")
    with pytest.raises(InputError, match="the column 'image' is missing"):
        table.read_catalogue(path, schema, require_all=False)


def test_a_column_in_the_way_of_a_renamed_one_is_refused(tmp_path: Path, renaming: Schema):
    path = write(tmp_path, "SKU,image,category,neck_type,Farbe,closure,color\n1,2,3,4,5,6,7\n")
    with pytest.raises(InputError, match="the column 'color' is in the way.*'Farbe'"):
        table.read_catalogue(path, renaming)


def test_an_image_cell_lists_paths_parted_by_bars():
    assert table.image_paths(" a.jpg|b c.png |") == ["a.jpg", "b c.png"]
    assert table.image_paths(" | ") == []


def test_a_stray_quote_swallows_no_rows(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text('product_id,image,color\na,a.jpg,"red\nb,b.jpg,red\nc,c.jpg,"blue"\n')
    with pytest.raises(InputError, match=r"t.csv, line \d: the catalogue cannot be read"):
        table.read_columns(path)
