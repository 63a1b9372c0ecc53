"""TensorBoard logs of a run: curves, learning rates, a page of augmented photos, the projector."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any, Union

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from attr_extractor import labels, storage
from attr_extractor.config import AugmentationConfig
from attr_extractor.model import augmentation, network
from attr_extractor.schema import SEPARATOR, Schema
from attr_extractor.training.optimizer import steps_done
from attr_extractor.training.run_dir import RunDir
from attr_extractor.training.strategy import Devices
from attr_extractor.training.tracking import Tracker

PAGE_PHOTOS, COLUMNS = 16, 4
WIDTH = 192  # minimum width of a photo on the page, in pixels; smaller ones are enlarged
FONT_SIZE, LINE, MARGIN = 12, 15, 6  # pixels
PROJECTOR_PHOTOS = 1000
PROJECTOR_CONFIG = """embeddings {{
  tensor_name: "pooled features of validation photos"
  tensor_shape: {}
  tensor_shape: {}
  tensor_path: "tensors.tsv"
  metadata_path: "metadata.tsv"
}}
"""

Font = Union[ImageFont.FreeTypeFont, ImageFont.ImageFont]


class TensorBoard(keras.callbacks.Callback):
    """Callback that logs loss and score, overall and per attribute, and learning rates each epoch.

    A new run also logs a page of the first batch: the photos of step 0.

    Args:
      training: the batches that `fit` receives, not split among workers.
      tracker: logs the same scalars, named `split/scalar`.
    """

    def __init__(self, run: RunDir, training: tf.data.Dataset, devices: Devices, tracker: Tracker):
        super().__init__()
        self.run = run
        self.training = training
        self.devices = devices
        self.tracker = tracker
        self.points: dict[str, float] = {}  # of this epoch
        self.writers = {
            split: tf.summary.create_file_writer(str(run.path / "logs" / split))
            if devices.is_chief  # other workers only take part in the sums over all workers
            else tf.summary.create_noop_writer()
            for split in ("train", "validation")
        }

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        is_first = self._step() == 0 and self.devices.is_chief
        if is_first and "pixels" in self.training.element_spec:  # features have no photos
            self._write_photos()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        # validation is about to reset the metrics that contain the epoch's training figures
        self._write("train", {})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        if "val_loss" in logs:
            self._write("validation", {"loss": logs["val_loss"], "score": logs["val_score"]})
        else:
            self._write("train", {})
        self._scalars(
            "train", {"loss": logs["loss"], "score": logs["score"], **self.model.learning_rates()}
        )
        for writer in self.writers.values():
            writer.flush()
        self.tracker.log_points(self.points, self._step())
        self.points = {}

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        for writer in self.writers.values():
            writer.close()

    def _write_photos(self) -> None:
        config = self.run.config
        batch = next(iter(self.training.take(1)))
        seed = tf.constant([config.train.seed, 0], tf.int64)
        loops = config.train.xla_loops
        photos = augmentation.augment(batch["pixels"], config.augmentation, seed, loops)
        page = draw_photo_page(photos.numpy(), batch["labels"].numpy(), self.run.schema)
        with self.writers["train"].as_default():
            tf.summary.image(
                "augmented_photos",
                np.asarray(page)[None],
                step=0,
                description=describe_augmentation(config.augmentation),
            )
        self.writers["train"].flush()

    def _write(self, split: str, scalars: dict[str, float]) -> None:
        per_attribute = {
            "attribute_loss": self.model.losses_seen.per_attribute().numpy(),
            "attribute_score": self.model.scores_seen.per_attribute().numpy(),
        }
        names = self.run.schema.names
        for group, values in per_attribute.items():
            scalars.update({f"{group}/{name}": v for name, v in zip(names, values)})
        self._scalars(split, scalars)

    def _scalars(self, split: str, scalars: dict[str, float]) -> None:
        with self.writers[split].as_default():
            for name, value in scalars.items():
                tf.summary.scalar(name, value, step=self._step())
                self.points[f"{split}/{name}"] = float(value)

    def _step(self) -> int:
        return steps_done(self.model.optimizer)


def draw_photo_page(photos: np.ndarray, codes: np.ndarray, schema: Schema) -> Image.Image:
    """Draw the first photos of a batch in rows of four.

    Args:
      photos: float [B, H, W, 3] in 0 .. 255.
      codes: int8 [B, V], their labels.
    """
    factor = math.ceil(WIDTH / photos.shape[2])  # an integer, so that pixel values do not change
    side = factor * photos.shape[2]
    font = ImageFont.load_default(FONT_SIZE)
    captions = [_caption(states, schema, side, font) for states in codes[:PAGE_PHOTOS]]
    cell = (side + MARGIN, factor * photos.shape[1] + MARGIN + LINE * max(map(len, captions)))
    rows = math.ceil(len(captions) / COLUMNS)
    page = Image.new("RGB", (cell[0] * min(COLUMNS, len(captions)), cell[1] * rows), "white")
    pen = ImageDraw.Draw(page)
    for i, (photo, lines) in enumerate(zip(photos, captions)):
        x, y = (i % COLUMNS) * cell[0], (i // COLUMNS) * cell[1]
        image = Image.fromarray(np.clip(np.rint(photo), 0, 255).astype(np.uint8))
        page.paste(image.resize((side, factor * image.height), Image.Resampling.NEAREST), (x, y))
        for k, line in enumerate(lines):
            pen.text((x, y + factor * image.height + LINE * k), line, fill="black", font=font)
    return page


def describe_augmentation(config: AugmentationConfig) -> str:
    """Return the page's description, which names the augmentation of the photos."""
    if not config.enabled:
        return "The first training batch; augmentation is off."
    off = {"enabled"} if config.rand_operations else {"enabled", "rand_magnitude"}
    settings = config.model_dump(exclude=off)
    listed = ", ".join(f"{name} {value}" for name, value in settings.items() if value)
    return f"The first training batch as the network gets it, augmented: {listed}."


def _caption(states: np.ndarray, schema: Schema, width: int, font: Font) -> list[str]:
    """Return one line for every attribute that has values, truncated to a width in pixels."""
    lines = []
    for name, values in labels.decode(schema, states).items():
        line = f"{name}: {', '.join(values)}" if values else ""
        while font.getlength(line) > width:
            line = line[:-2].rstrip("…") + "…"
        lines += [line] * bool(line)
    return lines


def write_projector(folder: Path, logits: Any, batches: tf.data.Dataset, schema: Schema) -> None:
    """Write pooled features, labels and the projector's config for the first photos of `batches`.

    Args:
      folder: folder of a TensorBoard run: the plugin searches next to the event files.
      logits: the network, uint8 [B, H, W, 3] -> float32 [B, V].
      batches: the result of `dataset.evaluation_batches`.
    """
    pooled = keras.Model(logits.input, logits.get_layer(network.POOLED).output)
    forward = tf.function(lambda pixels: tf.cast(pooled(pixels, training=False), tf.float32))
    features: list[np.ndarray] = []
    lines = ["\t".join(["product_id", *schema.names])]
    for batch in batches.unbatch().take(PROJECTOR_PHOTOS).batch(32):
        features.append(forward(batch["pixels"]).numpy())  # [B, D]
        for product, codes in zip(batch["product_id"].numpy(), batch["labels"].numpy()):
            lines.append("\t".join([_cell(product.decode()), *_cells(schema, codes)]))
    cloud = np.concatenate(features)  # [at most PROJECTOR_PHOTOS, D]
    tensors = io.BytesIO()
    np.savetxt(tensors, cloud, fmt="%.6g", delimiter="\t")
    storage.write(folder / "tensors.tsv", tensors.getvalue())
    storage.write(folder / "metadata.tsv", ("\n".join(lines) + "\n").encode())
    storage.write(folder / "projector_config.pbtxt", PROJECTOR_CONFIG.format(*cloud.shape).encode())


def _cells(schema: Schema, codes: np.ndarray) -> list[str]:
    """Return the text of every attribute; the four states of a label stay distinct."""
    decoded = labels.decode(schema, codes).values()
    return [
        "(missing)" if values is None else _cell(SEPARATOR.join(values)) or "(not applicable)"
        for values in decoded
    ]


def _cell(text: str) -> str:
    """Replace tabs and line ends, which would break the table: its format has no quotes."""
    return " ".join(text.split())
