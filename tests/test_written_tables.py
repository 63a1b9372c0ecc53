"""Tests of every table that a program writes: any text round-trips.

Read by pandas and, where it is a table with a header, by the package's own reader.
"""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attr_extractor.catalogue import table
from attr_extractor.catalogue.csv_rows import MAX_CELL
from attr_extractor.enrichment.fill import predict
from attr_extractor.enrichment.migration import migrate
from attr_extractor.enrichment.quality.contradictions import Contradictions
from attr_extractor.enrichment.quality.qualify import write_contradictions
from attr_extractor.enrichment.review.export_decisions import export
from attr_extractor.enrichment.review.queue import Window
from attr_extractor.enrichment.search import build as search
from attr_extractor.enrichment.search import index as index_folder
from attr_extractor.errors import InputError
from attr_extractor.evaluation.audit import audit
from attr_extractor.evaluation.audit.features import Products
from attr_extractor.labels import ABSENT, PRESENT
from attr_extractor.records import near_duplicates, rows
from attr_extractor.records.near_duplicates import NearDuplicate
from attr_extractor.schema import Schema
from attr_extractor.sources import text as text_source
from tests.conftest import SCHEMA
from tests.enrichment.by_hand import cell, write_cells
from tests.enrichment.migration.by_hand import MAPPING, NEW_SCHEMA
from tests.enrichment.review.test_export_decisions import ADA, decide

ANY = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT = st.text(st.one_of(st.sampled_from("\r\n,\"';\t \ufeff\u2028\x1a=@"), ANY), max_size=6)
TEXTS = st.lists(TEXT, min_size=1, max_size=12)
few = settings(max_examples=25, deadline=None)


def by_pandas(path: Path) -> list[list[str]]:
    """All rows with the header."""
    read: dict[str, Any] = {"header": None, "dtype": str, "keep_default_na": False}
    return pd.read_csv(path, skip_blank_lines=False, **read).to_numpy().tolist()


def column(path: Path, name: str, own_reader: bool = True) -> list[str]:
    """Return the cells of a column, required to be equal for both readers."""
    header, *found = by_pandas(path)
    cells = [row[header.index(name)] for row in found]
    if own_reader:
        assert table.read_columns(path)[name].tolist() == cells
    return cells


def catalogue_of(folder: Path, texts: list[str], **more: str) -> Path:
    """Write a table as JSON Lines, with the texts in the column `note`."""
    rows = [
        {"product_id": f"p{i:03d}", "image": "gone.jpg", "category": "shirt", "neck_type": "v-neck"}
        | {"color": "", "closure": "", **more, "note": text}
        for i, text in enumerate(texts)
    ]
    path = folder / "table.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@few
@given(TEXTS)
def test_export_decisions(texts):
    schema = Schema.parse(SCHEMA, "test")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items = [cell(i + 1, seller=text) for i, text in enumerate(texts)]
        taken = [(ADA, "p000", "neck_type", "none", [])]
        decisions = decide(schema, folder, items, taken)
        export(decisions, catalogue_of(folder, texts), schema, folder / "out.csv")
        assert column(folder / "out.csv", "note") == texts
        assert column(folder / "out.csv", "neck_type") == ["", *["v-neck"] * (len(texts) - 1)]


@few
@given(TEXT.filter(str.strip), TEXT)
def test_export_decisions_log(product, reviewer):
    schema = Schema.parse(SCHEMA, "test")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        taken = [(Window(reviewer, "a" * 32), product, "neck_type", "none", [])]
        decisions = decide(schema, folder, [cell(product_id=product)], taken)
        row = {"product_id": product, "image": "a", "neck_type": "v-neck"}
        (folder / "t.jsonl").write_text(json.dumps(row), encoding="utf-8")
        export(decisions, folder / "t.jsonl", schema, folder / "out.csv", folder / "log.csv")
        assert column(folder / "log.csv", "product_id") == [product]
        assert column(folder / "log.csv", "reviewer") == [reviewer]


@few
@given(TEXTS)
def test_migrate_schema(texts):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in (("old", SCHEMA), ("new", NEW_SCHEMA), ("m", MAPPING)):
            (folder / f"{file}.yaml").write_text(text, encoding="utf-8")
        paths = [folder / name for name in ("new.yaml", "m.yaml", "old.yaml")]
        migrate.migrate(*paths, catalogue_of(folder, texts), folder / "out.csv")
        assert column(folder / "out.csv", "note") == texts


@few
@given(st.lists(TEXT.map(str.strip).filter(bool), min_size=1, max_size=12))
def test_mine_text(products):
    schema = Schema.parse(SCHEMA, "test")
    with tempfile.TemporaryDirectory() as name:
        rows = [{"product_id": p, "image": "a", "note": "v neck"} for p in products]
        catalogue = Path(name) / "t.jsonl"
        catalogue.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        for file in ("text.csv", "text.parquet"):
            text_source.mine_text(catalogue, schema, Path(name) / file, ["note"])
            found = table.read_columns(Path(name) / file)
            assert found["product_id"].tolist() == products
        assert column(Path(name) / "text.csv", "product_id") == products


@few
@given(st.lists(TEXT.filter(lambda text: "|" not in text), min_size=1, max_size=12))
def test_build_tfrecords_label_issues(texts):
    """An unknown value is listed as the seller wrote it."""
    schema = Schema.parse(SCHEMA, "test")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unknown = [f"never heard of {text}." for text in texts]
        lines = catalogue_of(folder, unknown).read_text(encoding="utf-8").splitlines()
        moved = [{**json.loads(line), "closure": json.loads(line)["note"]} for line in lines]
        (folder / "table.jsonl").write_text("\n".join(map(json.dumps, moved)), encoding="utf-8")
        rows.read_rows(folder / "table.jsonl", schema, folder)
        assert column(folder / "label_issues.csv", "cell") == unknown


@few
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8))
def test_build_tfrecords_near_duplicates(pairs):
    found = sorted(NearDuplicate("test", a, 0, b, 3, b, a) for a, b in pairs)
    with tempfile.TemporaryDirectory() as name:
        near_duplicates.write(name, found)
        path = Path(name) / near_duplicates.FILE
        assert column(path, "product_id") == [row.product_id for row in found]
        assert near_duplicates.read(name) == found


@few
@given(TEXT, TEXT)
def test_audit(product, image):
    """The heads contradict the label of the first of 60 products."""
    schema = Schema.parse(
        "name: two\ncategory: kind\nattributes: [{name: kind, values: [a, b]}]", ""
    )

    class Heads:
        def logits(self, features: np.ndarray, first: int) -> np.ndarray:
            sure = np.where(np.arange(60)[:, np.newaxis] % 2, 9.0, -9.0)
            sure[0] = 9.0
            return np.concatenate([-sure, sure], axis=1).astype(np.float32)

    codes = np.full([60, 2], ABSENT, np.int8)
    codes[np.arange(60), np.arange(60) % 2] = PRESENT
    facts = {"product_id": [product] + ["p"] * 59, "image": [image] + ["i"] * 59}
    facts = pa.table({**facts, "split": ["train"] * 60, "image_index": ["0"] * 60})
    products = Products(np.zeros([60, 4], np.float16), codes, facts)
    _, found = audit._list_cells(products, Heads(), schema, 100)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "audit.csv"
        audit.write_csv(path, audit.COLUMNS, found)
        assert column(path, "product_id") == [product]
        assert column(path, "image") == [image]


@few
@given(TEXT)
def test_qualify(text):
    with tempfile.TemporaryDirectory() as name:
        kept = Contradictions(10)
        path = write_cells(Path(name) / "c.parquet", [cell(product_id=text, seller=text)])
        kept.add(pa.parquet.read_table(path).to_batches()[0])
        write_contradictions(Path(name) / "list.csv", kept, escape_formulas=False)
        assert column(Path(name) / "list.csv", "seller") == [text]
        assert column(Path(name) / "list.csv", "product_id") == [text]


@few
@given(TEXTS)
def test_build_index_rejects(texts):
    schema = Schema.parse(SCHEMA, "test")
    form = index_folder.photos_schema(schema)
    blank = {field.name: [""] * len(texts) for field in form if field.type == pa.string()}
    photos = {index_folder.ROW: range(len(texts)), index_folder.IMAGE_INDEX: [0] * len(texts)}
    columns = {**blank, **photos, index_folder.PRODUCT: texts, index_folder.IMAGE: texts}
    part = pa.table([pa.array(columns[f.name], f.type) for f in form], form)
    part = part.append_column("error", pa.array(["broken"] * len(texts)))
    with tempfile.TemporaryDirectory() as name:
        pa.parquet.write_table(part, f"{name}/000000.parquet")
        search._join_tables(Path(name), [Path(name) / "000000"], schema)
        path = Path(name) / index_folder.REJECTS
        assert column(path, index_folder.PRODUCT) == texts
        assert column(path, index_folder.IMAGE) == texts


@settings(max_examples=10, deadline=None)
@given(TEXTS, st.booleans())
def test_predict(exported, texts, escape):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        catalogue, output = catalogue_of(folder, texts), folder / "out.csv"
        predict.predict(
            exported.model,
            catalogue,
            output,
            options=predict.PredictOptions(escape_formulas=escape),
        )
        found = column(output, "note")
        if escape:
            assert not [text for text in found if text[:1] in ("=", "@", "+", "-", "\t", "\r")]
            found = [a[1:] if a != b else a for a, b in zip(found, texts)]
        assert found == texts


def test_a_cell_of_a_million_characters_round_trips_and_a_longer_one_raises(exported, tmp_path):
    catalogue = catalogue_of(tmp_path, ["x" * 1_000_000])
    predict.predict(exported.model, catalogue, tmp_path / "out.csv")
    assert table.read_columns(tmp_path / "out.csv")["note"].tolist() == ["x" * 1_000_000]
    for path in (catalogue_of(tmp_path, ["x" * (MAX_CELL + 1)]), tmp_path / "long.csv"):
        if path.suffix == ".csv":
            path.write_text(f"note\n{'x' * (MAX_CELL + 1)}\n")
        with pytest.raises(InputError, match=r"(line 1|line 2).*(1,048,576|1048576)"):
            table.read_columns(path)


def test_the_error_of_a_row_with_many_unreadable_photos_is_shortened(exported, tmp_path):
    many = "|".join(f"{i:06}.jpg" for i in range(60_000))
    catalogue = catalogue_of(tmp_path, ["x"], image=many)
    predict.predict(exported.model, catalogue, tmp_path / "out.csv")
    (said,) = table.read_columns(tmp_path / "out.csv")["error"]
    assert said.startswith("000000.jpg: ") and said.endswith(" ...") and len(said) < 11_000


def test_formulas_are_escaped_on_request():
    from attr_extractor.catalogue.csv_rows import CsvWriter

    given_cells = [
        "=1+1",
        "@SUM(A1)",
        "+cmd",
        "-2+3",
        "\tx",
        "\rx",
        "\uff1dx",
        "-1.5",
        "a=b",
        "",
        7,
    ]
    text = io.StringIO(newline="")
    CsvWriter(text, escape_formulas=True).writerow(given_cells)
    found = pd.read_csv(io.StringIO(text.getvalue()), header=None, dtype=str).iloc[0].tolist()
    expected = ["'=1+1", "'@SUM(A1)", "'+cmd", "'-2+3", "'\tx", "'\rx", "'\uff1dx", "-1.5", "a=b"]
    assert found[:9] == expected and found[10] == "7"
