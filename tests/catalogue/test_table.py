"""Tests of catalogue/table.py: cells as text, column names, chunks."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import pandas as pd
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


def test_cells_are_read_as_text_without_type_inference(tmp_path: Path):
    cells = ["007", "1e5", "NA", "null", "nan", "True", "", " x ", "1,5", "größe", "2024-01-02"]
    header = ",".join(f"c{i}" for i in range(len(cells)))
    line = ",".join(f'"{cell}"' for cell in cells)
    assert rows(write(tmp_path, f"{header}\n{line}\n")) == [
        {f"c{i}": cell for i, cell in enumerate(cells)}
    ]


def test_quoted_cells_may_contain_commas_quotes_and_newlines(tmp_path: Path):
    assert rows(write(tmp_path, 'a,b\n"x, ""y""\nz",2\n')) == [{"a": 'x, "y"\nz', "b": "2"}]


def test_tsv_is_separated_by_tabs(tmp_path: Path):
    assert rows(write(tmp_path, "a\tb\n1,5\t2\n", "t.TSV")) == [{"a": "1,5", "b": "2"}]


def test_a_byte_order_mark_crlf_and_spaces_in_the_header_are_accepted(tmp_path: Path):
    assert rows(write(tmp_path, "\ufeffa, b \r\n1,2\r\n")) == [{"a": "1", "b": "2"}]


def test_a_short_row_is_padded_with_empty_cells(tmp_path: Path):
    assert rows(write(tmp_path, "a,b,c\n1,2,3\n4\n")) == [
        {"a": "1", "b": "2", "c": "3"},
        {"a": "4", "b": "", "c": ""},
    ]


def test_a_spreadsheets_empty_columns_are_left_out(tmp_path: Path):
    path = write(tmp_path, "a,,b,, \n1,,2,,\n3, ,4\n")
    assert rows(path) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_a_missing_table_or_a_folder_raises_with_its_path(tmp_path: Path):
    with pytest.raises(InputError, match="no.csv: the catalogue does not exist"):
        table.read_columns(tmp_path / "no.csv")
    with pytest.raises(InputError, match="is a folder"):
        table.read_columns(tmp_path)


def test_renamed_columns_are_returned_under_the_schemas_names(tmp_path: Path, renaming: Schema):
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
def test_a_missing_column_raises_with_the_nearest_name(tmp_path, schema: Schema, missing):
    path = write(tmp_path, HEADER.replace(missing, f"{missing[:-1]}x") + "\n1,2,3,4,5,6\n")
    words = f"the column '{missing}' is missing; did you mean '{missing[:-1]}x'"
    with pytest.raises(InputError, match=words):
        table.read_catalogue(path, schema)


def test_a_table_to_be_filled_may_lack_attribute_columns(tmp_path: Path, schema: Schema):
    path = write(tmp_path, "product_id,image\np1,1.jpg\n")
    assert list(table.read_catalogue(path, schema, require_all=False)) == ["product_id", "image"]
    path = write(tmp_path, "product_id,color\np1,red\n")
    with pytest.raises(InputError, match="the column 'image' is missing"):
        table.read_catalogue(path, schema, require_all=False)


def test_a_column_that_conflicts_with_a_renamed_one_raises(tmp_path: Path, renaming: Schema):
    path = write(tmp_path, "SKU,image,category,neck_type,Farbe,closure,color\n1,2,3,4,5,6,7\n")
    with pytest.raises(InputError, match="the column 'color' conflicts with 'Farbe'"):
        table.read_catalogue(path, renaming)


def test_an_image_cell_lists_paths_separated_by_bars():
    assert table.image_paths(" a.jpg|b c.png |") == ["a.jpg", "b c.png"]
    assert table.image_paths(" | ") == []


def test_a_stray_quote_raises_instead_of_joining_rows(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text('product_id,image,color\na,a.jpg,"red\nb,b.jpg,red\nc,c.jpg,"blue"\n')
    with pytest.raises(InputError, match=r"t.csv, line \d: the catalogue cannot be read"):
        table.read_columns(path)


# Chunks


def big(folder: Path, suffix: str, count: int) -> Path:
    """A table of `count` rows, written by pandas."""
    frame = pd.DataFrame(
        {
            "product_id": [f"sku-{i:06d}" for i in range(count)],
            "image": [f"images/{i}.jpg" for i in range(count)],
            "title": [f"{'a very fine garment ' * (i % 3)} number {i}" for i in range(count)],
            "color": [("red", "", "red|blue")[i % 3] for i in range(count)],
        }
    )
    path = folder / f"big{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path, row_group_size=500)
    elif suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="," if suffix == ".csv" else "\t")
    return path


FORMATS = [".csv", ".tsv", ".jsonl", ".parquet"]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("size", [1, 7, 20, 21, 999])
def test_chunks_of_any_size_have_the_same_rows_numbered_from_1(tmp_path: Path, suffix, size):
    path = big(tmp_path, suffix, 20)
    parts = list(table.chunks(path, rows=size))
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert 0 < len(parts[-1]) <= size
    joined = pd.concat(parts)
    assert joined.index.tolist() == list(range(1, 21))
    assert joined["product_id"].tolist() == [f"sku-{i:06d}" for i in range(20)]
    assert {type(cell) for cell in joined.to_numpy().ravel()} == {str}
    pd.testing.assert_frame_equal(joined, table.read_columns(path))


def test_blank_lines_are_not_numbered(tmp_path: Path):
    path = write(tmp_path, 'a\n\n"x\ny"\n\n\nz\n')
    assert table.read_columns(path)["a"].to_dict() == {1: "x\ny", 2: "z"}


def test_chunks_with_a_schema_are_renamed_and_checked(tmp_path: Path, renaming: Schema):
    header = "SKU,image,category,neck_type,Farbe,closure,,brand"  # one name may be empty
    path = write(tmp_path, f"{header}\n" + "1,2,3,4,5,6,,7\n" * 3)
    names = ["product_id", "image", "category", "neck_type", "color", "closure", "", "brand"]
    assert [list(part) for part in table.chunks(path, renaming, rows=2)] == [names, names]
    path = write(tmp_path, "SKU,image\n1,2\n")
    assert list(next(table.chunks(path, renaming, require_all=False))) == ["product_id", "image"]
    with pytest.raises(InputError, match="the column 'category' is missing"):
        next(table.chunks(path, renaming))


class Counted(io.FileIO):
    """A file that counts the bytes read from it."""

    bytes_read = 0

    def readinto(self, buffer) -> int:
        count = super().readinto(buffer)
        self.bytes_read += count
        return count

    def read(self, size: int = -1) -> bytes:
        data = super().read(size)
        self.bytes_read += len(data)
        return data


@pytest.fixture
def opened(monkeypatch) -> list[Counted]:
    """Return a list that collects every file that `chunks` opens."""
    files: list[Counted] = []

    def open_read(path: Path) -> Counted:
        files.append(Counted(path))
        return files[-1]

    monkeypatch.setattr(table.storage, "open_read", open_read)
    return files


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])  # JSON Lines: for its keys first
def test_chunks_are_read_lazily_and_the_file_is_closed(tmp_path: Path, suffix, opened):
    path = big(tmp_path, suffix, 20_000)
    size, parts = path.stat().st_size, table.chunks(path, rows=100)
    assert not opened
    next(parts)
    assert 0 < opened[0].bytes_read < size / 3 and not opened[0].closed
    assert sum(len(part) for part in parts) == 19_900
    assert opened[0].bytes_read >= size * 0.9 and opened[0].closed


@pytest.mark.parametrize("suffix", FORMATS)
def test_at_most_one_chunk_is_in_memory(tmp_path: Path, suffix):
    path = big(tmp_path, suffix, 5000)
    peaks = []
    for size in (100, 5000):
        tracemalloc.start()
        for part in table.chunks(path, rows=size):
            del part
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < peaks[1] / 4


def test_a_table_in_a_bucket_is_read_like_one_on_a_disk(tmp_path: Path, monkeypatch):
    path = big(tmp_path, ".parquet", 20)
    content = path.read_bytes()
    monkeypatch.setattr(table.storage, "open_read", lambda _path: io.BytesIO(content))
    remote = table.read_columns("gs://shop/big.PARQUET")
    pd.testing.assert_frame_equal(remote, table.read_columns(path))


@pytest.mark.parametrize("most", [0, 5, 1000])
def test_equal_cells_of_a_column_share_one_string(tmp_path: Path, monkeypatch, most: int):
    path = big(tmp_path, ".csv", 300)
    chunked = pd.concat(table.chunks(path, rows=50))
    monkeypatch.setattr(table, "MOST_SHARED", most)
    whole = table._whole(table.chunks(path, rows=50))
    pd.testing.assert_frame_equal(whole, chunked)
    assert chunked["color"].map(id).nunique() > 100
    assert whole["color"].map(id).nunique() == 3 or most == 0
