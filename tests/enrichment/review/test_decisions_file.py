"""Tests of `review/decisions_file.py`: which files it accepts, and transactions."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from attr_extractor.enrichment.review import decisions_file
from attr_extractor.enrichment.review.build_queue import open_queue
from attr_extractor.enrichment.review.decisions_file import DecisionsFile
from attr_extractor.enrichment.review.queue import Filter, Queue, Window
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema
from tests.conftest import SCHEMA
from tests.enrichment.by_hand import cell, color, write_cells

ADA = Window("Ada", "a" * 32)


def opened(schema, folder: Path, rows=None, most: int = 100):
    path = write_cells(folder / "cells.parquet", rows or [cell(1), cell(2), color(3)])
    limits = np.full(schema.num_values, 0.5, np.float32)
    return open_queue(folder / "decisions.sqlite", path, schema, limits, most)


def test_a_queue_is_built_once_and_kept_with_its_decisions(schema, tmp_path):
    file, info = opened(schema, tmp_path, most=2)
    assert info.summary.startswith("queue: 2 of 3 cells that are worth a look (3 contradicted;")
    Queue(file, schema).decide(ADA, 1, "none", [])
    file.close()
    file, again = opened(schema, tmp_path, most=100)
    assert again == info
    with file.reading() as db:
        assert db.execute("SELECT count(*), sum(decided) FROM items").fetchone()[:] == (2, 1)
    file.close()


@pytest.mark.parametrize(("version", "lacks"), [(1, ["box", "told_by"]), (2, ["told_by"])])
def test_a_file_of_an_older_version_gets_the_columns_it_lacks(schema, tmp_path, version, lacks):
    path = write_cells(tmp_path / "cells.parquet", [cell(1), cell(2)])
    pq.write_table(pq.read_table(path).drop_columns(lacks), path)
    limits = np.full(schema.num_values, 0.5, np.float32)

    def again():
        return open_queue(tmp_path / "decisions.sqlite", path, schema, limits, 100)[0]

    file = again()
    Queue(file, schema).decide(ADA, 1, "none", [])
    file.close()
    with sqlite3.connect(tmp_path / "decisions.sqlite") as old:
        for column in lacks:
            old.execute(f"ALTER TABLE items DROP COLUMN {column}")
        old.execute(f"PRAGMA user_version = {version}")
    for _ in range(2):
        file = again()
        with file.reading() as db:
            for column in lacks:
                rows = db.execute(f"SELECT DISTINCT {column} FROM items").fetchall()
                assert rows[0][:] == ("",)
            assert db.execute("SELECT count(*) FROM decisions").fetchone()[:] == (1,)
        file.close()


def test_a_queue_can_be_empty(schema, tmp_path):
    file, info = opened(schema, tmp_path, [cell(verdict="agreed")])
    assert info.summary.startswith("queue: 0 of 0 cells")
    assert Queue(file, schema).next(ADA, Filter()) is None
    file.close()


def test_a_failed_build_leaves_no_queue(schema, tmp_path):
    rows = [cell(i) for i in range(1, 50)] + [cell(50, given="turtle")]
    with pytest.raises(InputError, match="'turtle' is not a value of neck_type"):
        opened(schema, tmp_path, rows)
    file, info = opened(schema, tmp_path)
    assert info.summary.startswith("queue: 3 of 3")
    file.close()


def test_decisions_of_other_cells_or_another_schema_are_refused(schema, tmp_path):
    opened(schema, tmp_path)[0].close()
    with pytest.raises(InputError, match="decisions about another cells file"):
        opened(schema, tmp_path, [cell(1), cell(2)])
    wider = Schema.parse(SCHEMA.replace("no neck]", "no neck, collar]"), "test")
    with pytest.raises(InputError, match="decisions about another schema .*name a new file"):
        opened(wider, tmp_path)


def test_other_files_are_refused_and_kept(schema, tmp_path):
    path = tmp_path / "decisions.sqlite"
    path.write_bytes(b"product_id,image\n" * 100)
    with pytest.raises(InputError, match="decisions.sqlite: .*file is not a database"):
        opened(schema, tmp_path)
    assert path.read_bytes() == b"product_id,image\n" * 100
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE shopping (what)")
    db.close()
    with pytest.raises(InputError, match="an SQLite file, but not one of attr-extractor review"):
        opened(schema, tmp_path)
    with pytest.raises(InputError, match="is a folder"):
        DecisionsFile(tmp_path)
    with pytest.raises(InputError, match="the folder of --decisions does not exist"):
        DecisionsFile(tmp_path / "new" / "decisions.sqlite")
    with pytest.raises(InputError, match="the decisions file does not exist"):
        DecisionsFile(tmp_path / "other.sqlite", new=False)


def test_a_damaged_file_is_refused(schema, tmp_path):
    opened(schema, tmp_path, [cell(i) for i in range(1, 400)])[0].close()
    path = tmp_path / "decisions.sqlite"
    data = bytearray(path.read_bytes())
    data[4096 : len(data) // 2] = b"\xff" * (len(data) // 2 - 4096)
    path.write_bytes(data)
    with pytest.raises(InputError, match="decisions.sqlite: .*(damaged|malformed)"):
        opened(schema, tmp_path)


def test_nothing_is_stored_in_a_locked_file(schema, tmp_path, monkeypatch):
    monkeypatch.setattr(decisions_file, "BUSY_SECONDS", 0.05)
    file, _ = opened(schema, tmp_path)
    other = sqlite3.connect(tmp_path / "decisions.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(InputError, match="is locked by another program; nothing was stored"):
        Queue(file, schema).decide(ADA, 1, "none", [])
    with pytest.raises(InputError, match="is locked by another program"):
        opened(schema, tmp_path)
    other.execute("COMMIT")
    other.close()
    Queue(file, schema).decide(ADA, 1, "none", [])
    file.close()


def test_a_failed_transaction_is_rolled_back(schema, tmp_path):
    file, _ = opened(schema, tmp_path)
    with pytest.raises(ZeroDivisionError), file.transaction() as db:
        db.execute("UPDATE items SET decided = 1")
        raise ZeroDivisionError
    with file.reading() as db:
        assert db.execute("SELECT sum(decided) FROM items").fetchone()[0] == 0
    file.close()


def test_a_commit_waits_for_the_disk(schema, tmp_path):
    file, _ = opened(schema, tmp_path)
    with file.reading() as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    file.close()
