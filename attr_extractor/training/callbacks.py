"""Small callbacks of training: the progress bar, and a stop when numbers are no longer finite."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm

from attr_extractor.config import Config, TrainConfig
from attr_extractor.errors import InputError
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.training.figures import StepFigures
from attr_extractor.training.optimizer import steps_done

NAMED = 8  # products of a batch that the error names


class Progress(keras.callbacks.Callback):
    """Callback that shows a progress bar of the whole run: images/s, time left, loss, mean score.

    It counts the steps whose figures were read: only those are known to be finished. Close it if
    training ends with an exception; otherwise the error is on the bar's line.

    Args:
      shown: False for all workers but the chief.
    """

    def __init__(self, total_steps: int, start_step: int, batch_size: int, shown: bool = True):
        super().__init__()
        self.shown = shown
        self.batch_size = batch_size
        self.bar = tqdm(
            total=total_steps * batch_size,
            initial=start_step * batch_size,
            unit="img",
            mininterval=0.5,  # below the second between two reads
            smoothing=0.05,
            disable=not shown,
        )
        self.started = False
        self.uncounted = 0  # steps

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.uncounted += 1
        if logs:
            if not self.started:  # the first step traces the graph and says nothing about speed
                self.bar.unpause()
                self.started = True
            self._count()
            self.bar.set_postfix(
                loss=f"{logs['loss']:.4g}", score=f"{logs['score']:.3f}", refresh=False
            )

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._count()  # the figures of an epoch are read at its end

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        self.bar.unpause()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._count()
        values = [f"{name} {value:.4g}" for name, value in (logs or {}).items()]
        if self.shown:
            self.bar.write(f"epoch {epoch + 1}: {', '.join(values)}")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.close()

    def _count(self) -> None:
        self.bar.update(self.uncounted * self.batch_size)
        self.uncounted = 0

    def close(self) -> None:
        """End the bar's line; may be called twice."""
        self.bar.close()


class StopAtNaN(keras.callbacks.Callback):
    """Callback that raises InputError if a loss is not finite: the step, its products, remedies.

    It must precede `Checkpoints` in the callbacks. Losses are checked when they are read, which may
    be some steps later: the error still names the first step whose loss was not finite, and before
    each save all losses are read.

    A step's loss is computed from the weights before the step; `require_finite` also checks the
    weights after the last step.
    """

    def __init__(
        self, records: str | Path, manifest: Manifest, config: Config, figures: StepFigures
    ):
        super().__init__()
        self.records = records
        self.manifest = manifest
        self.config = config
        self.figures = figures

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if logs:
            self._require_finite_loss(logs)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._require_finite_loss(self.figures.read())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._require_finite_loss(self.figures.read())
        if not math.isfinite((logs or {}).get("val_loss", 0.0)):
            raise self._error("the validation loss is not finite after the epoch")

    def require_finite(self) -> None:
        """Raise InputError if a loss so far, or a weight after the last step, is not finite."""
        self._require_finite_loss(self.figures.read())
        for variable in self.model.network.variables:
            values = tf.convert_to_tensor(variable)
            if values.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(values)):
                raise self._error(f"the weights {variable.name} are not finite after the step")

    def _require_finite_loss(self, logs: dict[str, float]) -> None:
        # the loss is a mean over the epoch: after the first step that is not finite, none is
        if not math.isfinite(logs.get("loss", 0.0)):
            losses = self.figures.losses()
            finite = sum(map(math.isfinite, losses))
            raise self._error("the loss is not finite", steps_ago=len(losses) - finite - 1)

    def _error(self, problem: str, steps_ago: int = 0) -> InputError:
        step, train = steps_done(self.model.optimizer) - steps_ago, self.config.train
        batch = dataset.product_ids(
            self.records, self.manifest, self.config.data, train.seed, step - 1
        )
        products = list(dict.fromkeys(batch))  # a product with several photos once
        more = f" and {len(products) - NAMED} more" if len(products) > NAMED else ""
        return InputError(
            f"step {step}: {problem}; its batch contains the products {', '.join(products[:NAMED])}"
            f"{more}; in a new run directory, try {_remedies(train)}"
        )


def _remedies(train: TrainConfig) -> str:
    tips = [
        f"a train.learning_rate below {train.learning_rate:g}",
        f"train.clip_norm={train.clip_norm / 10 or 1:g}",
        f"train.warmup_epochs={train.warmup_epochs + 1:g}",
        *["train.precision=float32"] * (train.precision != "float32"),
    ]
    return ", ".join(tips[:-1]) + f" or {tips[-1]}"
