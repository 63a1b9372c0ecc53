"""Benchmark of attr_extractor's bare training step, for `bench.py --what=step`."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.model import network
from attr_extractor.schema import Schema
from attr_extractor.training import schedule
from attr_extractor.training.step import TrainingModel
from benchmarks import timing


def run(
    config: Config, schema: Schema, steps: int, records: str | None = None
) -> tuple[list[float], int]:
    """Return the seconds of timing.time_steps and the number of trained parameters."""
    keras.utils.set_random_seed(config.train.seed)
    built = network.build(schema, config, precision=config.train.precision)
    model = TrainingModel(built, schema, config)
    model.compile(optimizer=schedule.make_optimizer(config.train, steps, built), jit_compile=False)
    batch = tf.data.Dataset.from_tensors(timing.made_up_batch(config, schema))
    return time_keras(model, batch, steps), parameters(model)


def time_keras(model: Any, batch: tf.data.Dataset, steps: int) -> list[float]:
    """Return the seconds of timing.time_steps over one batch, with `fit`'s step function."""
    batches = iter(batch.cache().repeat())
    model.make_train_function()
    return timing.time_steps(lambda: float(model.train_function(batches)["loss"]), steps)


def parameters(model: Any) -> int:
    """Return the number of trainable parameters of a Keras model."""
    return sum(variable.shape.num_elements() for variable in model.trainable_variables)
