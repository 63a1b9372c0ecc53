"""Tests of sources/tables.py and sources/source_table.py: answers in long and wide form."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attr_extractor import labels, storage
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema
from attr_extractor.sources import source_table, tables
from attr_extractor.sources.tables import SourceIssue, SourceTable, read_sources
from tests.conftest import SCHEMA

LONG = "product_id,attribute,value,confidence,source"


def write(folder: Path, *lines: str, name: str = "vendor.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_one(path: Path, schema: Schema) -> SourceTable:
    (table,) = read_sources(path, schema)
    return table


def answers_of(table: SourceTable, schema: Schema, product: str) -> dict[str, object]:
    """Return the answered values and confidences by attribute; None: has no value."""
    states, confidence = table.of_products([product])
    found: dict[str, object] = {}
    for name, where in schema.slices.items():
        one, sure = states[0, where], confidence[0, where]
        if (one == labels.MISSING).all():
            assert np.isnan(sure).all()
            continue
        assert set(one.tolist()) <= {0, 1}  # known as a whole
        assert (np.isnan(sure) == (one == 0)).all()
        places = np.flatnonzero(one)
        chosen = {schema[name].values[v]: round(float(sure[v]), 4) for v in places}
        found[name] = chosen or None
    return found


def test_rows_are_values_with_confidences_synonyms_and_folding(tmp_path, schema):
    path = write(
        tmp_path,
        LONG,
        "p1,neck_type,V  NECK,0.9,",  # a synonym, folded
        "p1,color,red,.5,",
        "p1,color,green | Blue,0.7,",
        "p1,category,shirt,,",  # confidence 1
        "p2,neck_type,,0.4,",  # has none
        "p2,color,NA,0.4,",  # not known
        " p3 ,closure,zip,1,",
    )
    table = read_one(path, schema)
    assert table.name == "vendor" and table.issues == [] and table.issue_totals == {}
    assert answers_of(table, schema, "p1") == {
        "category": {"shirt": 1.0},
        "neck_type": {"v-neck": 0.9},
        "color": {"red": 0.5, "green": 0.7, "blue": 0.7},
    }
    assert answers_of(table, schema, "p2") == {"neck_type": None}
    assert answers_of(table, schema, "p3") == {"closure": {"zip": 1.0}}
    assert answers_of(table, schema, "nobody") == {}
    assert table.products.to_pylist() == ["p1", "p2", "p3"]


def test_labels_and_confidences_have_the_types_and_the_rows_of_the_request(tmp_path, schema):
    table = read_one(write(tmp_path, LONG, "p1,closure,zip,1,"), schema)
    states, confidence = table.of_products(["x", "p1", "x", "p1"])
    assert states.dtype == np.int8 and confidence.dtype == np.float32
    assert states.shape == confidence.shape == (4, schema.num_values)
    assert (states[[1, 3]] == states[1]).all() and (states[[0, 2]] == -1).all()
    empty, _ = table.of_products([])
    assert empty.shape == (0, schema.num_values)


def test_each_source_is_a_table(tmp_path, schema):
    path = write(
        tmp_path,
        LONG,
        "p1,closure,zip,1,model a",
        "p1,closure,button,1,model b",
        "p2,closure,button,1,",
    )
    found = {table.name: table for table in read_sources(path, schema)}
    assert list(found) == ["model a", "model b", "vendor"]
    for name, product, value in (("model a", "p1", "zip"), ("model b", "p1", "button")):
        assert answers_of(found[name], schema, product) == {"closure": {value: 1.0}}
        assert found[name].products.to_pylist() == ["p1"]
        assert answers_of(found[name], schema, "p2") == {}
    assert found["vendor"].products.to_pylist() == ["p2"]


BAD_ROWS = {
    "p01,neck_tpye,v-neck,1,": SourceIssue("unknown attribute", "neck_tpye", "", "neck_type", 1),
    "p02,closure,zipp,1,": SourceIssue("unknown value", "closure", "zipp", "zip", 1),
    "p03,color,red|mauve,1,": SourceIssue("unknown value", "color", "mauve", "", 1),
    "p04,closure,zip,1.01,": SourceIssue("confidence outside 0 to 1", "closure", "1.01", "", 1),
    "p05,closure,zip,-0.1,": SourceIssue("confidence outside 0 to 1", "closure", "-0.1", "", 1),
    "p06,closure,zip,inf,": SourceIssue("confidence outside 0 to 1", "closure", "inf", "", 1),
    "p07,closure,zip,high,": SourceIssue("unreadable confidence", "closure", "high", "", 1),
    "p08,closure,zip,nan,": SourceIssue("unreadable confidence", "closure", "nan", "", 1),
    "p09,closure,zip|button,1,": SourceIssue(
        "several values of an exclusive attribute", "closure", "zip|button", "", 1
    ),
    "p10,closure,zipp,high,": SourceIssue("unknown value", "closure", "zipp", "zip", 1),
    " ,closure,zip|button,1,": SourceIssue("no product_id", "", "", "", 1),
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_cell_with_an_issue_is_listed_and_gives_no_answer(row, tmp_path, schema):
    table = read_one(write(tmp_path, LONG, "good,closure,zip,1,", row), schema)
    assert table.issues == [BAD_ROWS[row]]
    assert table.issue_totals == {BAD_ROWS[row].kind: 1}
    assert answers_of(table, schema, row.split(",")[0]) == {}
    assert answers_of(table, schema, "good") == {"closure": {"zip": 1.0}}


def test_rows_that_disagree_give_no_answer_and_rows_that_agree_give_one(tmp_path, schema):
    path = write(
        tmp_path,
        LONG,
        "p1,closure,zip,0.2,",
        "p2,closure,zip,0.9,",
        "p1,color,red,1,",
        "p1,closure,button,0.9,",  # disagrees
        "p2,closure,Zip,0.3,",  # agrees
        "p2,color,,1,",  # no colour, and a colour
        "p2,color,red,1,",
        "p3,color,red,1,",  # two colours are one answer
        "p3,color,blue,1,",
        "p3,closure,zip,1,",
        "p3,closure,zipper,1,",  # one row is unusable, so the cell is
    )
    table = read_one(path, schema)
    assert answers_of(table, schema, "p1") == {"color": {"red": 1.0}}
    assert answers_of(table, schema, "p2") == {"closure": {"zip": 0.9}}
    assert answers_of(table, schema, "p3") == {"color": {"red": 1.0, "blue": 1.0}}
    assert table.issue_totals == {"rows disagree": 2, "unknown value": 1}
    disagree = {(i.attribute, i.value) for i in table.issues if i.kind == "rows disagree"}
    assert disagree == {("closure", "button|zip"), ("color", "red|(no value)")}


def test_issues_are_counted_in_full_and_listed_up_to_a_limit(tmp_path, schema, monkeypatch):
    monkeypatch.setattr(source_table, "MOST_LISTED", 3)
    monkeypatch.setattr(source_table, "MOST_COUNTED", 50)
    rows = [f"p{i},closure,strange {i % 100},1," for i in range(400)]
    frequent = [f"q{i},closure,zipp,1," for i in range(7)]
    table = read_one(write(tmp_path, LONG, *frequent, *rows, "p,closure,zip,1,"), schema)
    assert table.issue_totals == {"unknown value": 407}
    assert len(table.issues) == 3
    assert table.issues[0] == SourceIssue("unknown value", "closure", "zipp", "zip", 7)
    assert table.issues[1].count == 4


def test_a_wide_table_is_read_under_the_sellers_and_the_schemas_names(tmp_path):
    schema = Schema.parse(SCHEMA + "columns: {color: Farbe, product_id: SKU}\n", "test")
    for header in ("SKU,Farbe,closure", "product_id,color,closure", "SKU,color,closure"):
        table = read_one(write(tmp_path, header, "p1,red|green,", "p2,,zip", "p3,,"), schema)
        assert answers_of(table, schema, "p1") == {"color": {"red": 1.0, "green": 1.0}}
        assert answers_of(table, schema, "p2") == {"closure": {"zip": 1.0}}
        assert answers_of(table, schema, "p3") == {}  # an empty cell is no answer
        assert table.products.to_pylist() == ["p1", "p2", "p3"] and table.name == "vendor"
    with pytest.raises(InputError, match=r"the columns 'Farbe' and 'color' are both color"):
        read_sources(write(tmp_path, "SKU,color,Farbe", "p1,red,red"), schema)


def test_a_filled_table_has_the_answers_of_the_model_and_not_of_the_seller(tmp_path, schema):
    path = write(
        tmp_path,
        "product_id,image,neck_type,closure,neck_type_confidence,neck_type_source,"
        "closure_confidence,closure_source,error",
        "p1,a.jpg,v-neck,zip,0.8125,model,0.2,seller,",
        "p2,a.jpg,,button,,not applicable,0.5,model,",
        "p3,a.jpg,,,,no answer,,no answer,",
        "p4,a.jpg,v-neck,zip,2,model,x,seller,",
        "p5,a.jpg,v-neck,zip,,seller,,model,",
    )
    table = read_one(path, schema)
    assert answers_of(table, schema, "p1") == {"neck_type": {"v-neck": 0.8125}}
    assert answers_of(table, schema, "p2") == {"neck_type": None, "closure": {"button": 0.5}}
    assert answers_of(table, schema, "p3") == answers_of(table, schema, "p4") == {}
    assert answers_of(table, schema, "p5") == {"closure": {"zip": 1.0}}
    assert table.seller_cells == 3
    assert table.issue_totals == {"confidence outside 0 to 1": 1}  # the seller's is not read


def test_wide_rows_without_a_product_id_are_counted(tmp_path, schema):
    table = read_one(write(tmp_path, "product_id,closure", ",zipp", "q,zip", " ,"), schema)
    assert table.issue_totals == {"no product_id": 2}
    assert table.products.to_pylist() == ["q"]
    assert (
        read_one(write(tmp_path, "product_id,closure", ",zip"), schema).products.to_pylist() == []
    )


def test_rows_of_a_wide_table_that_disagree_give_no_answer(tmp_path, schema):
    table = read_one(write(tmp_path, "product_id,closure", "p,zip", "p,button", "q,zip"), schema)
    assert answers_of(table, schema, "p") == {}
    assert table.issue_totals == {"rows disagree": 1}


def test_a_column_that_is_nearly_an_attribute_is_listed(tmp_path, schema):
    path = write(
        tmp_path,
        "product_id,title,colour,waist,waist_confidence,closure",
        "p,Red shirt,red,high,1,zip",
        "q,Red shirt,,low,1,zip",
    )
    assert {(i.kind, i.attribute, i.nearest, i.count) for i in read_one(path, schema).issues} == {
        ("unknown attribute", "colour", "color", 1),
        ("unknown attribute", "waist", "", 2),
    }


def test_a_table_without_product_ids_or_known_attributes_is_bad_input(tmp_path, schema):
    for lines, message in (
        (["product,attribute,value", "p,color,red"], r"'product_id' is missing; did you mean"),
        (["product_id,title", "p,Shirt"], r"no column is an attribute of the schema"),
        (["product_id,attribute,value", "p,colr,red"], r"but 'colr'; did you mean 'color'\?"),
        (["product_id,color"], r"has a header and no rows"),
    ):
        with pytest.raises(InputError, match=message):
            read_sources(write(tmp_path, *lines), schema)
    many = [f"p,color,red,1,reviewer {i}" for i in range(65)]
    with pytest.raises(InputError, match=r"more than 64 sources in the column 'source'"):
        read_sources(write(tmp_path, LONG, *many), schema)
    with pytest.raises(InputError, match=r"the table of answers does not exist"):
        read_sources(tmp_path / "nothing.csv", schema)


@pytest.fixture(scope="module")
def random_rows() -> pd.DataFrame:
    """5,000 rows of 300 products in any order, of all kinds of cells."""
    generator = np.random.default_rng(0)
    cells = {
        "category": ["shirt", "jeans", "Jeans", "dress"],
        "neck_type": ["v-neck", "v neck", "round neck", "", "NA", "turtle"],
        "color": ["red", "green", "blue", "red|blue", "", "mauve|red"],
        "closure": ["zip", "button", "zip|button", "drawstring"],
    }
    names = generator.choice([*cells, "sleeve"], 5000)
    return pd.DataFrame(
        {
            "product_id": [f"p{i}" for i in generator.integers(0, 300, 5000)],
            "attribute": names,
            "value": [generator.choice(cells.get(name, ["long"])) for name in names],
            "confidence": generator.choice(["0.25", "0.5", "", "1", "7", "?"], 5000),
            "source": generator.choice(["a", "b"], 5000, p=[0.3, 0.7]),
        }
    )


def by_hand(rows: pd.DataFrame, schema: Schema) -> dict[tuple[str, str, str], dict]:
    """Return the usable answers by source, product and attribute, row by row in plain Python."""
    seen: dict[tuple[str, str, str], list] = {}
    for product, name, cell, sure, source in rows.itertuples(index=False):
        if name not in schema.names or cell == "NA":
            continue
        values = [schema[name].value_of(part) for part in cell.split("|") if part]
        confidence = float(sure) if sure not in ("", "?") else 1.0
        bad = None in values or sure in ("7", "?")
        bad |= schema[name].exclusive and len(values) > 1
        seen.setdefault((source, product, name), []).append((values, confidence, bad))
    answers = {}
    for (source, product, name), found in seen.items():
        sets = [values for values, _, _ in found]
        flat = {v for values in sets for v in values}
        if any(bad for *_, bad in found) or ([] in sets and flat):
            continue
        if schema[name].exclusive and len(flat) > 1:
            continue
        best = {v: max(c for vs, c, _ in found if v in vs) for v in flat}
        answers[source, product, name] = {
            schema[name].values[v]: confidence for v, confidence in best.items()
        } or None
    return answers


@pytest.mark.parametrize("rows, block", [(97, 50), (8192, 2**20)])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_random_tables_are_read_as_row_by_row(
    random_rows, rows, block, suffix, tmp_path, schema, monkeypatch
):
    """Whatever the size of chunks and blocks, and the order of the rows."""
    chunks = tables.table.chunks
    monkeypatch.setattr(tables.table, "chunks", lambda path: chunks(path, rows=rows))
    monkeypatch.setattr(source_table, "_ANSWERS_PER_BLOCK", block)
    path = tmp_path / f"rows.{suffix}"
    if suffix == "csv":
        random_rows.to_csv(path, index=False)
    else:
        random_rows.to_parquet(path, index=False)
    expected = by_hand(random_rows, schema)
    assert len({None if v is None else len(v) for v in expected.values()}) == 4
    found = {
        (table.name, product, name): answer
        for table in read_sources(path, schema)
        for product in table.products.to_pylist()
        for name, answer in answers_of(table, schema, product).items()
    }
    assert found == expected


def test_tables_of_one_source_are_read_as_one(tmp_path, schema):
    first = write(tmp_path, LONG, "p1,color,red,0.9,vlm", "p2,neck_type,v-neck,1,vlm")
    second = tmp_path / "second.csv"
    second.write_text(
        "\n".join([LONG, "p3,color,green,0.8,vlm", "p2,neck_type,round neck,1,vlm"]) + "\n"
    )
    (table,) = tables.read_all([first, second], schema)
    assert table.products.to_pylist() == ["p1", "p2", "p3"]
    answers = {product: answers_of(table, schema, product) for product in ("p1", "p2", "p3")}
    assert answers == {
        "p1": {"color": {"red": pytest.approx(0.9)}},
        "p2": {},  # the tables disagree
        "p3": {"color": {"green": pytest.approx(0.8)}},
    }
    assert [(issue.kind, issue.count) for issue in table.issues] == [("rows disagree", 1)]


def test_numbers_in_parquet_are_products_and_confidences(tmp_path, schema):
    path = tmp_path / "vlm.parquet"
    frame = {"product_id": [7, 8], "closure": ["zip", None], "closure_confidence": [0.5, None]}
    pd.DataFrame(frame).to_parquet(path, index=False)
    table = read_one(path, schema)
    assert answers_of(table, schema, "7") == {"closure": {"zip": 0.5}}
    assert answers_of(table, schema, "8") == {} and table.issues == []


def test_a_table_in_a_bucket_is_read(gs, tmp_path, schema):
    path = write(tmp_path, LONG, "p1,closure,zip,1,")
    address = storage.join(gs, "answers/vendor.csv")
    storage.write(address, path.read_bytes())
    table = read_one(address, schema)
    assert table.name == "vendor"
    assert answers_of(table, schema, "p1") == {"closure": {"zip": 1.0}}


def test_an_answer_takes_a_few_bytes(tmp_path, schema):
    rows = [
        f"p{i},{name},{value},0.{i % 10},"
        for i in range(15_000)
        for name, value in (("closure", "zip"), ("color", "red"), ("category", "shirt"))
    ]
    path = write(tmp_path, LONG, *rows)
    tracemalloc.start()
    table = read_one(path, schema)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    ids = 150 * 15_000  # bytes of the products and their positions
    assert held < ids + 10 * len(rows)
    assert peak < ids + 30 * len(rows) + 20e6  # and a chunk of the table
    assert answers_of(table, schema, "p14999")["closure"] == {"zip": 0.9}


def test_cells_of_predict_are_answers_also_where_the_seller_filled(tmp_path, schema: Schema):
    rows = [
        # attribute, given, answer, proposed, scores
        ("neck_type", "round neck", "", ["v-neck", "round neck"], [0.4, 0.3]),
        ("color", "red", "red|blue", ["red", "blue"], [0.9, 0.8]),
        ("closure", "", "", [], []),  # no photo could be read
    ]
    names = ("attribute", "given", "answer", "proposed", "proposed_scores")
    cells = pd.DataFrame([("a", *each) for each in rows], columns=["product_id", *names])
    cells.to_parquet(tmp_path / "cells.pq")
    found = read_one(tmp_path / "cells.pq", schema)
    assert found.name == "cells" and not found.issues
    cells[2:].to_parquet(tmp_path / "blind.parquet")
    with pytest.raises(InputError, match="no cell has an answer"):
        read_sources(tmp_path / "blind.parquet", schema)
    assert answers_of(found, schema, "a") == {
        "neck_type": {"v-neck": 0.4},
        "color": {"red": 0.9, "blue": 0.8},
    }
