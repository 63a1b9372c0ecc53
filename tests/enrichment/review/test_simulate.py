"""Tests of `review/simulate.py`: which labels are corrupted, corrected and counted."""

from __future__ import annotations

import csv
import sqlite3

import pytest

from attr_extractor.config import Config
from attr_extractor.enrichment.review import simulate
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema
from tests.conftest import SCHEMA, require_bad_input, run_tool, write_table
from tests.records.by_hand import InProcess, read_split

LOOKS = 25


def cells_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def differing(path, other):
    """Return (row from 1, column) of the cells that differ."""
    pairs = enumerate(zip(cells_of(path), cells_of(other), strict=True), start=1)
    return {(row, name) for row, (a, b) in pairs for name in a if a[name] != b[name]}


@pytest.fixture(scope="module")
def done(trained, schema, tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulation") / "out"
    options = simulate.SimulateOptions(spoiled=0.3, looks=LOOKS, epochs=1)
    config = Config.read(trained.config)
    paths = (trained.catalogue, schema, trained.records, config, folder, InProcess(), options)
    return folder, simulate.simulate(*paths)


@pytest.mark.slow
def test_the_wanted_share_of_training_labels_is_corrupted(done, built, schema):
    folder, _ = done
    changed = differing(built.catalogue, folder / "spoiled.csv")
    rows = cells_of(built.catalogue)
    training = {example["product_id"].decode() for example in read_split(built.records, "train")}
    filled = {
        (number, name)
        for number, row in enumerate(rows, start=1)
        if row["product_id"] in training
        for name in schema.names
        if row[name]
    }
    assert changed <= filled
    assert 0.2 < len(changed) / len(filled) < 0.4
    after = cells_of(folder / "spoiled.csv")
    for number, name in changed:
        row, cell = rows[number - 1], after[number - 1][name]
        assert cell in schema[name].values and cell not in row[name].split("|")
        if name == "closure" and row["category"] == "jeans":
            assert cell in ("button", "zip")


@pytest.mark.slow
def test_only_reviewed_cells_are_corrected(done, built):
    folder, results = done
    spoiled = differing(built.catalogue, folder / "spoiled.csv")
    for way in ("random", "queue"):
        left = differing(built.catalogue, folder / f"{way}.csv")
        assert left < spoiled
        assert len(spoiled) - len(left) == results[way].wrong <= results[way].looks
    assert not differing(built.catalogue, folder / "everything.csv")
    assert differing(built.catalogue, folder / "nothing.csv") == spoiled
    assert results["everything"].wrong == results["everything"].looks == len(spoiled)
    assert (results["random"].looks, results["nothing"].looks) == (LOOKS, 0)
    with sqlite3.connect(folder / "decisions.sqlite") as db:
        (decided,) = db.execute("SELECT count(*) FROM decisions").fetchone()
        (kept,) = db.execute("SELECT count(*) FROM decisions WHERE kind = 'seller'").fetchone()
    assert decided == results["queue"].looks
    assert decided - kept == results["queue"].wrong


@pytest.mark.slow
def test_every_way_is_measured_on_original_labels(done, built):
    folder, results = done
    for split in ("train", "test"):  # the last way corrects everything
        assert read_split(folder / "records", split) == read_split(built.records, split)
    for way in ("before", "nothing", "random", "queue", "everything"):
        assert 0 <= results[way].score <= results[way].accuracy <= 1
    for way in ("random", "queue", "everything"):
        low, high = results[way].interval
        assert low <= results[way].difference <= high
        expected = results[way].score - results["nothing"].score
        assert results[way].difference == pytest.approx(expected, abs=2e-5)
    text = simulate.as_text(results)
    assert len(text.splitlines()) == 7 and "nan" not in text


def test_invalid_options_are_refused(built, tmp_path):
    with pytest.raises(InputError, match="--spoiled=1: must be above 0 and below 1"):
        simulate.SimulateOptions(spoiled=1)
    flags = [f"--catalogue={built.catalogue}", f"--schema={built.schema_file}"]
    flags += [f"--records={built.records}", f"--config={built.config}"]
    (tmp_path / "mine").touch()
    result = run_tool("simulate_review", *flags, f"--output_dir={tmp_path}")
    require_bad_input(result, "exists already")


def test_a_table_without_category_or_records_of_another_schema_are_refused(built, schema, tmp_path):
    rows = [{k: v for k, v in row.items() if k != "category"} for row in cells_of(built.catalogue)]
    write_table(tmp_path / "table.csv", rows)
    rest = (Config.read(built.config), tmp_path / "out", InProcess(), simulate.SimulateOptions())
    with pytest.raises(InputError, match="category"):
        simulate.simulate(tmp_path / "table.csv", schema, built.records, *rest)
    other = Schema.parse(SCHEMA.replace("no neck", "none"), "another")
    (tmp_path / "other").mkdir()
    rest = (*rest[:1], tmp_path / "other", *rest[2:])
    with pytest.raises(InputError, match="made with another schema"):
        simulate.simulate(built.catalogue, other, built.records, *rest)
    assert not list((tmp_path / "other").iterdir())
