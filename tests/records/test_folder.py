"""Tests of `records/folder.py`: which folders a build writes into, and which files it keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from attr_extractor.errors import InputError
from attr_extractor.schema import Schema
from tests.records.by_hand import InProcess, build, contents, small_shop

OPTIONS = {"shards": 2, "split_fractions": (0.5, 0.25, 0.25)}


class NoRunner(InProcess):
    """Must not be called."""

    def run(self, work, tasks, name):
        raise AssertionError(name)


@pytest.fixture
def made(tmp_path: Path, schema: Schema) -> tuple[list[dict[str, str]], Path]:
    """Rows and their finished records."""
    rows = small_shop(tmp_path, 10)
    return rows, build(tmp_path, rows, schema, **OPTIONS)


@pytest.mark.parametrize(
    "foreign", ["keep.txt", "catalogue.parquet", "train.tfrecord", "index.parquet", "images/a.jpg"]
)
def test_a_folder_with_other_files_is_rejected_and_unchanged(
    tmp_path: Path, schema: Schema, foreign: str
):
    path = tmp_path / "records" / foreign
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(InputError, match=f"contains '{foreign.split('/')[0]}', which no build"):
        build(tmp_path, small_shop(tmp_path, 3), schema)
    assert contents(tmp_path / "records") == {foreign: b"mine"}


def test_an_output_folder_that_is_a_file_is_bad_input(tmp_path: Path, schema: Schema):
    (tmp_path / "records").write_text("mine")
    with pytest.raises(InputError, match="records"):
        build(tmp_path, small_shop(tmp_path, 3), schema)
    assert (tmp_path / "records").read_text() == "mine"


@pytest.mark.parametrize("foreign", ["mine.parquet", "mine.tfrecord"])
def test_other_files_in_a_records_folder_survive_an_addition(
    tmp_path: Path, schema: Schema, foreign: str
):
    rows = small_shop(tmp_path, 6)
    records = build(tmp_path, rows[:4], schema)
    (records / foreign).write_text("mine")
    build(tmp_path, rows, schema)
    assert (records / foreign).read_text() == "mine"


@pytest.mark.parametrize(
    "change", [{"image_size": 32}, {"split_seed": 3}, {"shards": 9}, {"group_column": "color"}]
)
def test_an_addition_with_other_options_is_rejected(tmp_path: Path, schema: Schema, made, change):
    rows, records = made
    before, ((name, value),) = contents(records), change.items()
    with pytest.raises(InputError, match=f"built with --{name} .*, not {value}: ") as caught:
        build(tmp_path, rows, schema, NoRunner(), **{**OPTIONS, **change})
    assert "\n" not in str(caught.value)
    assert contents(records) == before and not (records / "work").exists()


def test_an_addition_with_another_schema_is_rejected_and_suggests_relabel(
    tmp_path: Path, schema: Schema, made
):
    rows, records = made
    before = contents(records)
    other = Schema.parse(schema.to_yaml().replace("drawstring", "elastic"), "other")
    with pytest.raises(InputError, match=f"{other.fingerprint}.*--relabel"):
        build(tmp_path, rows, other, NoRunner(), **OPTIONS)
    assert contents(records) == before
