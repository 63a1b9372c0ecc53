"""Schedules of a run: learning rates, photo sizes and the frozen trunk."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from attr_extractor.config import Config, TrainConfig
from attr_extractor.model import functional, keras_versions
from attr_extractor.model.network import Network
from attr_extractor.training.optimizer import FusedAdamW, Group

NOT_DECAYED = (
    *("bias", "gamma", "beta", "norm1", "norm2", "scale"),
    *("token", "embedding", "lambda1"),  # KerasHub's class tokens, positions and layer scales
)


@keras.utils.register_keras_serializable("attr_extractor")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate of a step.

    Args:
      kind: `constant`, `exponential` (a factor per whole epoch) or `cosine` (to 0 at the end).
      peak: learning rate before decay.
      decay: the factor per epoch of `exponential`.
      warmup_steps: steps of the initial linear rise to the peak.
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


class Phase(NamedTuple):
    """Steps with photos of one size, and with the trunk frozen or not."""

    first_step: int
    end_step: int
    image_size: int  # pixels
    trunk_frozen: bool
    is_last: bool


def phases(config: Config, steps_per_epoch: int) -> list[Phase]:
    """Return the phases of a run; a single one without `image_sizes` and `freeze_trunk_epochs`."""
    train = config.train
    sizes = train.image_sizes or {0: config.data.image_size}
    starts = sorted({*sizes, min(train.freeze_trunk_epochs, train.epochs)} - {train.epochs})
    result = []
    for start, end in zip(starts, [*starts[1:], train.epochs]):
        size = sizes[max(epoch for epoch in sizes if epoch <= start)]
        frozen = start < train.freeze_trunk_epochs
        steps = start * steps_per_epoch, end * steps_per_epoch
        result.append(Phase(*steps, size, frozen, end == train.epochs))
    return result


def make_optimizer(config: TrainConfig, steps_per_epoch: int, network: Network) -> FusedAdamW:
    """Build the optimizer of a config; biases and normalisation parameters are not decayed.

    The learning rate of the trunk's last layer is `trunk_rate` times that of the layers after the
    trunk. It decreases geometrically towards the trunk's first layer (discriminative fine-tuning,
    Howard and Ruder 2018). The blocks of a stack, as in a transformer's encoder, count as layers.
    """
    schedule = Schedule(
        kind=config.schedule,
        peak=config.learning_rate,
        decay=config.decay,
        warmup_steps=round(config.warmup_epochs * steps_per_epoch),
        steps_per_epoch=steps_per_epoch,
        total_steps=config.epochs * steps_per_epoch,
    )
    parts = (part for layer in network.trunk for part in functional.blocks(layer))
    layers = [part for part in parts if part.trainable_variables]
    rates = config.trunk_rate * np.geomspace(config.first_layer_rate, 1.0, len(layers))
    of_trunk = {
        id(variable): float(rate)
        for layer, rate in zip(layers, rates)
        for variable in layer.trainable_variables
    }

    for_context = network.evidence.trainable_variables if network.evidence else []
    others = {id(variable): config.context_rate for variable in for_context}

    def group(variable: Any) -> Group:
        decays = not any(word in variable.name for word in NOT_DECAYED)
        return Group(
            rate={**of_trunk, **others}.get(id(variable), 1.0),
            decay=config.weight_decay if decays else 0.0,
        )

    options = {"global_clipnorm": config.clip_norm or None, **keras_versions.optimizer_options()}
    optimizer = FusedAdamW(schedule, group, **options)
    optimizer.build(network.trained.trainable_variables)
    return optimizer
