"""Grad-CAM: where in a photo the evidence for a value is (figure 6 of the paper).

Selvaraju et al. 2017, equation 2: the positive part of the sum over channels of weight times map.
Three things are ours, because with theirs heat is hardly better placed than by chance; figures:
`bench.py --what=grad_cam`.

The weights are the gradients themselves, position by position, not their means (HiResCAM, Draelos
and Carin 2020; the same where the map is pooled next): the transformer block reads few positions,
so a channel's mean gradient says little of them. After the block a position holds what it read
elsewhere, and heat there is of no place at all.

The maps of several resolutions are added, each in shares of the logit per area: the last map is
coarse and its positions see half the photo. Stages that `model.fuse_stages` pools are among them,
unless they are finer than GRID.

Of an exclusive attribute the log-odds are explained, the logit minus logsumexp of the other values'
logits: what v-neck and round neck have in common, such as being a shirt, is evidence for neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attr_extractor.model.network import Network

GRID = 28  # positions of the heat a side; with half as many a neckline is one of them
_NEVER = -1e9  # a logit that adds nothing to logsumexp, and no infinite gradient either


def maps_of(network: Network) -> list[Any]:
    """The trunk's maps from the coarsest that is as fine as GRID to the last, symbolic."""
    learned = [each for each in network.maps if each.shape[-1] > 3]  # not the pixels themselves
    fine = [each for each in learned if each.shape[1] >= GRID]
    return learned[max(0, len(fine) - 1) :]


class GradCam:
    """Heat of any value in any photo: one forward and one backward pass for each pair of them.

    It holds the network's own layers, so its weights are those that are exported, and stock
    operations only: `heats` may stand in a served graph.

    Args:
      maps: symbolic [B, h, w, D] or [B, N, D]; by default `maps_of` the network.
      mean_weights: weigh channels by the mean of their gradients, as Selvaraju et al. do.
    """

    def __init__(
        self, network: Network, maps: Sequence[Any] | None = None, mean_weights: bool = False
    ):
        schema = network.schema
        outputs = [*(maps_of(network) if maps is None else maps), network.logits.outputs[0]]
        self._model = keras.Model(network.logits.inputs, outputs, name="grad-cam")
        self._mean_weights = mean_weights
        self._owner = schema.attribute_of_value
        rivals = [a.exclusive and len(a.values) > 1 for a in schema.attributes]
        self._has_rivals = np.repeat(rivals, schema.sizes)
        self.heats = tf.function(self._heats, reduce_retracing=True)

    def _heats(self, pixels: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """Heat of a value in a photo.

        Args:
          pixels: uint8 [P, H, W, 3], the model's; a photo of several values stands there as often.
          values: int32 [P], each among the V.

        Returns:
          float32 [P, GRID, GRID], 0 or more, in shares of the logit or log-odds per area.
        """
        with tf.GradientTape() as tape:
            *maps, logits = self._model(pixels, training=False)  # [P, h, w, D] each, [P, V]
            # a pair's target depends on its own photo only, so the sum has every pair's gradient
            total = tf.reduce_sum(self._targets(logits, values))
        gradients = tape.gradient(total, maps)
        heat = tf.add_n([self._contribution(*pair) for pair in zip(maps, gradients)])
        # single positions are noise: a mean over neighbours is better placed, and read
        return tf.nn.relu(tf.nn.avg_pool2d(heat, 3, 1, "SAME"))[..., 0]  # [P, GRID, GRID]

    def _contribution(self, activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
        """Equation 2 before its ReLU, per area: [P, h, w, D] twice -> [P, GRID, GRID, 1]."""
        places = list(range(1, len(activations.shape) - 1))
        if self._mean_weights:
            gradients = tf.reduce_mean(gradients, axis=places, keepdims=True)
        shares = tf.reduce_sum(gradients * activations, axis=-1)  # [P, h, w] or [P, N]
        positions = math.prod(activations.shape[place] for place in places)
        side = math.isqrt(positions)  # the model's pixels are square
        # a position of a coarse map stands for more of the photo than one of a fine map
        density = positions * tf.reshape(shares, [-1, side, side, 1])  # [P, h, w, 1]
        return tf.image.resize(density, [GRID, GRID], antialias=True)

    def _targets(self, logits: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """What is explained, [P]: log-odds of an exclusive attribute's value, else its logit."""
        own = tf.gather(logits, values, batch_dims=1)  # [P]
        same = tf.gather(self._owner, values)[:, tf.newaxis] == self._owner  # [P, V]
        others = same & (values[:, tf.newaxis] != tf.range(len(self._owner)))  # [P, V]
        rest = tf.reduce_logsumexp(tf.where(others, logits, _NEVER), axis=1)  # [P]
        return own - tf.where(tf.gather(self._has_rivals, values), rest, 0.0)
