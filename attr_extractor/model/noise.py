"""Dropout whose noise is a pure function of the step's seed.

Keras' own layers draw from a state that a resumed run does not have; EfficientNet-B0 alone contains
nine of them. With the layers of this module, a repeated step has the same noise.
"""

from __future__ import annotations

import contextlib
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

_here = threading.local()  # a distributed step is traced in one thread per replica


@contextlib.contextmanager
def keyed(seed: tf.Tensor) -> Iterator[None]:
    """Within this context, layers called in training draw their noise from `seed`, int [2].

    Without it they draw from TensorFlow's own generators, as Keras' layers do.
    """
    before = getattr(_here, "seed", None)
    _here.seed = seed
    try:
        yield
    finally:
        _here.seed = before


def step_seed(name: str) -> tf.Tensor | None:
    """Return the seed, int [2], of one layer's noise in this step; None outside of `keyed`."""
    seed = getattr(_here, "seed", None)
    if seed is None:
        return None
    return tf.random.experimental.stateless_fold_in(seed, zlib.crc32(name.encode()))


@keras.utils.register_keras_serializable("attr_extractor")
class Dropout(keras.layers.Layer):
    """Dropout: in training, a part of the input is zeroed and the rest scaled by 1 / (1 - rate).

    Args:
      rate: share that is zeroed.
      noise_shape: as for Keras' Dropout; [None, 1, 1, 1] drops whole photos of a residual branch.
    """

    def __init__(self, rate: float, noise_shape: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = rate
        self.noise_shape = noise_shape

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not training or not self.rate:
            return inputs
        seed = step_seed(self.name)
        if seed is None:
            seed = tf.random.uniform([2], maxval=tf.int32.max, dtype=tf.int32)
        shape = tf.shape(inputs)
        if self.noise_shape is not None:
            given = enumerate(self.noise_shape)
            shape = [shape[i] if size is None else size for i, size in given]
        # drawn in float32: bfloat16 has only 256 numbers below 1
        kept = tf.random.stateless_uniform(shape, seed) >= self.rate
        return inputs * tf.cast(kept, inputs.dtype) / tf.cast(1.0 - self.rate, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "noise_shape": self.noise_shape}
