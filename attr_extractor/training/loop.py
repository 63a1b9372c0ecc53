"""The loop over steps, validation and epochs, with Keras' callbacks, for every strategy.

It replaces Keras' `fit`, whose steps wait for the device: both versions convert the logs of every
step to numbers, and Keras 2 also reads its counter of steps per execution. Keras 3's `fit` does not
accept a dataset that is distributed over several workers. Here a step reads no number at all;
`StepFigures` decides when to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from attr_extractor.training.figures import StepFigures

Step = Callable[[Any], "dict[str, tf.Tensor]"]  # takes an iterator of batches


class Loop:
    """Training of one model; create it under the strategy of the run.

    Args:
      model: a TrainingModel.
      figures: receives the figures of every training step.
    """

    def __init__(self, model: Any, figures: StepFigures):
        self.model = model
        self.figures = figures
        self.strategy = tf.distribute.get_strategy()
        self.train_step = on_replicas(self.strategy, model.train_step)
        self.test_step = on_replicas(self.strategy, model.test_step)

    def fit(
        self,
        training: Any,
        epochs: Iterable[int],
        steps: int,
        validation: Any | None,
        validation_steps: int,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> None:
        """Train epochs of `steps` batches, each followed by a validation.

        The logs of a batch are empty unless they were read.

        Args:
          training: endless batches, a dataset or a distributed one.
          epochs: their numbers, for the callbacks.
          steps: per epoch.
          validation: `validation_steps` batches, or None.
        """
        hooks = keras.callbacks.CallbackList(list(callbacks), model=self.model)
        batches = iter(self._distributed(training))
        logs: dict[str, float] = {}
        hooks.on_train_begin()
        for epoch in epochs:
            self.model.reset_metrics()
            hooks.on_epoch_begin(epoch)
            for step in range(steps):
                hooks.on_train_batch_begin(step)
                self.figures.add(self.train_step(batches))
                hooks.on_train_batch_end(step, self.figures.read_if_due())
            logs = self.figures.read()
            if validation is not None:
                validated = self._validate(validation, validation_steps, hooks)
                logs.update({f"val_{name}": value for name, value in validated.items()})
            hooks.on_epoch_end(epoch, logs)
        hooks.on_train_end(logs)

    def _validate(self, validation: Any, steps: int, hooks: Any) -> dict[str, float]:
        hooks.on_test_begin()  # the metrics still contain the epoch's training figures
        self.model.reset_metrics()
        batches, figures = iter(self._distributed(validation)), {}
        for _ in range(steps):
            figures = self.test_step(batches)
        logs = {name: float(value) for name, value in figures.items()}
        hooks.on_test_end(logs)
        return logs

    def _distributed(self, batches: Any) -> Any:
        """Split the batches among the replicas; those of several workers are split already."""
        if isinstance(batches, tf.data.Dataset):
            return self.strategy.experimental_distribute_dataset(batches)
        return batches


def on_replicas(strategy: tf.distribute.Strategy, step: Callable) -> Step:
    """Return a graph function that runs a step of a model on the next batch of an iterator.

    The figures are computed from sums over all replicas: those of the first replica are returned.
    """

    @tf.function
    def run(batches: Any) -> dict[str, tf.Tensor]:
        figures = strategy.run(step, args=(next(batches),))
        return {
            name: strategy.experimental_local_results(value)[0] for name, value in figures.items()
        }

    return run
