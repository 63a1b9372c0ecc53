"""Tests of text.py: the rows that are written, and their measured precision."""

from __future__ import annotations

import pandas as pd
import pytest

from attr_extractor.errors import InputError
from attr_extractor.schema import Schema
from attr_extractor.sources import text
from tests.conftest import SCHEMA, require_bad_input, run_tool, write_table

BLANK = dict.fromkeys(("category", "neck_type", "color", "closure", "note"), "")


@pytest.fixture
def catalogue(tmp_path):
    """Titles with right, wrong, new and impossible values."""
    rows = [
        {"title": "red shirt with a zip", "category": "shirt", "color": "red", "closure": "zip"},
        {"title": "red or blue shirt", "category": "shirt", "color": "green|blue"},
        {"title": "Red Zip Jeans", "category": "jeans", "color": "red", "closure": "button"},
        {"title": "red v neck jeans", "category": "jeans", "color": "", "note": "green"},
        {"title": "red drawstring jeans", "category": "jeans", "color": "pink"},
        {"title": "buttons and zips", "category": "shirt"},
        {"title": "v-neck"},
        {"title": "zip", "product_id": " "},
    ]
    keys = ({"product_id": f"p{i}", "image": "a.jpg"} for i in range(len(rows)))
    filled = [{**key, **BLANK, **row} for key, row in zip(keys, rows)]
    return write_table(tmp_path / "t.csv", filled)


def mine(catalogue, schema, name: str = "text.csv", **more) -> tuple[text.Precision, pd.DataFrame]:
    output = catalogue.with_name(name)
    more = {"columns": ["title"], **more}
    precision = text.mine_text(catalogue, schema, output, **more)
    read = pd.read_csv if output.suffix == ".csv" else pd.read_parquet
    return precision, read(output)


def test_rows_are_the_values_that_titles_name_where_they_apply(schema, catalogue):
    precision, source = mine(catalogue, schema)
    assert source.columns.tolist() == ["product_id", "attribute", "value", "confidence", "source"]
    assert source[["product_id", "attribute", "value"]].agg("=".join, axis=1).tolist() == [
        "p0=category=shirt",
        "p0=color=red",
        "p0=closure=zip",
        "p1=category=shirt",
        "p1=color=red",
        "p1=color=blue",
        "p2=category=jeans",
        "p2=color=red",
        "p2=closure=zip",
        "p3=category=jeans",  # jeans have no neck
        "p3=color=red",
        "p4=category=jeans",  # and no drawstring
        "p4=color=red",
        "p6=neck_type=v-neck",  # p5 names two exclusive values, and the last row has no id
    ]
    assert set(source["source"]) == {"text"}
    assert (precision.rows, precision.without_id) == (7, 1)
    assert precision.dropped.sum(axis=0).tolist() == [2, 1]


def test_confidence_is_the_precision_on_filled_cells_shrunk_to_that_of_the_attribute(
    schema, catalogue
):
    precision, source = mine(catalogue, schema)
    # right of judged: category 5 of 5; red 2 of 3, blue 1 of 1; zip 1 of 2; v-neck 0 of 0
    overall = (5 + 3 + 1 + 1) / (5 + 4 + 2 + 2)
    color, closure, neck = (
        (right + 5 * overall) / (judged + 5) for right, judged in ((3, 4), (1, 2), (0, 0))
    )
    expected = {
        "red": (2 + 5 * color) / (3 + 5),
        "blue": (1 + 5 * color) / (1 + 5),
        "zip": (1 + 5 * closure) / (2 + 5),
        "v-neck": neck,
    }
    found = source.groupby("value")["confidence"].agg(["min", "max"])
    for value, confidence in expected.items():
        assert found.loc[value].tolist() == pytest.approx([confidence] * 2), value
    at = schema.value_names.index("color=red")
    counts = (precision.named, precision.judged, precision.right, precision.missing)
    assert [int(count[at]) for count in counts] == [5, 3, 2, 2]


def test_values_are_not_judged_by_cells_that_may_leave_some_out(schema, catalogue):
    open_ended = Schema.parse(
        SCHEMA.replace("exclusive: false", "exclusive: false\n    unlisted: missing"), "test"
    )
    at = schema.value_names.index("color=red")
    for of, counts in ((schema, (3, 2)), (open_ended, (0, 0))):
        precision, _ = mine(catalogue, of, f"{counts[0]}.csv")
        assert (precision.judged[at], precision.right[at]) == counts


def test_csv_parquet_and_several_columns(schema, catalogue):
    _, of_csv = mine(catalogue, schema)
    _, of_parquet = mine(catalogue, schema, "text.parquet")
    pd.testing.assert_frame_equal(of_csv, of_parquet, check_dtype=False, rtol=1e-6)
    with_text = Schema.parse(SCHEMA + "text: [title, note]\n", "test")
    _, both = mine(catalogue, with_text, "both.csv", columns=())
    added = both[~both["value"].isin(set(of_csv["value"]))]
    assert added[["product_id", "value"]].to_numpy().tolist() == [["p3", "green"]]


def test_the_report_lists_every_value_and_the_summary_the_worst(schema, catalogue, monkeypatch):
    monkeypatch.setattr(text, "FEW", 2)
    report = catalogue.with_name("values.csv")
    precision, _ = mine(catalogue, schema, report=report)
    rows = pd.read_csv(report).set_index(["attribute", "value"])
    assert len(rows) == schema.num_values
    assert rows.loc[("color", "red"), ["rows", "judged", "right"]].tolist() == [5, 3, 2]
    assert rows.loc[("color", "red"), "precision"] == pytest.approx(2 / 3, abs=1e-4)
    assert pd.isna(rows.loc[("neck_type", "v-neck"), "precision"])
    lines = {line.split()[0]: line.split() for line in precision.summary().splitlines()}
    assert lines["color"][1:6] == ["6", "85.7%", "4", "0.750", "2"]
    assert lines["color"][6:] == "red 0.67 of 3".split()
    assert lines["neck_type"][4] == "-"


def test_chunks_do_not_change_the_rows(schema, catalogue, monkeypatch):
    _, whole = mine(catalogue, schema)
    chunks = text.table.chunks

    def of_two(*arguments, **more):
        return chunks(*arguments, **more, rows=2)

    monkeypatch.setattr(text.table, "chunks", of_two)
    monkeypatch.setattr(text.writer, "ROWS_PER_GROUP", 3)
    _, parts = mine(catalogue, schema, "parts.parquet")
    pd.testing.assert_frame_equal(whole, parts, check_dtype=False, rtol=1e-6)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["names no text columns", "pass --columns"]),
        (["--columns=titel"], ["no column 'titel'; did you mean 'title'?"]),
        (["--columns=title,color"], ["--columns: 'color' is an attribute or key"]),
        (["--columns=title", "--output=x.xlsx"], ["x.xlsx: --output must end in .csv or .parquet"]),
        (["--columns=title", "--report=gone/r.csv"], ["the folder of --report does not exist"]),
    ],
)
def test_bad_flags_end_with_one_line_and_write_nothing(shop, catalogue, flags, words):
    before = sorted(catalogue.parent.iterdir())
    to = f"--output={catalogue.with_name('text.csv')}"
    arguments = [f"--catalogue={catalogue}", f"--schema={shop.schema_file}", to, *flags]
    require_bad_input(run_tool("mine_text", *arguments), *words)
    assert sorted(catalogue.parent.iterdir()) == before


def test_an_existing_output_is_kept(schema, catalogue):
    mine(catalogue, schema)
    with pytest.raises(InputError, match="exists already"):
        mine(catalogue, schema)
