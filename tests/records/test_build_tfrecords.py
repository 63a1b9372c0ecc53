"""Tests of `tools/build_tfrecords.py` as a program: builds, and one line for bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from attr_extractor import labels
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from tests.conftest import ROOT, Shop, draw_photo, require_bad_input, run_tool, write_table
from tests.records.by_hand import contents, read_csv, read_split

COLUMNS = ["product_id", "image", "category", "neck_type", "color", "closure"]
ROWS = [
    ["a", "a.jpg", "shirt", "v-neck", "rad", "zip"],
    ["b", "b.jpg", "jeans", "", "blue", "zip"],
    ["a", "b.jpg", "shirt", "", "red", "zip"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    for name in "ab":
        draw_photo(folder / f"{name}.jpg", "shirt", ["red"], "v-neck", size=70 + ord(name))
    rows = [dict(zip(COLUMNS, row)) for row in ROWS]
    write_table(folder / "good.csv", rows)
    write_table(
        folder / "renamed.csv", [{k.replace("neck_", "nek_"): r[k] for k in r} for r in rows]
    )
    (folder / "good.xlsx").write_bytes(b"PK")
    (folder / "junk.csv").write_bytes(bytes(range(256)) * 20)
    (folder / "latin.csv").write_bytes(",".join(COLUMNS).encode() + b"\na,a.jpg,gr\xf6\xdfe,,,\n")
    (folder / "full").mkdir()
    (folder / "full" / "keep.txt").write_text("mine")
    return folder


# name: (changed flags, words of the error)
CASES = {
    "missing file": ({"catalogue": "no.csv"}, ["no.csv", "does not exist"]),
    "binary junk": ({"catalogue": "junk.csv"}, ["junk.csv", "cannot be read as a table"]),
    "not UTF-8": ({"catalogue": "latin.csv"}, ["latin.csv", "cannot be read", "utf-8"]),
    "missing column": ({"catalogue": "renamed.csv"}, ["'neck_type' is missing", "'nek_type'"]),
    "full folder": (
        {"output_dir": "full"},
        ["full: the output folder contains 'keep.txt'", "use a new folder"],
    ),
    "fractions": (
        {"split_fractions": "0.8,0.3,0.1"},
        ["--split_fractions 0.8,0.3,0.1", "sum to 1"],
    ),
    "no such ending": (
        {"catalogue": "good.xlsx"},
        ["good.xlsx", "'.xlsx' is not a supported table format"],
    ),
    "web address": ({"catalogue": "http://x.org/t.csv"}, ["nothing is fetched over http"]),
    "output in the web": ({"output_dir": "https://x.org/r"}, ["nothing is fetched over https"]),
    "box columns": ({"box_columns": "x,y"}, ["--box_columns x,y", "name four columns"]),
    "group column": ({"group_column": "colour"}, ["no column 'colour'; did you mean 'color'"]),
    "output is a file": ({"output_dir": "good.csv"}, ["good.csv", "folder"]),
    "nothing to relabel": ({"relabel": "true"}, ["not a folder of records"]),
    "no workers": ({"num_workers": "0"}, ["num_workers"]),
    "unknown flag": ({"catalouge": "x"}, ["catalouge", "--help"]),
    "image root": ({"image_root": "nowhere"}, ["nowhere", "image root"]),
}


# Every case runs as the program that it is, in a process forked after TensorFlow is imported:
# none of them comes so far as to use it, and importing it takes longer than the rest together.
FORKED = """
import json, os, runpy, sys, traceback
import attr_extractor.records.builder
for name, arguments in json.loads(sys.argv[2]).items():
    if not os.fork():
        for fd in (1, 2):
            os.dup2(os.open(f"{name}.{fd}", os.O_WRONLY | os.O_CREAT), fd)
        sys.argv = [sys.argv[1], *arguments]
        code = 0
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as error:
            code = error.code
        except BaseException:
            code = traceback.print_exc() or 1
        sys.stdout.flush()
        os._exit(code)  # TensorFlow takes a second to say goodbye
    code = os.waitstatus_to_exitcode(os.wait()[1])
    print(json.dumps([name, code]), flush=True)
"""


def arguments_of(folder: Path, shop: Shop, **changes: str) -> list[str]:
    flags = {"catalogue": "good.csv", "output_dir": "records", "num_workers": "1"} | changes
    paths = ("catalogue", "output_dir", "image_root")
    flags = {k: str(folder / v) if k in paths and "://" not in v else v for k, v in flags.items()}
    return [f"--schema={shop.schema_file}", *(f"--{k}={v}" for k, v in flags.items())]


@pytest.fixture(scope="module")
def results(folder: Path, shop: Shop, tmp_path_factory) -> dict[str, subprocess.CompletedProcess]:
    cases = {name: arguments_of(folder, shop, **changes) for name, (changes, _) in CASES.items()}
    tool = ROOT / "tools" / "build_tfrecords.py"
    where = tmp_path_factory.mktemp("forked")
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(tool), json.dumps(cases)],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    codes = dict(json.loads(line) for line in done.stdout.splitlines())
    return {
        name: subprocess.CompletedProcess(
            cases[name], code, *((where / f"{name}.{fd}").read_text() for fd in (1, 2))
        )
        for name, code in codes.items()
    }


@pytest.fixture(scope="module")
def good(folder: Path, shop: Shop) -> subprocess.CompletedProcess:
    return run_tool("build_tfrecords", *arguments_of(folder, shop))


@pytest.mark.parametrize("case", CASES)
def test_bad_input_exits_with_code_2_and_one_line(results, case: str):
    require_bad_input(results[case], *CASES[case][1])
    assert results[case].stdout == ""


def test_a_rejected_output_folder_is_unchanged(results, folder: Path):
    assert [path.name for path in (folder / "full").iterdir()] == ["keep.txt"]


def test_a_build_reports_the_outcome_of_every_row(good, folder: Path):
    assert good.returncode == 0, good.stderr
    assert "3 rows read = 2 written + 1 rejected" in good.stdout
    written = [
        e for name in ("train", "validation", "test") for e in read_split(folder / "records", name)
    ]
    assert sorted(example["product_id"] for example in written) == [b"a", b"b"]
    counts = {"read": 3, "written": 2, "already there": 0, "rejected": 1}
    assert Manifest.read(folder / "records").rows == counts


def test_a_duplicate_is_a_rejected_row_and_an_unknown_value_a_label_issue(good, folder: Path):
    (reject,) = read_csv(folder / "records" / "rejects.csv")
    assert (reject["row"], reject["product_id"]) == ("3", "a")
    assert reject["reason"] == "product_id stands twice; only its first row counts"
    (issue,) = read_csv(folder / "records" / "label_issues.csv")
    assert list(issue.values()) == ["1", "a", "color", "rad", "unknown value", "red"]


def test_rerunning_the_command_adds_nothing(good, folder: Path, shop: Shop):
    before = contents(folder / "records")
    result = run_tool("build_tfrecords", *arguments_of(folder, shop))
    assert result.returncode == 0, result.stderr
    assert "3 rows read = 0 written + 2 already there + 1 rejected" in result.stdout
    after = contents(folder / "records")
    changed = {name for name in before if after.pop(name) != before[name]}
    assert changed <= {"manifest.json", "report.html"} and not after


@pytest.mark.slow
def test_relabel_writes_the_labels_of_another_table(good, folder: Path, shop: Shop):
    rows = [dict(zip(COLUMNS, cells)) for cells in ROWS]
    rows[0]["color"] = "green"
    write_table(folder / "corrected.csv", rows)
    arguments = arguments_of(folder, shop, catalogue="corrected.csv", relabel="true")
    result = run_tool("build_tfrecords", *arguments)
    assert result.returncode == 0, result.stderr
    schema = Schema.read(shop.schema_file)
    for split in ("train", "validation", "test"):
        for example in read_split(folder / "records", split):
            cells = next(r for r in rows if r["product_id"].encode() == example["product_id"])
            assert example["labels"] == labels.encode(schema, cells)[0].tobytes()
    assert read_csv(folder / "records" / "label_issues.csv") == []
