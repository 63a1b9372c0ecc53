"""Learning rates: the paper's decay of 0.75 per epoch, and warm-up with cosine."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from attr_extractor.config import Training


@keras.utils.register_keras_serializable("attr_extractor")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate of a step.

    Args:
      kind: `constant`, `exponential` (a factor per whole epoch) or `cosine` (to 0 at the end).
      peak: learning rate before decay.
      decay: the factor per epoch of `exponential`.
      warmup_steps: linear rise to the peak first.
      steps_per_epoch, total_steps: optimizer steps.
    """

    def __init__(
        self,
        kind: str,
        peak: float,
        decay: float,
        warmup_steps: int,
        steps_per_epoch: int,
        total_steps: int,
    ):
        self.kind = kind
        self.peak = peak
        self.decay = decay
        self.warmup_steps = warmup_steps
        self.steps_per_epoch = steps_per_epoch
        self.total_steps = total_steps

    def __call__(self, step: Any) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        rate = tf.constant(self.peak, tf.float32)
        if self.kind == "exponential":
            rate *= self.decay ** tf.floor(step / self.steps_per_epoch)
        elif self.kind == "cosine":
            span = max(1, self.total_steps - self.warmup_steps)
            progress = tf.clip_by_value((step - self.warmup_steps) / span, 0.0, 1.0)
            rate *= 0.5 * (1.0 + tf.cos(math.pi * progress))
        if self.warmup_steps:
            rate *= tf.minimum(1.0, (step + 1.0) / self.warmup_steps)
        return rate

    def get_config(self) -> dict[str, Any]:
        return dict(vars(self))


def make_optimizer(config: Training, steps_per_epoch: int) -> Any:
    """The Keras optimizer of a config; biases and normalisation parameters are not decayed."""
    schedule = Schedule(
        kind=config.schedule,
        peak=config.learning_rate,
        decay=config.decay,
        warmup_steps=round(config.warmup_epochs * steps_per_epoch),
        steps_per_epoch=steps_per_epoch,
        total_steps=config.epochs * steps_per_epoch,
    )
    options: dict[str, Any] = {"global_clipnorm": config.clip_norm or None}
    if keras.__version__.startswith("2."):
        options["jit_compile"] = config.jit_compile  # its own default is XLA wherever a GPU is
    if config.optimizer == "adam":
        return keras.optimizers.Adam(schedule, **options)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay, **options)
    optimizer.exclude_from_weight_decay(
        var_names=["bias", "gamma", "beta", "norm1", "norm2", "scale"]
    )
    return optimizer
