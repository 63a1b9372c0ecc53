"""Learned correlations between attributes, which the paper leaves to future work.

    z' = z + W2 relu(W1 sigmoid(z) + b1)

with W1 [V, R] and W2 [R, V], so the cost grows with V * R and not with V * V. W2 is initialised to
0, so the layer starts as the identity: a network without it equals one whose W2 stays 0.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.utils.register_keras_serializable("attr_extractor")
class Correlation(keras.layers.Layer):
    """Low-rank correction of logits: [B, V] -> [B, V], float32.

    Args:
      rank: R.
    """

    def __init__(self, rank: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.rank = rank

    def build(self, input_shape: Any) -> None:
        values = int(input_shape[-1])
        self.kernel1 = self.add_weight(
            name="kernel1", shape=[values, self.rank], initializer="glorot_uniform"
        )
        self.bias1 = self.add_weight(name="bias1", shape=[self.rank], initializer="zeros")
        self.kernel2 = self.add_weight(
            name="kernel2", shape=[self.rank, values], initializer="zeros"
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        scores = tf.cast(tf.sigmoid(inputs), self.compute_dtype)  # [B, V]
        hidden = tf.nn.relu(tf.matmul(scores, self.kernel1) + self.bias1)  # [B, R]
        change = tf.matmul(hidden, self.kernel2)  # [B, V]
        return tf.cast(inputs, tf.float32) + tf.cast(change, tf.float32)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rank": self.rank}
