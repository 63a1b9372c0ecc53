"""Attention maps of the transformer block's heads, a complement to Grad-CAM.

A map belongs to a photo, not to a value, because the block precedes the branches. Grad-CAM shows
where the evidence for a value is; an attention map shows which positions the others attend to.
"""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from attr_extractor.model.attention import TransformerBlock
from attr_extractor.model.network import FEATURE_MAP, Network


class AttentionMaps:
    """Attention of each head to each position of a photo.

    Raises:
      ValueError: if the network has no transformer block; see `is_possible`.
    """

    def __init__(self, network: Network):
        model = network.logits
        (self._block,) = (each for each in model.layers if isinstance(each, TransformerBlock))
        self._before = keras.Model(model.inputs, model.get_layer(FEATURE_MAP).output)
        self.attended = tf.function(self._attended, reduce_retracing=True)

    @staticmethod
    def is_possible(network: Network) -> bool:
        """Return whether the network has a transformer block."""
        return any(isinstance(each, TransformerBlock) for each in network.logits.layers)

    def _attended(self, pixels: tf.Tensor) -> tf.Tensor:
        """Return the attention weights averaged over all query positions.

        Args:
          pixels: uint8 [B, H, W, 3], the model's input.

        Returns:
          float32 [B, heads, h, w]; the weights of each head sum to 1.
        """
        positions = self._before(pixels, training=False)  # [B, N, D]
        mean = tf.reduce_mean(self._block.attention(positions), axis=2)  # [B, heads, N]
        side = math.isqrt(positions.shape[1])  # the model's pixels are square
        return tf.reshape(mean, [-1, self._block.num_heads, side, side])
