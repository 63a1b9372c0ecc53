"""Tests of `records/manifest.py`: only complete builds of the right schema are read."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attr_extractor.errors import InputError
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from tests.conftest import Shop
from tests.records.by_hand import labels_of, read_split


@pytest.fixture
def records(built: Shop, tmp_path: Path) -> Path:
    """A copy of the records, to be spoiled."""
    return Path(shutil.copytree(built.records, tmp_path / "records"))


def edit(records: Path, change: Callable[[dict], object]) -> None:
    path = records / "manifest.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def a_shard(records: Path) -> Path:
    return sorted(records.glob("train-*.tfrecord"))[1]


def refused(records: Path, *words: str, schema: Schema | None = None) -> None:
    with pytest.raises(InputError) as caught:
        Manifest.read(records, schema)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_finished_build_is_read_with_its_schema(built: Shop, schema: Schema):
    manifest = Manifest.read(built.records, schema)
    assert manifest.schema == schema
    assert manifest.image_policy == {"short_side": 64, "jpeg_quality": 92}
    assert manifest.build["split_fractions"] == [0.6, 0.2, 0.2]
    again = built.records / "manifest.json"
    assert json.loads(again.read_text(encoding="utf-8")) == manifest.model_dump(mode="json")


def test_a_missing_shard_is_named(records: Path):
    a_shard(records).unlink()
    refused(records, a_shard(records).name.replace("00002", "00001"), "the shard is missing")


@pytest.mark.parametrize("change", [-1, 1])
def test_a_shard_of_another_size_is_named_with_both_sizes(records: Path, change: int):
    path = a_shard(records)
    data = path.read_bytes()
    path.write_bytes(data[:-1] if change < 0 else data + b"x")
    refused(records, path.name, f"{len(data) + change:,} bytes", f"{len(data):,}", "build the rec")


def test_an_unfinished_build_is_rejected(records: Path):
    (records / "manifest.json").rename(records / "manifest.json.tmp")
    refused(records, str(records), "its build did not finish")


def test_a_missing_folder_is_rejected(tmp_path: Path):
    refused(tmp_path / "no", str(tmp_path / "no"), "not a folder of records")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "not a JSON file"),
        (b"", "not a JSON file"),
        (b"\xff\xfe", "not a JSON file"),
        (b"[1]", "a mapping of keys is required"),
        (b"{}", "this key is required"),
    ],
)
def test_an_invalid_manifest_gives_one_line(records: Path, text: bytes, words: str):
    (records / "manifest.json").write_bytes(text)
    refused(records, "manifest.json", words)


def test_a_deeply_nested_manifest_gives_one_line(records: Path):
    (records / "manifest.json").write_text("[" * 100_000 + "]" * 100_000)
    refused(records, "manifest.json", "nested too deeply")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["splits"]["train"].update(photos=1_000_000), "has 1,000,000 photos"),
        (lambda m: m["splits"]["train"].update(photos=-1), "greater than or equal to 0"),
        (lambda m: m["splits"]["train"].update(photos=10**30), "splits.train.photos"),
        (lambda m: m["splits"]["train"]["labels"].clear(), "attributes other than the schema's"),
        (
            lambda m: m["splits"]["test"]["labels"]["color"]["present"].clear(),
            "values of color other",
        ),
        (lambda m: m["splits"]["test"]["labels"]["color"].update(missing=9999), "another sum"),
        (lambda m: m["splits"].pop("validation"), "its splits are ['train', 'test']"),
        (lambda m: m["splits"].update(extra=m["splits"]["test"]), "its splits are"),
        (lambda m: m["image_policy"].pop("short_side"), "image_policy: short_side: this key"),
        (lambda m: m["image_policy"].update(short_side="256"), "image_policy: short_side"),
        (lambda m: m["build"].update(shards=[]), "build: shards: input should be"),
        (lambda m: m.update(schema_yaml="!!bool maybe"), "'maybe' is not a valid bool"),
        (
            lambda m: m["splits"]["test"]["shards"][0].update(name="../../etc/passwd.tfrecord"),
            "splits.test.shards.0.name",
        ),
    ],
)
def test_an_incomplete_manifest_gives_one_line(records: Path, change: Callable, words: str):
    edit(records, change)
    refused(records, "manifest.json", words)


def test_a_manifest_with_an_unknown_key_names_the_key(records: Path):
    edit(records, lambda content: content["splits"]["train"].update(photoss=3))
    refused(records, "splits.train.photoss: unknown key", "did you mean 'photos'?")


def test_records_of_another_schema_are_rejected_with_both_fingerprints(built: Shop, schema: Schema):
    other = Schema.parse(schema.to_yaml().replace("v-neck", "vee"), "other")
    refused(built.records, "another schema", schema.fingerprint, other.fingerprint, schema=other)


def test_a_schema_with_the_same_fingerprint_is_accepted(built: Shop, schema: Schema):
    other = Schema.parse(schema.to_yaml().replace("name: shop", "name: renamed"), "other")
    assert other != schema
    assert Manifest.read(built.records, other).schema == schema


def test_a_manifest_with_an_edited_schema_is_rejected(records: Path):
    def edit_schema(content: dict) -> None:
        content["schema_yaml"] = content["schema_yaml"].replace("v-neck", "vee")

    edit(records, edit_schema)
    refused(records, "manifest.json", "another schema")


def test_an_unknown_split_is_reported_with_the_existing_ones(records: Path):
    manifest = Manifest.read(records)
    with pytest.raises(
        InputError, match=r"'vaildation'; did you mean 'validation'\?; the splits are"
    ):
        manifest.split("vaildation")

    def take_all(content: dict) -> None:
        test = content["splits"]["test"]
        test.update(shards=[], photos=0)
        for counts in test["labels"].values():
            counts.update(answered=0, not_applicable=0, missing=0)

    edit(records, take_all)
    with pytest.raises(InputError, match="the split 'test' of the records is empty"):
        Manifest.read(records).split("test")


def test_counts_match_the_parsed_labels(built: Shop, schema: Schema):
    manifest = Manifest.read(built.records)
    codes = labels_of(read_split(built.records, "train"))
    assert manifest.present("train").tolist() == (codes == 1).sum(0).tolist()
    shares = (codes == 1).sum(0) / (codes != -1).sum(0)
    np.testing.assert_allclose(manifest.frequencies("train"), shares)
    assert manifest.present("train").dtype == np.int64 and len(set(shares)) > 1
    for name, where in schema.slices.items():
        most = schema[name].values[np.argmax((codes[:, where] == 1).sum(0))]
        assert manifest.most_frequent("train")[name] == most


def test_the_digest_depends_only_on_the_contents_of_the_shards(records: Path):
    digest = Manifest.read(records).digest
    edit(records, lambda content: content.update(rows={}, additions=3, near_duplicates={"test": 1}))
    assert Manifest.read(records).digest == digest
    edit(records, lambda content: content["splits"]["test"]["shards"][0].update(records=99))
    assert Manifest.load(records).digest != digest
    assert re.fullmatch("[0-9a-f]{16}", digest)


def test_the_summary_reports_existing_rows_and_unused_cells(built: Shop):
    manifest = Manifest.read(built.records).model_copy(
        update={
            "rows": {"read": 1200, "written": 5, "already there": 1190, "rejected": 5},
            "label_issues": {"unknown value": 1001, "two categories": 2},
        }
    )
    first, _, third, *_ = manifest.summary("here").splitlines()
    assert first == "1,200 rows read = 5 written + 1,190 already there + 5 rejected"
    assert third == "1,003 cells not used: 1,001 unknown value, 2 two categories"


def test_the_summary_reports_the_sum_of_rows(built: Shop):
    first, second, *rest = Manifest.read(built.records).summary("here").splitlines()
    assert first == "120 rows read = 120 written + 0 rejected"
    assert second == "132 photos written, 0 rejected"
    for name, line in zip(("train", "validation", "test"), rest):
        examples = read_split(built.records, name)
        products = len({example["product_id"] for example in examples})
        assert line.startswith(f"  {name}: {products} products, {len(examples)} photos, ")
