"""Tests of the stored predictions: logits are computed once per set of inputs."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from attr_extractor import files
from attr_extractor.evaluation import predictions
from attr_extractor.evaluation.predictions import LABELS, LOGITS, PHOTOS
from attr_extractor.records import pixels, relabel
from attr_extractor.schema import Schema
from attr_extractor.training.run_dir import RunDir
from tests.conftest import write_table
from tests.records.by_hand import InProcess, labels_of, read_split


@pytest.fixture
def run(trained, tmp_path) -> RunDir:
    ignored = shutil.ignore_patterns("checkpoints", "logs", predictions.FOLDER)
    return RunDir.read(shutil.copytree(trained.run, tmp_path / "run", ignore=ignored))


def refuse(*_arguments, **_options):
    raise AssertionError("a network is loaded")


def folder(run: RunDir, name: str = "test") -> Path:
    return run.path / predictions.FOLDER / name


def test_the_files_contain_the_networks_logits_of_the_stored_photos(run, trained, schema):
    found = predictions.predict(run, "test")
    examples = read_split(trained.records, "test")
    size = run.config.data.image_size
    photos = [pixels.from_stored(e["image/encoded"], size, "squeeze").numpy() for e in examples]
    expected = run.load_network().logits(np.stack(photos), training=False)
    np.testing.assert_allclose(np.load(folder(run) / LOGITS), expected, atol=1e-4)
    np.testing.assert_array_equal(np.load(folder(run) / LABELS), labels_of(examples))
    written = pq.read_table(folder(run) / PHOTOS)
    assert written["product_id"].to_pylist() == [e["product_id"].decode() for e in examples]
    assert written["image_index"].to_pylist() == [e["image/index"] for e in examples]
    blocks = list(found.blocks(3))
    np.testing.assert_array_equal(np.concatenate([b.logits for b in blocks]), found.logits)
    np.testing.assert_array_equal(np.concatenate([b.labels for b in blocks]), found.labels)
    assert [key for block in blocks for key in block.keys] == found.keys
    assert found.keys == [(e["product_id"].decode(), e["image/index"]) for e in examples]


def test_valid_logits_are_not_computed_again(run, monkeypatch):
    first = np.array(predictions.predict(run, "test").logits)
    monkeypatch.setattr(RunDir, "load_network", refuse)
    np.testing.assert_array_equal(predictions.predict(run, "test").logits, first)


def test_other_weights_give_new_logits(run):
    before = np.array(predictions.predict(run, "test").logits)
    arrays = files.read_arrays(run.path / "weights.npz")
    last = next(name for name in arrays if arrays[name].shape == (run.schema.num_values,))
    files.write_arrays(run.path / "weights.npz", {**arrays, last: arrays[last] + 1})
    after = predictions.predict(run, "test").logits
    np.testing.assert_allclose(after, before + 1, atol=1e-5)


def test_a_damaged_file_is_written_again(run):
    expected = np.array(predictions.predict(run, "test").logits)
    for name in (LOGITS, LABELS, PHOTOS):
        whole = (folder(run) / name).read_bytes()
        (folder(run) / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        predictions.predict(run, "test")
        assert (folder(run) / name).read_bytes() == whole
    np.testing.assert_array_equal(np.load(folder(run) / LOGITS), expected)


@pytest.mark.parametrize("claimed", [1, 10**6])
def test_progress_beyond_the_file_or_the_split_is_ignored(run, claimed):
    predictions.predict(run, "test")
    expected = (folder(run) / LOGITS).read_bytes()
    made_from = files.read_json(folder(run) / predictions.FILE, "it")["made_from"]
    (folder(run) / predictions.FILE).unlink()
    (folder(run) / LOGITS).write_bytes(expected[:130])  # the header and less than a row
    progress = {"made_from": made_from, "photos": claimed}
    files.write_json(folder(run) / predictions.PROGRESS, progress)
    predictions.predict(run, "test")
    assert (folder(run) / LOGITS).read_bytes() == expected


def test_new_labels_keep_the_logits(run, trained, tmp_path, monkeypatch):
    shutil.copytree(trained.path, tmp_path / "shop", ignore=shutil.ignore_patterns("run", "model"))
    records = tmp_path / "shop" / trained.records.name
    before = predictions.predict(run, "test", records)
    logits, labels = np.array(before.logits), np.array(before.labels)
    with open(trained.catalogue, newline="", encoding="utf-8") as file:
        rows = [{**row, "color": ""} for row in csv.DictReader(file)]
    table = write_table(tmp_path / "shop" / "new.csv", rows)
    relabel.relabel(table, Schema.read(trained.schema_file), records, InProcess())
    monkeypatch.setattr(RunDir, "load_network", refuse)
    after = predictions.predict(run, "test", records)
    color = run.schema.slices["color"]
    assert (labels[:, color] == 1).any() and not (after.labels[:, color] == 1).any()
    np.testing.assert_array_equal(after.logits, logits)
    np.testing.assert_array_equal(after.labels, labels_of(read_split(records, "test")))


def test_an_interrupted_pass_resumes_and_ends_with_the_same_bytes(run, monkeypatch):
    monkeypatch.setattr(predictions, "_BATCHES", 1)
    predictions.predict(run, "test")
    expected = (folder(run) / LOGITS).read_bytes()
    shutil.rmtree(folder(run))

    starts: list[int] = []
    whole = predictions.dataset.evaluation_batches

    def killed(*arguments, start: int = 0):
        starts.append(start)
        for number, batch in enumerate(whole(*arguments, start=start)):
            if number == 1 and len(starts) == 1:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(predictions.dataset, "evaluation_batches", killed)
    with pytest.raises(KeyboardInterrupt):
        predictions.predict(run, "test")
    assert not (folder(run) / predictions.FILE).is_file()
    predictions.predict(run, "test")
    assert starts == [0, run.config.data.batch_size]
    assert (folder(run) / LOGITS).read_bytes() == expected
    assert not (folder(run) / predictions.PROGRESS).is_file()
