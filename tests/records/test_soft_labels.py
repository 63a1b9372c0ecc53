"""Tests of `records/soft_labels.py`: soft labels in the shards, and what a training step gets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.config import DataConfig
from attr_extractor.errors import InputError
from attr_extractor.records import check, dataset, example, relabel, soft_labels, subset
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from tests.conftest import run_tool, write_table
from tests.records.by_hand import InProcess, Killer, build, contents, row, write_photo

COUNT = 60


@pytest.fixture(scope="module")
def shop(tmp_path_factory, schema: Schema) -> tuple[Path, list[dict[str, str]]]:
    """Records of shirts; every second one of the training split has no color."""
    folder = tmp_path_factory.mktemp("shop")
    rows = []
    for i in range(COUNT):
        write_photo(folder / f"{i}.jpg", str(i))
        split = "train" if i < 30 else "validation"
        color = "" if i < 30 and i % 2 else ("red", "blue", "green")[i % 3]
        rows.append({**row(f"p{i}", f"{i}.jpg", color=color), "split": split})
    build(folder, rows, schema, shards=2, split_column="split")
    return folder, rows


@pytest.fixture
def records(shop, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shop[0] / "records", tmp_path / "records"))


def source(folder: Path, wrong: tuple[int, ...] = (), name: str = "vendor") -> list[str]:
    """Write the table of a vendor that knows the color of every product but some."""
    rows = [
        {
            "product_id": f"p{i}",
            "attribute": "color",
            "value": ("red", "blue", "green")[(i + (i in wrong)) % 3],
            "source": name,
        }
        for i in range(COUNT)
    ]
    return [str(write_table(folder / f"{name}.csv", rows))]


def add(records: Path, sources, **options) -> soft_labels.Added:
    return soft_labels.add(records, sources, InProcess(), **options)


def test_missing_cells_get_soft_labels_and_filled_ones_none(records, tmp_path, schema: Schema):
    before = contents(records)
    added = add(records, source(tmp_path, wrong=(30, 31, 32)))
    manifest = Manifest.read(records)
    counts = manifest.splits["train"].labels["color"]
    assert (counts.missing, counts.soft) == (15, 15)
    assert manifest.sources == {"color": {"vendor": 15}}
    assert manifest.digest != Manifest.model_validate(json.loads(before["manifest.json"])).digest
    where = schema.slices["color"]
    for shard in manifest.splits["train"].shards:
        path = str(records / shard.name)
        for serialized in tf.data.TFRecordDataset(path).as_numpy_iterator():
            record = tf.train.Example.FromString(serialized)
            product = int(record.features.feature["product_id"].bytes_list.value[0][1:])
            values, probabilities = example.soft(record)
            assert bool(values) == bool(product % 2)
            if values:
                best = values[int(np.argmax(probabilities))] - where.start
                assert schema["color"].values[best] == ("red", "blue", "green")[product % 3]
                assert sum(probabilities) == pytest.approx(1, abs=0.03)
    of_color = added.report["attributes"]["color"]
    assert of_color["sources"]["vendor"]["right"] == pytest.approx(27 / 30, abs=1e-4)
    same = {name: data for name, data in before.items() if "validation" in name}
    assert same.items() <= contents(records).items()
    assert not check.check(records).problems


def test_a_training_batch_has_labels_and_soft_labels_as_targets(records, tmp_path, schema: Schema):
    data = DataConfig(image_size=32, batch_size=30, shuffle_buffer=8)
    batches = dataset.training_batches(records, Manifest.read(records), data, seed=0)
    assert "targets" not in next(iter(batches))
    add(records, source(tmp_path))
    batch = next(iter(dataset.training_batches(records, Manifest.read(records), data, seed=0)))
    labels, targets = batch["labels"].numpy(), batch["targets"].numpy()
    where = schema.slices["color"]
    missing = (labels[:, where] == -1).all(axis=1)
    assert missing.sum() == 15 and (targets[missing, where].max(axis=1) > 0.5).all()
    targets[missing, where] = -1
    np.testing.assert_array_equal(targets, labels)


def test_targets_keep_every_label_that_is_known():
    labels = tf.constant([-1, -1, 1, -1, -1], tf.int8)  # the second attribute is known in part
    found = example.targets(
        labels, tf.constant([1, 3], tf.int64), tf.constant([0.7, 0.9]), [2, 2, 1]
    )
    np.testing.assert_allclose(found, [0, 0.7, 1, -1, -1])
    none = tf.constant([], tf.int64), tf.constant([], tf.float32)
    np.testing.assert_allclose(example.targets(labels, *none, [2, 2, 1]), labels)


def test_unsure_cells_stay_missing(records, tmp_path, schema: Schema):
    wrong = tuple(range(30, 60, 2))
    added = add(records, source(tmp_path, wrong), min_probability=0.95)
    assert added.manifest.splits["train"].labels["color"].soft == 0
    assert not added.manifest.has_soft_labels("train")


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_a_call_killed_before_any_disk_change_resumes_to_the_same_result(
    records, tmp_path, schema: Schema, step: int
):
    sources = source(tmp_path)
    whole = Path(shutil.copytree(records, tmp_path / "whole"))
    with Killer(at=-1) as counter:
        add(whole, sources)
    undisturbed, changes = contents(whole), -1 - counter.left
    for at in range(0, changes, step):
        killed = Path(shutil.copytree(records, tmp_path / f"killed {at}"))
        with Killer(at, reverse=bool(at % 2)):
            add(killed, sources)
        add(killed, sources)
        assert contents(killed) == undisturbed, f"killed at {at}"
        shutil.rmtree(killed)


def test_other_programs_keep_soft_labels_and_a_new_schema_removes_them(
    shop, records, tmp_path, schema: Schema
):
    add(records, source(tmp_path))
    part = subset.write_subset(records, 0.5, tmp_path / "half")
    assert 0 < part.splits["train"].labels["color"].soft < 15
    rows = [{**each, "closure": "button"} for each in shop[1]]
    rows[1]["color"] = "green"  # the seller fills a cell
    table = write_table(tmp_path / "new.csv", rows)
    again = relabel.relabel(table, schema, records, InProcess())
    assert again.splits["train"].labels["color"].soft == 14
    assert again.sources == {"color": {"vendor": 15}}
    wider = Schema.parse(schema.to_yaml().replace("- drawstring", "- drawstring\n  - ties"), "w")
    again = relabel.relabel(table, wider, records, InProcess())
    assert not again.has_soft_labels("train") and not again.sources
    assert not check.check(records).problems


def test_an_interrupted_call_is_resumed_by_no_other_program(
    shop, records, tmp_path, schema: Schema
):
    table = write_table(tmp_path / "new.csv", shop[1])
    sources, again = source(tmp_path), Path(shutil.copytree(records, tmp_path / "again"))

    class Stops(InProcess):
        def run(self, work, tasks, name):
            super().run(work, tasks[:1] if work is relabel.write_labels else tasks, name)
            if work is relabel.write_labels:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        soft_labels.add(records, sources, Stops())
    with pytest.raises(InputError, match="add-sources was interrupted here; run it again first"):
        relabel.relabel(table, schema, records, InProcess())
    with pytest.raises(KeyboardInterrupt):
        relabel.relabel(table, Schema.parse(schema.to_yaml(), "s"), again, Stops())
    with pytest.raises(InputError, match="a --relabel was interrupted here; run it again first"):
        add(again, sources)
    result = run_tool("add_sources", f"--records={records}", f"--source={sources[0]}")
    assert result.returncode == 0, result.stderr
    assert not check.check(records).problems


def test_other_soft_labels_are_other_records(records, tmp_path, schema: Schema):
    first = add(records, source(tmp_path, wrong=(30, 31, 32))).manifest
    second = add(records, source(tmp_path, wrong=(30, 31, 32, 33, 34))).manifest
    assert first.splits["train"].labels == second.splits["train"].labels
    assert first.digest != second.digest


def test_sources_that_cannot_be_judged_are_refused(records, tmp_path, schema: Schema):
    before = contents(records)
    rows = [{"product_id": "p1", "attribute": "color", "value": "red", "source": "partial"}]
    partial = [write_table(tmp_path / "partial.csv", rows)]  # of a missing cell
    for split in ("validation", "train"):
        with pytest.raises(InputError, match="partial: answers no filled cell of the 30 products"):
            add(records, partial, fit_on=[split])
    with pytest.raises(InputError, match="min_probability 2"):
        add(records, source(tmp_path), min_probability=2)
    for split in ("valid", "test"):
        with pytest.raises(
            InputError, match=f"fit_on '{split}': name splits.* validation or train"
        ):
            add(records, source(tmp_path), fit_on=[split])
    assert contents(records) == before


def test_a_damaged_soft_label_is_found(records, tmp_path, schema: Schema):
    add(records, source(tmp_path))
    path = sorted(records.glob("train-*.tfrecord"))[0]
    found = [
        tf.train.Example.FromString(r)
        for r in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    example.set_soft(found[0], [10_000], [0.5])
    example.set_soft(found[1], [1], [1.5])
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in found:
            writer.write(record.SerializeToString(deterministic=True))
    problems = str(check.check(records).problems)
    assert "has a soft label of none of the schema's" in problems
    assert "whose probability is not between 0 and 1" in problems
