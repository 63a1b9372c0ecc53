"""What the heads of the transformer block look at: a second view beside Grad-CAM.

It is of a photo, not of a value: the block comes before the branches. Where the photo's evidence
lies is said by Grad-CAM; this shows which positions the others take their evidence from.
"""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from attr_extractor.model.attention import TransformerBlock
from attr_extractor.model.network import FEATURE_MAP, Network


class AttentionMaps:
    """How much each head attends to each position of a photo.

    Raises:
      ValueError: the network has no transformer block; see `is_possible`.
    """

    def __init__(self, network: Network):
        model = network.logits
        (self._block,) = (each for each in model.layers if isinstance(each, TransformerBlock))
        self._before = keras.Model(model.inputs, model.get_layer(FEATURE_MAP).output)
        self.attended = tf.function(self._attended, reduce_retracing=True)

    @staticmethod
    def is_possible(network: Network) -> bool:
        """Whether the network has a transformer block."""
        return any(isinstance(each, TransformerBlock) for each in network.logits.layers)

    def _attended(self, pixels: tf.Tensor) -> tf.Tensor:
        """The mean over all positions that look, of what they attend to.

        Args:
          pixels: uint8 [B, H, W, 3], the model's.

        Returns:
          float32 [B, heads, h, w]; each head's sums to 1.
        """
        positions = self._before(pixels, training=False)  # [B, N, D]
        mean = tf.reduce_mean(self._block.attention(positions), axis=2)  # [B, heads, N]
        side = math.isqrt(positions.shape[1])  # the model's pixels are square
        return tf.reshape(mean, [-1, self._block.num_heads, side, side])
