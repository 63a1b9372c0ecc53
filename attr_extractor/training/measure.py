"""The training step on made-up pixels: what the network costs when input costs nothing."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.model import network
from attr_extractor.schema import Schema
from attr_extractor.training import schedule
from attr_extractor.training.step import TrainingModel


def measure_step(
    config: Config, schema: Schema, steps: int = 20, warmup: int = 3
) -> dict[str, Any]:
    """Times training steps of a config on one fixed random batch.

    Returns:
      `first_step_s` (tracing included), `median_step_s`, `images_per_second`, `parameters`.
    """
    keras.mixed_precision.set_global_policy(config.train.precision)
    keras.utils.set_random_seed(config.train.seed)
    model = TrainingModel(network.build(schema, config), schema, config)
    model.compile(optimizer=schedule.make_optimizer(config.train, steps), jit_compile=False)
    generator = np.random.default_rng(config.train.seed)
    size, batch_size = config.data.image_size, config.data.batch_size
    labels = generator.integers(-1, 2, [batch_size, schema.num_values], dtype=np.int8)
    batch = {
        "pixels": generator.integers(0, 256, [batch_size, size, size, 3], dtype=np.uint8),
        "labels": labels,
    }
    batches = iter(tf.data.Dataset.from_tensors(batch).cache().repeat())
    train = model.make_train_function()
    seconds = []
    for _ in range(1 + warmup + steps):
        start = time.perf_counter()
        float(train(batches)["loss"])  # waits for the device
        seconds.append(time.perf_counter() - start)
    median = float(np.median(seconds[1 + warmup :]))
    return {
        "first_step_s": seconds[0],
        "median_step_s": median,
        "images_per_second": batch_size / median,
        "parameters": int(model.network.count_params()),
    }
