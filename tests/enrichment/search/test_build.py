"""Tests of `search/build.py`: content of the folder, resumed builds, refused inputs."""

from __future__ import annotations

import csv
import os
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from attr_extractor.catalogue import photos
from attr_extractor.enrichment.search import build, vectors
from attr_extractor.enrichment.search import index as index_folder
from attr_extractor.errors import InputError
from tests import forked_tools
from tests.conftest import run_tool, times_of_change, write_table
from tests.enrichment.search.conftest import search_rows


def contents(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in path.iterdir()}


def test_every_readable_photo_has_its_embedding(exported, indexed, schema):
    table = pd.read_parquet(indexed / index_folder.PHOTOS)
    index = vectors.read(indexed / index_folder.VECTORS)
    rows = search_rows(exported)
    expected = [
        (i + 1, row["product_id"], path, k)
        for i, row in enumerate(rows)
        for k, path in enumerate(row["image"].split("|"))
        if path and (exported.path / path).is_file() and ".." not in path
    ]
    columns = [index_folder.ROW, index_folder.PRODUCT, index_folder.IMAGE, index_folder.IMAGE_INDEX]
    assert list(table[columns].itertuples(index=False, name=None)) == expected
    assert index.ntotal == len(expected) > 100
    signature = tf.saved_model.load(str(exported.model / "1")).signatures["embedding"]
    for number in (0, 1, 40, len(expected) - 1):
        raw = (exported.path / table[index_folder.IMAGE][number]).read_bytes()
        by_hand = signature(image_bytes=tf.constant([raw]))["embedding"][0].numpy()
        np.testing.assert_allclose(index.reconstruct(number), by_hand, atol=1e-5)
        assert np.linalg.norm(by_hand) == pytest.approx(1, abs=1e-5)
    cells = table.drop_duplicates(index_folder.ROW).set_index(index_folder.ROW)["seller.color"]
    assert cells[12] == "red|blue"  # in the schema's spelling
    assert cells[13] == ""  # not a value of the schema
    assert cells[1] == ""


def test_unreadable_photos_are_listed(exported, indexed):
    with open(indexed / index_folder.REJECTS, newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    rows = search_rows(exported)
    gone = {str(i + 1) for i, row in enumerate(rows) if row["image"] == "images/gone.jpg"}
    assert {line["row"] for line in found} == gone | {"6", "11"}
    reasons = {(line["row"], line["image"]): line["reason"] for line in found}
    assert reasons["6", ""] == "no image named"
    assert reasons["11", "images/gone.jpg"] == photos.NOT_FOUND
    assert reasons["11", "../outside.jpg"] == photos.OUTSIDE
    facts = index_folder.read_facts(indexed)
    assert (facts.rows, facts.rejects) == (120, len(found))
    assert facts.rows_with_photo == 120 - len(gone) - 1


PROGRAM = (
    "import sys; from attr_extractor.enrichment.search import build; build.ROWS_PER_PART = 16;"
    "build.build(*sys.argv[1:])"
)


@pytest.mark.slow
def test_a_killed_build_resumes_and_gives_the_same_bytes(exported, indexed, tmp_path):
    table = write_table(tmp_path / "table.csv", search_rows(exported) * 5)

    def start(name: str) -> forked_tools.Program:
        given = (exported.model, table, tmp_path / name, exported.path)
        return forked_tools.Program(PROGRAM, [*map(str, given)], tmp_path)

    process = start("killed")
    parts = tmp_path / "killed" / index_folder.PARTS
    deadline = time.monotonic() + 120
    while len(list(parts.glob("*.npy"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in parts.glob("*.npy")}
    assert 2 <= len(done) < 38 and not (tmp_path / "killed" / index_folder.FACTS).exists()
    with pytest.raises(InputError, match="unfinished: index.json is missing"):
        index_folder.read_facts(tmp_path / "killed")
    with pytest.raises(InputError, match="unfinished index that differs in its"):
        build.build(
            exported.model, table, tmp_path / "killed", exported.path
        )  # another size of parts
    again = start("killed")
    kept = times_of_change(done, again)
    assert again.returncode == 0 and kept == done  # no part was computed twice
    assert start("whole").wait() == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert not parts.exists()


def test_an_index_of_many_photos_has_cells(exported, indexed, tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "EXACT_UP_TO", 100)
    monkeypatch.setattr(vectors, "SAMPLE_PER_CELL", 10)
    monkeypatch.setattr(build, "ROWS_PER_PART", 32)
    table = indexed.parent / "table.csv"
    facts = build.build(exported.model, table, tmp_path / "index", exported.path)
    assert facts.kind == vectors.CELLS
    cells, exact = (
        vectors.read(path / index_folder.VECTORS) for path in (tmp_path / "index", indexed)
    )
    assert cells.nlist == facts.photos // 10
    approximate, original = (each.reconstruct_n(0, facts.photos) for each in (cells, exact))
    np.testing.assert_allclose(approximate, original, atol=1e-3)


def test_invalid_input_changes_no_file(exported, indexed, tmp_path):
    table, before = indexed.parent / "table.csv", contents(indexed)
    with pytest.raises(InputError, match="exists already"):
        build.build(exported.model, table, indexed, exported.path)
    assert contents(indexed) == before
    with pytest.raises(InputError, match="no photo could be read.*gone.jpg"):
        gone = write_table(tmp_path / "t.csv", [{"product_id": "a", "image": "gone.jpg"}])
        build.build(exported.model, gone, tmp_path / "none", exported.path)
    assert not (tmp_path / "none").exists()  # so that another image root can be tried
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("x")
    flags = [f"--model={exported.model}", f"--catalogue={table}"]
    result = run_tool("build_index", *flags, f"--output_dir={tmp_path / 'thesis'}")
    assert result.returncode == 2 and "exists already" in result.stderr
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]
