"""TensorBoard logs of a run: curves of every attribute, learning rates, augmented photos."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attr_extractor.model import augmentation
from attr_extractor.training import photo_page
from attr_extractor.training.optimizer import steps_done
from attr_extractor.training.run_dir import RunDir
from attr_extractor.training.strategy import Devices


class TensorBoard(keras.callbacks.Callback):
    """Callback that logs loss and score, overall and per attribute, and learning rates each epoch.

    A new run also logs a page of the first batch: the photos of step 0.

    Args:
      training: the batches that `fit` receives, not split among workers.
    """

    def __init__(self, run: RunDir, training: tf.data.Dataset, devices: Devices):
        super().__init__()
        self.run = run
        self.training = training
        self.devices = devices
        self.writers = {
            split: tf.summary.create_file_writer(str(run.path / "logs" / split))
            if devices.is_chief  # other workers only take part in the sums over all workers
            else tf.summary.create_noop_writer()
            for split in ("train", "validation")
        }

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._step() == 0 and self.devices.is_chief:
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

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        for writer in self.writers.values():
            writer.close()

    def _write_photos(self) -> None:
        config = self.run.config
        batch = next(iter(self.training.take(1)))
        seed = tf.constant([config.train.seed, 0], tf.int64)
        loops = config.train.xla_loops
        photos = augmentation.augment(batch["pixels"], config.augmentation, seed, loops)
        page = photo_page.draw(photos.numpy(), batch["labels"].numpy(), self.run.schema)
        with self.writers["train"].as_default():
            tf.summary.image(
                "augmented_photos",
                np.asarray(page)[None],
                step=0,
                description=photo_page.describe(config.augmentation),
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

    def _step(self) -> int:
        return steps_done(self.model.optimizer)
