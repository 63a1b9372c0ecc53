"""Claims about what TensorBoard shows: learning rates, and a page of augmented photos once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from attr_extractor import labels
from attr_extractor.config import AugmentationConfig, Config
from attr_extractor.model import augmentation
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.training import fit, photo_page
from attr_extractor.training.checkpoints import Checkpoints
from attr_extractor.training.run_dir import RunDir
from attr_extractor.training.strategy import Devices
from attr_extractor.training.tensorboard import TensorBoard

ONE = Devices(tf.distribute.get_strategy())


def summaries(folder: Path) -> list[tuple[int, tf.compat.v1.Summary.Value]]:
    """(step, summary) of every event file in a folder."""
    found = []
    for path in sorted(folder.glob("events.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            found += [(event.step, value) for value in event.summary.value]
    return found


def pages(run: Path) -> list[tuple[int, tf.compat.v1.Summary.Value]]:
    return [(step, v) for step, v in summaries(run / "logs/train") if v.tag == "augmented_photos"]


def test_a_run_shows_the_photos_of_its_first_step_once(trained):
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
        y, x = (i // 4) * (len(image) // 2), (i % 4) * (6 * 32 + photo_page.MARGIN)
        shown = image[y : y + 6 * 32 : 6, x : x + 6 * 32 : 6]
        np.testing.assert_allclose(shown, photo, atol=1)
    described = value.metadata.summary_description
    assert "augmented: zoom 0.05, shift 0.05, rotation 5.0, shear 3.0, flip 0.5" in described


def test_a_run_that_goes_on_does_not_show_them_again(built, tmp_path, monkeypatch):
    save = Checkpoints.on_epoch_end

    def interrupted(self, epoch, logs=None):
        save(self, epoch, logs)
        raise KeyboardInterrupt

    config, run = Config.read(built.config, ["train.epochs=2"]), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_epoch_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit.train(config, built.records, run)
    assert len(pages(run)) == 1
    fit.train(config, built.records, run)
    assert len(pages(run)) == 1


# The page


def text_block(lines: list[str], width: int) -> np.ndarray:
    """The lines as Pillow draws them, black on white, 15 pixels each."""
    block = Image.new("RGB", (width, 15 * len(lines)), "white")
    for i, line in enumerate(lines):
        font = ImageFont.load_default(12)
        ImageDraw.Draw(block).text((0, 15 * i), line, fill="black", font=font)
    return np.asarray(block)


def test_the_values_present_stand_below_each_photo(schema):
    cells = [
        {"category": "shirt", "neck_type": "v-neck", "color": "red|blue"},
        {"category": "jeans", "color": "green"},  # closure missing, neck does not apply
        {},
    ]
    codes = np.stack([labels.encode(schema, row)[0] for row in cells])
    photos = np.zeros([3, 200, 200, 3], np.float32)
    page = np.asarray(photo_page.draw(photos, codes, schema))
    lines = [
        ["category: shirt", "neck_type: v-neck", "color: red, blue"],
        ["category: jeans", "color: green", ""],
        ["", "", ""],
    ]
    for i, expected in enumerate(lines):
        x = 206 * i
        assert (page[:200, x : x + 200] == 0).all()
        np.testing.assert_array_equal(page[200:245, x : x + 200], text_block(expected, 200))


def test_a_line_wider_than_the_photo_is_cut(schema):
    codes = np.where(np.arange(schema.num_values) >= 0, 1, 0)[None].astype(np.int8)  # all present
    narrow = np.asarray(photo_page.draw(np.zeros([1, 96, 96, 3], np.float32), codes, schema))
    lines = narrow[192:, :192]
    assert lines.shape[0] == 15 * 4 + photo_page.MARGIN
    assert (lines[:, :150] == 0).any()
    np.testing.assert_array_equal(narrow[:, 192:], 255)


@pytest.mark.parametrize("count, rows, columns", [(1, 1, 1), (3, 1, 3), (6, 2, 4), (40, 4, 4)])
def test_a_page_has_at_most_16_photos(schema, count: int, rows: int, columns: int):
    codes = np.zeros([count, schema.num_values], np.int8)
    page = photo_page.draw(np.zeros([count, 192, 192, 3], np.float32), codes, schema)
    assert page.size == (columns * 198, rows * 198)


def test_colours_outside_the_range_are_cut_not_wrapped(schema):
    photos = np.array([-9.0, 264.0, 99.6], np.float32).reshape(3, 1, 1, 1) * np.ones([192, 192, 3])
    page = np.asarray(photo_page.draw(photos, np.zeros([3, schema.num_values], np.int8), schema))
    assert [page[0, 198 * i].tolist() for i in range(3)] == [[0] * 3, [255] * 3, [100] * 3]


def test_the_description_says_where_augmentation_is_off():
    assert photo_page.describe(AugmentationConfig(enabled=False)).endswith("augmentation is off.")


# Learning rates


def test_learning_rates_are_those_of_the_model(trained, tmp_path):
    run = dataclasses.replace(RunDir.read(trained.run), path=tmp_path)
    seen = SimpleNamespace(per_attribute=lambda: tf.zeros([4]))
    optimizer = SimpleNamespace(iterations=tf.Variable(7))
    model = SimpleNamespace(optimizer=optimizer, losses_seen=seen, scores_seen=seen)
    model.learning_rates = lambda: {"lr": 0.25, "lr_trunk": 0.125}
    board = TensorBoard(run, tf.data.Dataset.range(0), ONE)
    board.set_model(model)
    board.on_train_begin()  # of a run that goes on: no photos are asked for
    board.on_epoch_end(0, {"loss": 1.0, "score": 0.5})
    board.on_train_end()
    found = {
        value.tag: float(tf.make_ndarray(value.tensor))
        for step, value in summaries(tmp_path / "logs" / "train")
        if step == 7
    }
    rates = {tag: value for tag, value in found.items() if tag.startswith("lr")}
    assert rates == {"lr": 0.25, "lr_trunk": 0.125}
