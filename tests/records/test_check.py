"""Tests of `records/check.py` and its program: damaged records folders."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from attr_extractor import storage
from attr_extractor.errors import InputError
from attr_extractor.records import check
from attr_extractor.schema import Schema
from tests.conftest import Shop, require_bad_input, run_tool
from tests.records.by_hand import labels_of, read_split
from tests.records.spoiled import OTHER, SHARD, Copy

SHARDS = ["train-00000-of-00003.tfrecord", SHARD, OTHER, "validation-00000-of-00001.tfrecord"]
HELD_OUT = "test-00000-of-00001.tfrecord"
SHARDS.append(HELD_OUT)


@pytest.fixture
def copy(built: Shop, tmp_path: Path) -> Copy:
    return Copy(Path(shutil.copytree(built.records, tmp_path / "records")))


def test_intact_records_have_no_problem_and_are_counted(built: Shop, schema: Schema):
    report = check.check(built.records)
    assert report.problems == []
    *table, end = str(report).splitlines()
    assert end == "no problem"
    splits = {name: read_split(built.records, name) for name in ("train", "validation", "test")}
    splits["all"] = [example for examples in splits.values() for example in examples]
    cells = {row[0]: row[1:] for row in (re.split(r"  +", line.strip()) for line in table[1:])}
    assert table[0].split() == list(splits)
    assert cells["shards"] == ["3", "1", "1", "5"]
    assert cells["photos"] == [str(len(examples)) for examples in splits.values()]
    products = [str(len({e["product_id"] for e in examples})) for examples in splits.values()]
    assert cells["products"] == products
    for name, where in schema.slices.items():
        for text, examples in zip(cells[f"{name} known"], splits.values()):
            known = (labels_of(examples)[:, where] != -1).all(axis=1)
            assert text == f"{known.sum()} ({100 * known.mean():.1f} %)"


def test_records_of_another_schema_than_the_manifest(copy: Copy, schema: Schema):
    other = Schema.parse(schema.to_yaml().replace("v-neck", "vee"), "other")
    copy.edit(lambda m: m.update(schema_yaml=other.to_yaml(), fingerprint=other.fingerprint))
    assert copy.found() == [
        f"{name}: its index was made with another schema (fingerprint {schema.fingerprint}) than "
        f"manifest.json (fingerprint {other.fingerprint})"
        for name in SHARDS
    ]


def test_a_fingerprint_that_differs_from_the_schema(copy: Copy, schema: Schema):
    copy.edit(lambda m: m.update(fingerprint="0" * 16))
    text = "its fingerprint is 0000000000000000, but the fingerprint of its schema is"
    assert copy.found() == [f"manifest.json: {text} {schema.fingerprint}"]


# name: (what is added to a number of the manifest, what is said)
COUNTS = {
    "records": (
        lambda m: m["splits"]["train"]["shards"][1].update(records=1),
        [rf"{SHARD}: records: manifest.json says 1, found \d\d"],
    ),
    "photos": (
        lambda m: m["splits"]["train"].update(photos=7),
        [
            r"manifest.json: records: the split train says 7, found \d+",
            r"manifest.json: photos written: the manifest says 132, found \d+",
        ],
    ),
    "products": (
        lambda m: m["splits"]["test"].update(products=7),
        [r"manifest.json: products: the split test says 7, found \d+"],
    ),
    "present": (
        lambda m: m["splits"]["test"]["labels"]["color"]["present"].update(red=77),
        [r"manifest.json: color=red: the split test says 77, found \d+"],
    ),
    "an unknown value": (
        lambda m: m["splits"]["test"]["labels"]["color"]["present"].update(rad=1),
        [r"manifest.json: color=rad: the split test says 1, found 0"],
    ),
    "missing": (
        lambda m: m["splits"]["validation"]["labels"]["closure"].update(missing=3),
        [r"manifest.json: closure missing: the split validation says 3, found 0"],
    ),
    "rows": (
        lambda m: m["rows"].update(read=121),
        [r"manifest.json: rows read: the manifest says 121, found 120"],
    ),
    "near duplicates": (
        lambda m: m["near_duplicates"].update(test=500),
        [r"manifest.json: near duplicates of test: the manifest says 500, found \d+"],
    ),
}


@pytest.mark.parametrize("name", COUNTS)
def test_wrong_counts_in_the_manifest(copy: Copy, name: str):
    change, expected = COUNTS[name]
    copy.edit(change)
    found = copy.found()
    assert len(found) == len(expected)
    for line, pattern in zip(found, expected):
        assert re.match(pattern, line), line


def test_a_wrong_shard_size_in_the_manifest(copy: Copy):
    size = copy.path().stat().st_size
    copy.edit(lambda m: m["splits"]["train"]["shards"][1].update(bytes=1))
    assert [str(problems) for problems in check.check(copy.folder).problems][1:] == [
        f"{SHARD}: bytes: manifest.json says 1, found {size}"
    ]


def test_a_shard_listed_under_another_split_or_twice(copy: Copy):
    def move(manifest: dict) -> None:
        splits = manifest["splits"]
        splits["validation"]["shards"].append(splits["train"]["shards"][1])

    copy.edit(move)
    found = copy.found()
    assert f"{SHARD}: manifest.json lists it under validation" in found
    assert found[0] == f"manifest.json: it lists {SHARD} 2 times"


def test_files_that_the_manifest_does_not_list(copy: Copy):
    for name in ("train-00003-of-00004.tfrecord", "manifest.json.tmp", "index/old.parquet"):
        (copy.folder / name).touch()
    (copy.folder / "notes.txt").touch()
    (copy.folder / "work").mkdir()
    assert copy.found() == [
        "manifest.json.tmp: not listed in manifest.json",
        "train-00003-of-00004.tfrecord: not listed in manifest.json",
        "work: an unfinished build; rerun the build command to resume it",
        "index/old.parquet: not listed in manifest.json",
    ]


@pytest.mark.parametrize(
    ("column", "what"),
    [("digest", "byte-identical photos"), ("group", "photos of one group")],
)
def test_a_leak_between_splits_names_both_records(copy: Copy, column: str, what: str):
    rows: dict[str, list[dict]] = {}
    for shard in SHARDS:
        copy.edit_index(shard, lambda found, shard=shard: rows.update({shard: found}))
    times = Counter(row[column] for found in rows.values() for row in found)
    i, j = (  # that share nothing with other records so far
        next(i for i, row in enumerate(rows[shard]) if i and times[row[column]] == 1)
        for shard in (SHARD, HELD_OUT)
    )
    copy.edit_index(HELD_OUT, lambda found: found[j].update({column: rows[SHARD][i][column]}))
    places = {
        f"record {i} of {SHARD} (product {rows[SHARD][i]['product_id']!r})",
        f"record {j} of {HELD_OUT} (product {rows[HELD_OUT][j]['product_id']!r})",
    }
    (line,) = copy.found()
    text = re.fullmatch(rf"two records: (.*) and (.*) are {what} in two splits", line)
    assert set(text.groups()) == places


def test_a_photo_that_occurs_twice_in_a_split(copy: Copy):
    double = {}
    copy.edit_index(SHARD, lambda rows: double.update(rows[3]))
    copy.edit_index(OTHER, lambda rows: rows.__setitem__(4, double))
    line = copy.found()[-1]
    assert line.startswith("two records: record 3 of " + SHARD) and f"record 4 of {OTHER}" in line
    assert line.endswith("are the same photo of the same product")


def test_records_in_a_bucket_are_checked(copy: Copy):
    expected = copy.found()
    copy.flip(100)
    remote = "memory://check/records"
    for path in (p for p in copy.folder.rglob("*") if p.is_file()):
        storage.write(f"{remote}/{path.relative_to(copy.folder)}", path.read_bytes())
    assert str(check.check(remote)) == str(check.check(copy.folder))
    assert len(copy.found()) == 1 + len(expected)


def test_a_folder_without_finished_records_is_bad_input(copy: Copy, tmp_path: Path):
    with pytest.raises(InputError, match=r"nowhere: no manifest.json found"):
        check.check(tmp_path / "nowhere")
    (copy.folder / "work").mkdir()
    copy.manifest.rename(copy.folder / "work" / "manifest.json")
    with pytest.raises(InputError, match="a --relabel was interrupted here; run it again first"):
        check.check(copy.folder)


def test_the_program_exits_with_1_if_a_record_is_damaged(copy: Copy):
    expected = copy.at(4) + "the checksum of its data is wrong"
    copy.flip(copy.offset(4) + 99)
    result = run_tool("check_records", f"--records={copy.folder}", "--num_workers=1")
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout.splitlines()[0] == expected
    assert result.stdout.splitlines()[-1] == "1 problem"


@pytest.mark.slow
def test_the_program_exits_with_0_for_intact_records_and_2_without_records(
    built: Shop, tmp_path: Path
):
    result = run_tool("check_records", f"--records={built.records}", "--num_workers=2")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{check.check(built.records)}\n"  # in one process, not in two
    result = run_tool("check_records", f"--records={tmp_path}")
    require_bad_input(result, str(tmp_path), "no manifest.json found")
