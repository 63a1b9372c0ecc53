"""Tests of `records/builder.py`: shards, manifest and reject lists of a table."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from attr_extractor import labels
from attr_extractor.catalogue import photos
from attr_extractor.errors import InputError
from attr_extractor.records import builder, plan, runner
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from tests.conftest import Shop, draw_photo, shop_rows, write_table
from tests.records.by_hand import (
    InProcess,
    build,
    contents,
    labels_of,
    products_of,
    read_csv,
    read_split,
    read_tfrecord,
    row,
    small_shop,
)

SPLITS = ("train", "validation", "test")
OPTIONS = plan.BuildOptions(image_size=64, shards=3, split_fractions=(0.6, 0.2, 0.2))  # of `built`


@pytest.fixture(scope="module")
def flawed(tmp_path_factory: pytest.TempPathFactory, schema: Schema) -> Path:
    """Records of a table with one flaw per row, all in one training shard."""
    folder = tmp_path_factory.mktemp("flawed")
    for i in range(12):
        draw_photo(folder / f"{i}.jpg", "shirt", ["red"], "v-neck", size=40 + i)
    (folder / "text.jpg").write_text("no photo")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes((folder / "1.jpg").read_bytes()[:900])
    rows = [
        row("good", "0.jpg"),
        row("two photos", "1.jpg|2.jpg", color="red|blue"),
        row("one of three broken", "3.jpg| text.jpg|4.jpg"),
        row("all broken", "empty.jpg|cut.jpg"),
        row("no file", "no.jpg"),
        row("outside", "../x.jpg"),
        row("no image", ""),
        row("", "5.jpg"),
        row("good", "6.jpg"),
        row("unknown value", "7.jpg", color="rad"),
        row("does not apply", "8.jpg", category="jeans"),
        row("not allowed", "9.jpg", category="jeans", neck_type="", closure="drawstring"),
        row("two categories", "10.jpg", category="jeans|shirt"),
        row("all broken with an issue", "empty.jpg", color="rad"),
        row('größe, "quoted"\nid', "11.jpg", color="NA"),
    ]
    return build(folder, rows, schema, split_fractions=(1, 0, 0))


# What is left out


def test_rows_read_equal_rows_written_plus_rows_rejected(flawed: Path):
    manifest = json.loads((flawed / "manifest.json").read_text(encoding="utf-8"))
    written = {example["product_id"] for example in read_split(flawed, "train")}
    assert manifest["rows"] == {"read": 15, "written": 8, "already there": 0, "rejected": 7}
    assert len(written) == 8
    assert manifest["photos"] == {"written": 10, "rejected": 6}
    left_out = {reject["row"] for reject in read_csv(flawed / "rejects.csv")}
    assert left_out == {"3", "4", "5", "6", "7", "8", "9", "14"}  # of row 3 one photo alone


def test_every_reject_has_a_reason(flawed: Path):
    found = [tuple(reject.values()) for reject in read_csv(flawed / "rejects.csv")]
    assert found == [
        ("3", "one of three broken", "text.jpg", photos.NOT_AN_IMAGE),
        ("4", "all broken", "cut.jpg", photos.TRUNCATED),
        ("4", "all broken", "empty.jpg", "image file is empty"),
        ("5", "no file", "no.jpg", "image not found"),
        ("6", "outside", "../x.jpg", "image path leaves the image root"),
        ("7", "no image", "", "no image named"),
        ("8", "", "5.jpg", "no product_id"),
        ("9", "good", "6.jpg", "product_id stands twice; only its first row counts"),
        ("14", "all broken with an issue", "empty.jpg", "image file is empty"),
    ]


def test_unusable_cells_of_usable_rows_are_listed(flawed: Path):
    found = [tuple(issue.values()) for issue in read_csv(flawed / "label_issues.csv")]
    assert found == [
        ("10", "unknown value", "color", "rad", "unknown value", "red"),
        ("11", "does not apply", "neck_type", "v-neck", "does not apply", ""),
        ("12", "not allowed", "closure", "drawstring", "value not allowed for the category", ""),
        ("13", "two categories", "category", "jeans|shirt", "two categories", ""),
        ("14", "all broken with an issue", "color", "rad", "unknown value", "red"),
    ]
    manifest = Manifest.read(flawed)
    assert manifest.label_issues == Counter(issue[4] for issue in found)


def test_a_table_without_usable_rows_is_bad_input_and_writes_no_manifest(
    tmp_path: Path, schema: Schema
):
    with pytest.raises(InputError, match=r"no row could be used; see .*rejects.csv"):
        build(tmp_path, [row("a", "no.jpg"), row("", "b.jpg")], schema)
    assert len(read_csv(tmp_path / "records" / "rejects.csv")) == 2
    with pytest.raises(InputError, match="its build did not finish"):
        Manifest.read(tmp_path / "records")


# What is written


def test_every_photo_of_a_product_is_an_example_with_its_index(flawed: Path):
    examples = read_split(flawed, "train")
    found = [(e["product_id"].decode(), e["image/index"]) for e in examples]
    assert Counter(product for product, _ in found)["two photos"] == 2
    assert [k for product, k in found if product == "two photos"] == [0, 1]
    assert [k for product, k in found if product == "one of three broken"] == [0, 2]
    two = [example for example in examples if example["product_id"] == b"two photos"]
    assert (
        two[0]["labels"] == two[1]["labels"] and two[0]["image/encoded"] != two[1]["image/encoded"]
    )
    assert 'größe, "quoted"\nid' in {product for product, _ in found}


def test_all_photos_of_a_product_are_in_one_shard(built: Shop):
    where: dict[bytes, set[Path]] = {}
    twice = 0
    for path in built.records.glob("*.tfrecord"):
        for example in read_tfrecord(path):
            where.setdefault(example["product_id"], set()).add(path)
            twice += example["image/index"] == 1
    assert twice == 12 and {len(paths) for paths in where.values()} == {1}


def test_an_example_contains_the_stored_photo_and_the_labels_of_its_row(
    built: Shop, schema: Schema
):
    rows = {cells["product_id"]: cells for cells in read_csv(built.catalogue)}
    examples = [example for split in SPLITS for example in read_split(built.records, split)]
    assert len(examples) == 132 and {e["product_id"].decode() for e in examples} == set(rows)
    for example in examples:
        cells = rows[example["product_id"].decode()]
        raw = built.path / cells["image"].split("|")[example["image/index"]]
        photo = photos.store(raw.read_bytes(), 64)
        assert example["image/encoded"] == photo.encoded
        sizes = {"image/height": photo.height, "image/width": photo.width}
        assert sizes.items() <= example.items() and photo.width == 64
        expected, _ = labels.encode(schema, cells)
        assert example["labels"] == expected.tobytes()


def test_the_manifest_counts_the_contents_of_the_shards(built: Shop, schema: Schema):
    manifest = json.loads((built.records / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["fingerprint"] == schema.fingerprint
    for name in SPLITS:
        split, examples = manifest["splits"][name], read_split(built.records, name)
        assert split["photos"] == len(examples) > 10
        assert split["products"] == len({example["product_id"] for example in examples})
        for shard in split["shards"]:
            path = built.records / shard["name"]
            assert shard["bytes"] == path.stat().st_size
            assert shard["records"] == len(read_tfrecord(path))
        codes = labels_of(examples)
        for attribute, where in schema.slices.items():
            counts, part = split["labels"][attribute], codes[:, where]
            assert list(counts["present"]) == schema[attribute].values
            assert list(counts["present"].values()) == (part == 1).sum(0).tolist()
            answered, missing = (part == 1).any(1), (part == -1).all(1)
            assert counts["answered"] == answered.sum() and counts["missing"] == missing.sum()
            assert counts["not_applicable"] == (~answered & ~missing).sum()
    neck, color = (manifest["splits"]["train"]["labels"][name] for name in ("neck_type", "color"))
    assert min(neck["not_applicable"], neck["answered"], color["missing"]) > 5


@pytest.mark.slow
def test_builds_are_identical_for_any_number_of_processes(
    built: Shop, schema: Schema, tmp_path: Path
):
    again = tmp_path / "again"
    with runner.Local(num_workers=2) as local:
        builder.build(built.catalogue, schema, again, built.path, OPTIONS, local)
    files = contents(built.records)
    assert contents(again) == files
    assert sum(name.endswith(".tfrecord") for name in files) == 5


def test_a_records_folder_contains_shards_indexes_lists_and_the_manifest(built: Shop):
    names = set(contents(built.records))
    shards = {name for name in names if name.endswith(".tfrecord")}
    assert names - shards == {
        *(f"index/{name[: -len('.tfrecord')]}.parquet" for name in shards),
        *("manifest.json", "rejects.csv", "label_issues.csv", "near_duplicates.csv", "report.html"),
    }


def test_every_format_of_a_table_gives_the_same_records(tmp_path: Path, schema: Schema):
    rows = small_shop(tmp_path, 8)
    rows[3] |= {"product_id": 'ü, "x"\ty', "color": "red|rad"}
    write_table(tmp_path / "t.csv", rows)
    table = pd.DataFrame(rows)
    table.to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    table.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    found = []
    for kind in ("csv", "tsv", "parquet", "jsonl"):
        builder.build(tmp_path / f"t.{kind}", schema, tmp_path / kind, runner=InProcess())
        found.append(contents(tmp_path / kind))
    assert sum(len(read_split(tmp_path / "csv", name)) for name in SPLITS) == 10
    assert found[0] == found[1] == found[2] == found[3]


def test_a_photo_shared_by_two_products_is_written_for_both(tmp_path: Path, schema: Schema):
    rows = [*small_shop(tmp_path, 2), row("other", "1_0.jpg", color="blue")]
    records = build(tmp_path, rows, schema, split_fractions=(1, 0, 0))
    examples = {e["product_id"]: e for e in read_split(records, "train")}
    one, other = examples[b"p1"], examples[b"other"]
    assert one["image/encoded"] == other["image/encoded"] and one["labels"] != other["labels"]


# Options


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, schema: Schema) -> tuple[Path, list[dict]]:
    """Records without a cap of 60 products, and their rows."""
    folder = tmp_path_factory.mktemp("whole")
    rows = [cells | {"brand": f"b{i // 4}"} for i, cells in enumerate(shop_rows(folder, 60))]
    for cells, subset in zip(rows, ["train", "validation", "test", "train"] * 15):
        cells["subset"] = subset
    (folder / "images" / "001_0.jpg").write_bytes((folder / "images" / "000_1.jpg").read_bytes())
    return build(folder, rows, schema), rows


def rebuild(whole: tuple[Path, list[dict]], folder: Path, schema: Schema, **options) -> Path:
    builder.build(
        whole[0].parent / "catalogue.csv",
        schema,
        folder / "records",
        options=plan.BuildOptions(image_size=64, **options),
        runner=InProcess(),
    )
    return folder / "records"


def test_the_cap_applies_to_the_training_split_only_and_lists_its_rejects(
    whole, tmp_path, schema: Schema
):
    capped = rebuild(whole, tmp_path, schema, cap_per_category=9)
    before, after = products_of(whole[0]), products_of(capped)
    assert (after["validation"], after["test"]) == (before["validation"], before["test"])
    kinds = {cells["product_id"]: cells["category"] for cells in whole[1]}
    assert Counter(kinds[product] for product in after["train"]) == {"shirt": 9, "jeans": 9}
    rejects = read_csv(capped / "rejects.csv")
    assert {reject["product_id"] for reject in rejects} == before["train"] - after["train"] != set()
    assert {r["reason"] for r in rejects} == {"beyond the cap of 9 training products per category"}
    manifest = Manifest.read(capped)
    assert manifest.build["cap_per_category"] == 9
    assert manifest.rows["written"] + manifest.rows["rejected"] == manifest.rows["read"] == 60


def test_a_group_and_a_shared_photo_stay_in_one_split(whole, tmp_path, schema: Schema):
    assert len([True for products in products_of(whole[0]).values() if "p000" in products]) == 1
    assert any({"p000", "p001"} <= products for products in products_of(whole[0]).values())
    options = {"group_column": "brand", "split_fractions": (0.4, 0.3, 0.3)}
    grouped = products_of(rebuild(whole, tmp_path, schema, **options))
    brands = {cells["product_id"]: cells["brand"] for cells in whole[1]}
    seen = Counter(b for products in grouped.values() for b in {brands[p] for p in products})
    assert len(seen) == 15 and set(seen.values()) == {1} and all(grouped.values())


def test_the_split_column_applies_except_to_shared_photos(whole, tmp_path, schema: Schema):
    found = products_of(rebuild(whole, tmp_path, schema, split_column="subset"))
    expected: dict[str, set[str]] = {name: set() for name in SPLITS}
    for cells in whole[1]:
        expected[cells["subset"]].add(cells["product_id"])
    expected["train"].remove("p000")  # shares a photo with p001 of validation
    expected["validation"].add("p000")
    assert found == expected
