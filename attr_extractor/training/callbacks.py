"""What happens around the steps: progress, TensorBoard, checkpoints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from attr_extractor import files
from attr_extractor.model import network
from attr_extractor.training.run_dir import RunDir

SCORE = "validation score"  # its key beside the arrays in best.npz


class Progress(keras.callbacks.Callback):
    """One line: images/s and time left of the whole run from the first seconds, loss and score."""

    def __init__(self, total_steps: int, start_step: int, batch_size: int):
        super().__init__()
        self.total_steps = total_steps
        self.start_step = start_step
        self.batch_size = batch_size

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.bar = tqdm(
            total=self.total_steps * self.batch_size,
            initial=self.start_step * self.batch_size,
            unit="img",
            mininterval=1.0,
            smoothing=0.05,
        )
        self.started = False

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not self.started:  # the first step traces the graph and says nothing about speed
            self.bar.unpause()
            self.started = True
        self.bar.update(self.batch_size)
        if logs:
            self.bar.set_postfix(
                loss=f"{logs['loss']:.4g}", score=f"{logs['score']:.3f}", refresh=False
            )

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        self.bar.unpause()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        parts = [f"{name} {value:.4g}" for name, value in (logs or {}).items()]
        self.bar.write(f"epoch {epoch + 1}: {', '.join(parts)}")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.bar.close()


class TensorBoard(keras.callbacks.Callback):
    """Loss, score and learning rate, and loss and score of every attribute, once an epoch."""

    def __init__(self, logs_dir: Path, names: list[str]):
        super().__init__()
        self.names = names
        self.writers = {
            split: tf.summary.create_file_writer(str(logs_dir / split))
            for split in ("train", "validation")
        }

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        # validation is about to reset the metrics that hold the epoch's training figures
        self._write("train", {})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        if "val_loss" in logs:
            self._write("validation", {"loss": logs["val_loss"], "score": logs["val_score"]})
        else:
            self._write("train", {})
        rate = self.model.optimizer.learning_rate
        step = self.model.optimizer.iterations
        rate = rate(step) if callable(rate) else rate
        self._scalars("train", {"loss": logs["loss"], "score": logs["score"], "lr": float(rate)})
        for writer in self.writers.values():
            writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        for writer in self.writers.values():
            writer.close()

    def _write(self, split: str, scalars: dict[str, float]) -> None:
        per_attribute = {
            "attribute_loss": self.model.losses_seen.per_attribute().numpy(),
            "attribute_score": self.model.scores_seen.per_attribute().numpy(),
        }
        for group, values in per_attribute.items():
            scalars.update({f"{group}/{name}": v for name, v in zip(self.names, values)})
        self._scalars(split, scalars)

    def _scalars(self, split: str, scalars: dict[str, float]) -> None:
        step = int(self.model.optimizer.iterations)
        with self.writers[split].as_default():
            for name, value in scalars.items():
                tf.summary.scalar(name, value, step=step)


class Checkpoints(keras.callbacks.Callback):
    """Saves the run every few minutes and at each epoch's end, and the best weights so far."""

    def __init__(self, run: RunDir, model: Any, steps_per_epoch: int):
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        self.seconds = tf.Variable(0.0, name="seconds", dtype=tf.float64)  # over all restarts
        self.best_path = run.path / "checkpoints" / "best.npz"
        self.every = 60.0 * run.config.train.checkpoint_minutes
        self.last_saved = self.counted_to = time.monotonic()
        checkpoint = tf.train.Checkpoint(
            network=model.network, optimizer=model.optimizer, seconds=self.seconds
        )
        self.manager = tf.train.CheckpointManager(
            checkpoint, str(run.path / "checkpoints"), max_to_keep=2, checkpoint_name="step"
        )

    def restore(self) -> int:
        """Loads the newest checkpoint, if any; returns the step to go on from."""
        self.manager.restore_or_initialize()
        return int(self.manager.checkpoint.optimizer.iterations)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # not at an epoch's last step: a run resumed from there would skip its validation
        within_epoch = int(self.model.optimizer.iterations) % self.steps_per_epoch
        if within_epoch and time.monotonic() - self.last_saved > self.every:
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        score = (logs or {}).get("val_score")
        best = self.best()
        if score is not None and (best is None or score > best[0]):
            arrays = {**network.layer_arrays(self.model.network), SCORE: np.array(score)}
            files.write_arrays(self.best_path, arrays)
        self._save()

    def best(self) -> tuple[float, dict[str, np.ndarray]] | None:
        """The best validation score so far and its weights, in one file so that they agree."""
        if not self.best_path.is_file():
            return None
        arrays = files.read_arrays(self.best_path)
        return float(arrays.pop(SCORE)), arrays

    def _save(self) -> None:
        now = time.monotonic()
        self.seconds.assign_add(now - self.counted_to)
        self.counted_to = now
        self.manager.save(checkpoint_number=int(self.model.optimizer.iterations))
        self.last_saved = time.monotonic()
