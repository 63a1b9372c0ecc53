"""Benchmark of attr_extractor's bare training step, for `bench.py --what=step`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.model import network
from attr_extractor.records import words
from attr_extractor.schema import Schema
from attr_extractor.training import schedule
from attr_extractor.training.loop import Step, on_replicas
from attr_extractor.training.step import TrainingModel
from benchmarks import timing


def run(
    config: Config, schema: Schema, steps: int, records: str | None = None
) -> tuple[list[float], int]:
    """Return the seconds of timing.time_steps and the number of trained parameters."""
    model, step = make_step(config, schema, steps)
    return time_on_batch(step, made_up_batches(config, schema), steps), parameters(model)


def make_step(config: Config, schema: Schema, steps: int) -> tuple[TrainingModel, Step]:
    """Return an untrained model and the step function of the training loop."""
    keras.utils.set_random_seed(config.train.seed)
    built = network.build(schema, config, precision=config.train.precision)
    model = TrainingModel(built, schema, config)
    model.compile(optimizer=schedule.make_optimizer(config.train, steps, built), jit_compile=False)
    return model, on_replicas(tf.distribute.get_strategy(), model.train_step)


def made_up_batches(config: Config, schema: Schema) -> tf.data.Dataset:
    """Return one batch of timing.made_up_batch, with `text` if the config reads it."""
    batch = timing.made_up_batch(config, schema)
    if config.model.context.text:
        batch["text"] = made_up_pieces(config)
    return tf.data.Dataset.from_tensors(batch)


def made_up_pieces(config: Config) -> np.ndarray:
    """Return `words.pieces` of full length, int32 [B, W, P]."""
    generator = np.random.default_rng(config.train.seed)
    shape = [config.data.batch_size, words.WORDS, words.PIECES]
    return generator.integers(1, words.BUCKETS, shape, np.int32)


def time_on_batch(step: Callable, batch: tf.data.Dataset, steps: int) -> list[float]:
    """Return the seconds of timing.time_steps over one batch, repeated."""
    batches = iter(batch.cache().repeat())
    return timing.time_steps(lambda: float(step(batches)["loss"]), steps)


def parameters(model: Any) -> int:
    """Return the number of trainable parameters of a Keras model."""
    return sum(variable.shape.num_elements() for variable in model.trainable_variables)
