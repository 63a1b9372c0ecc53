"""TensorBoard logs: learning rates, one page of augmented photos, the projector's files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image, ImageDraw, ImageFont
from tensorboard.plugins.projector import ProjectorConfig, projector_plugin

from attr_extractor import labels
from attr_extractor.config import AugmentationConfig, Config
from attr_extractor.model import augmentation, network
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.training import tensorboard
from attr_extractor.training.run_dir import RunDir
from attr_extractor.training.strategy import Devices
from attr_extractor.training.tensorboard import TensorBoard, write_projector
from attr_extractor.training.tracking import Tracker
from tests.records.by_hand import read_csv, read_split

ONE = Devices(tf.distribute.get_strategy())


def summaries(folder: Path) -> list[tuple[int, tf.compat.v1.Summary.Value]]:
    """Return (step, summary) of all event files in a folder."""
    found = []
    for path in sorted(folder.glob("events.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            found += [(event.step, value) for value in event.summary.value]
    return found


def pages(run: Path) -> list[tuple[int, tf.compat.v1.Summary.Value]]:
    return [(step, v) for step, v in summaries(run / "logs/train") if v.tag == "augmented_photos"]


def test_a_run_logs_the_photos_of_its_first_step(trained):
    ((step, value),) = pages(trained.run)
    width, height, page = (tf.make_ndarray(value.tensor)[i] for i in range(3))
    image = tf.io.decode_png(page).numpy()
    assert (step, int(width), int(height)) == (0, image.shape[1], image.shape[0])
    config = Config.read(trained.config)
    batches = dataset.training_batches(
        trained.records, Manifest.read(trained.records), config.data, config.train.seed
    )
    batch = next(iter(batches))
    seed = tf.constant([config.train.seed, 0], tf.int64)
    expected = augmentation.augment(batch["pixels"], config.augmentation, seed)
    expected = np.rint(expected.numpy())
    assert len(expected) == 8  # two rows of four, each photo of 32 pixels enlarged six times
    for i, photo in enumerate(expected):
        y, x = (i // 4) * (len(image) // 2), (i % 4) * (6 * 32 + tensorboard.MARGIN)
        shown = image[y : y + 6 * 32 : 6, x : x + 6 * 32 : 6]
        np.testing.assert_allclose(shown, photo, atol=1)
    described = value.metadata.summary_description
    assert "augmented: zoom 0.05, shift 0.05, rotation 5.0, shear 3.0, flip 0.5" in described


# The page


def text_block(lines: list[str], width: int) -> np.ndarray:
    """Draw lines with Pillow, black on white, 15 pixels each."""
    block = Image.new("RGB", (width, 15 * len(lines)), "white")
    for i, line in enumerate(lines):
        font = ImageFont.load_default(12)
        ImageDraw.Draw(block).text((0, 15 * i), line, fill="black", font=font)
    return np.asarray(block)


def test_captions_list_the_present_values(schema):
    cells = [
        {"category": "shirt", "neck_type": "v-neck", "color": "red|blue"},
        {"category": "jeans", "color": "green"},  # closure missing, neck does not apply
        {},
    ]
    codes = np.stack([labels.encode(schema, row)[0] for row in cells])
    photos = np.zeros([3, 200, 200, 3], np.float32)
    page = np.asarray(tensorboard.draw_photo_page(photos, codes, schema))
    lines = [
        ["category: shirt", "neck_type: v-neck", "color: red, blue"],
        ["category: jeans", "color: green", ""],
        ["", "", ""],
    ]
    for i, expected in enumerate(lines):
        x = 206 * i
        assert (page[:200, x : x + 200] == 0).all()
        np.testing.assert_array_equal(page[200:245, x : x + 200], text_block(expected, 200))


def test_a_caption_wider_than_the_photo_is_truncated(schema):
    codes = np.where(np.arange(schema.num_values) >= 0, 1, 0)[None].astype(np.int8)  # all present
    narrow = np.asarray(
        tensorboard.draw_photo_page(np.zeros([1, 96, 96, 3], np.float32), codes, schema)
    )
    lines = narrow[192:, :192]
    assert lines.shape[0] == 15 * 4 + tensorboard.MARGIN
    assert (lines[:, :150] == 0).any()
    np.testing.assert_array_equal(narrow[:, 192:], 255)


@pytest.mark.parametrize("count, rows, columns", [(1, 1, 1), (3, 1, 3), (6, 2, 4), (40, 4, 4)])
def test_a_page_has_at_most_16_photos(schema, count: int, rows: int, columns: int):
    codes = np.zeros([count, schema.num_values], np.int8)
    page = tensorboard.draw_photo_page(np.zeros([count, 192, 192, 3], np.float32), codes, schema)
    assert page.size == (columns * 198, rows * 198)


def test_colours_outside_the_range_are_clipped(schema):
    photos = np.array([-9.0, 264.0, 99.6], np.float32).reshape(3, 1, 1, 1) * np.ones([192, 192, 3])
    page = np.asarray(
        tensorboard.draw_photo_page(photos, np.zeros([3, schema.num_values], np.int8), schema)
    )
    assert [page[0, 198 * i].tolist() for i in range(3)] == [[0] * 3, [255] * 3, [100] * 3]


def test_the_description_mentions_disabled_augmentation():
    assert tensorboard.describe_augmentation(AugmentationConfig(enabled=False)).endswith(
        "augmentation is off."
    )


# Learning rates


def test_a_resumed_run_logs_learning_rates_and_no_photos(trained, tmp_path):
    run = dataclasses.replace(RunDir.read(trained.run), path=tmp_path)
    seen = SimpleNamespace(per_attribute=lambda: tf.zeros([4]))
    optimizer = SimpleNamespace(iterations=tf.Variable(7))
    model = SimpleNamespace(optimizer=optimizer, losses_seen=seen, scores_seen=seen)
    model.learning_rates = lambda: {"lr": 0.25, "lr_trunk": 0.125}
    board = TensorBoard(run, tf.data.Dataset.range(0), ONE, Tracker())
    board.set_model(model)
    board.on_train_begin()  # would fail for this dataset if the run logged photos
    board.on_epoch_end(0, {"loss": 1.0, "score": 0.5})
    board.on_train_end()
    found = {
        value.tag: float(tf.make_ndarray(value.tensor))
        for step, value in summaries(tmp_path / "logs" / "train")
        if step == 7
    }
    rates = {tag: value for tag, value in found.items() if tag.startswith("lr")}
    assert rates == {"lr": 0.25, "lr_trunk": 0.125}
    assert not pages(tmp_path)


# Projector


def cloud(folder: Path) -> tuple[np.ndarray, list[list[str]]]:
    """Return points and rows of metadata as TensorBoard's plugin reads them."""
    config = ProjectorConfig()
    text_format.Parse((folder / "projector_config.pbtxt").read_text(), config)
    (embedding,) = config.embeddings
    points = projector_plugin._read_tensor_tsv_file(str(folder / embedding.tensor_path))
    assert list(embedding.tensor_shape) == list(points.shape)
    text = (folder / embedding.metadata_path).read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.removesuffix("\n").split("\n")]
    assert len(rows) == len(points) + 1  # the header
    return points, rows


def test_the_projector_has_features_and_values_of_the_validation_photos(trained):
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


def test_tensorboards_plugin_reads_the_projector_files(trained):
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


def test_tabs_and_line_ends_do_not_break_the_projectors_table(shop, odd, tmp_path):
    write_projector(tmp_path, small_logits(shop, odd), odd_batches(odd, 3), odd)
    _, (_, *rows) = cloud(tmp_path)
    assert rows == [[f"p {i} ü", "shirt", "one tab|two lines|größe"] for i in range(3)]


def test_the_projector_has_a_maximum_number_of_photos(shop, odd, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "PROJECTOR_PHOTOS", 37)
    write_projector(tmp_path, small_logits(shop, odd), odd_batches(odd, 50), odd)
    points, rows = cloud(tmp_path)
    assert len(points) == 37
    assert rows[-1][0] == "p 36 ü"
