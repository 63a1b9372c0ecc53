"""Claims about `training/projector.py`, checked with TensorBoard's own plugin."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.plugins.projector import ProjectorConfig, projector_plugin

from attr_extractor import labels
from attr_extractor.config import Config
from attr_extractor.model import network
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.training import projector
from attr_extractor.training.run_dir import RunDir
from tests.records.by_hand import read_csv, read_split


def cloud(folder: Path) -> tuple[np.ndarray, list[list[str]]]:
    """Points and rows of metadata as TensorBoard's plugin finds them by the config."""
    config = ProjectorConfig()
    text_format.Parse((folder / "projector_config.pbtxt").read_text(), config)
    (embedding,) = config.embeddings
    points = projector_plugin._read_tensor_tsv_file(str(folder / embedding.tensor_path))
    assert list(embedding.tensor_shape) == list(points.shape)
    text = (folder / embedding.metadata_path).read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.removesuffix("\n").split("\n")]
    assert len(rows) == len(points) + 1  # the header
    return points, rows


def test_a_finished_run_has_the_features_and_values_of_its_validation_photos(trained):
    points, (header, *rows) = cloud(trained.run / "logs" / "validation")
    stored = read_split(trained.records, "validation")
    assert [row[0] for row in rows] == [e["product_id"].decode() for e in stored]
    run = RunDir.read(trained.run)
    assert header == ["product_id", *run.schema.names]
    cells = {row["product_id"]: row for row in read_csv(trained.catalogue)}
    for product, category, neck, color, closure in rows:
        row = cells[product]
        assert category == row["category"]
        assert neck == (row["neck_type"] or "(not applicable)")
        assert color == (row["color"] or "(missing)")
        assert closure == row["closure"]
    logits = run.load_network().logits
    seen = keras.Model(logits.input, logits.get_layer(network.BRANCHES).input)
    batches = dataset.evaluation_batches(
        trained.records, Manifest.read(trained.records), run.config.data, "validation"
    )
    expected = np.concatenate([seen(batch["pixels"]).numpy() for batch in batches])
    np.testing.assert_allclose(points, expected, rtol=1e-4, atol=1e-5)


def test_tensorboard_finds_it(trained):
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.plugins import base_plugin
    from werkzeug.test import Client

    logs = str(trained.run / "logs")
    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(logs)
    multiplexer.Reload()
    context = base_plugin.TBContext(
        logdir=logs, data_provider=data_provider.MultiplexerDataProvider(multiplexer, logs)
    )
    apps = projector_plugin.ProjectorPlugin(context).get_plugin_apps()

    def get(route: str, **query: str) -> bytes:
        answer = Client(apps[route]).get(route, query_string=query)
        assert answer.status_code == 200, answer.data
        return answer.data

    assert b"validation" in get("/runs")
    name = "pooled features of validation photos"
    points, rows = cloud(trained.run / "logs" / "validation")
    tensor = np.frombuffer(get("/tensor", run="validation", name=name), np.float32)
    np.testing.assert_array_equal(tensor.reshape(points.shape), points)
    metadata = get("/metadata", run="validation", name=name).decode()
    assert [line.split("\t") for line in metadata.splitlines()] == rows


@pytest.fixture
def odd() -> Schema:
    text = """
name: odd
category: category
attributes:
  - {name: category, values: [shirt]}
  - {name: size, exclusive: false, values: ["one\\ttab", "two\\nlines", "größe"]}
"""
    return Schema.parse(text, "test")


def odd_batches(schema: Schema, count: int) -> tf.data.Dataset:
    codes, _ = labels.encode(schema, {"category": "shirt", "size": "one\ttab|two\nlines|größe"})
    photos = {
        "pixels": np.zeros([count, 32, 32, 3], np.uint8),
        "labels": np.stack([codes] * count),
        "product_id": [f"p\t{i}\nü".encode() for i in range(count)],
    }
    return tf.data.Dataset.from_tensor_slices(photos).batch(8)


def small_logits(shop, schema: Schema) -> keras.Model:
    return network.build(schema, Config.read(shop.config)).logits


def test_tabs_and_line_ends_do_not_break_the_table(shop, odd, tmp_path):
    projector.write(tmp_path, small_logits(shop, odd), odd_batches(odd, 3), odd)
    _, (_, *rows) = cloud(tmp_path)
    assert rows == [[f"p {i} ü", "shirt", "one tab|two lines|größe"] for i in range(3)]


def test_only_the_first_photos_are_written(shop, odd, tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "PHOTOS", 37)
    projector.write(tmp_path, small_logits(shop, odd), odd_batches(odd, 50), odd)
    points, rows = cloud(tmp_path)
    assert len(points) == 37
    assert rows[-1][0] == "p 36 ü"
