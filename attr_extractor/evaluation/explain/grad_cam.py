"""Grad-CAM: where in a photo the evidence for a value is (figure 6 of the paper).

Selvaraju et al. 2017, equation 2: the positive part of the sum over channels of weight times map.
This implementation differs in three points, because the original places heat hardly better than
chance; for figures run `bench.py --what=grad_cam`.

The weights are the gradients themselves, position by position, not their means (HiResCAM, Draelos
and Carin 2020; identical if the map is pooled next). The transformer block reads few positions, so
a channel's mean gradient says little about them. After the block, a position contains features
from other positions, so heat there has no location.

Maps of several resolutions are added, each in shares of the logit per area, because the last map
is coarse and each of its positions sees half the photo. Stages pooled by `model.fuse_stages` are
included, unless they are finer than GRID.

For an exclusive attribute the log-odds are explained: the logit minus the logsumexp of the other
values' logits. A feature that v-neck and round neck share, such as being a shirt, is evidence for
neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attr_extractor.model.network import Network

GRID = 28  # positions per side of the heat map; with half as many, a neckline is one position
_NEVER = -1e9  # a logit that adds nothing to logsumexp; finite, so that gradients are finite


def maps_of(network: Network) -> list[Any]:
    """Return the trunk's symbolic maps, from the coarsest at least as fine as GRID to the last."""
    learned = [each for each in network.maps if each.shape[-1] > 3]  # excludes the input pixels
    fine = [each for each in learned if each.shape[1] >= GRID]
    return learned[max(0, len(fine) - 1) :]


class GradCam:
    """Heat maps of any value in any photo: one forward and one backward pass per pair.

    It shares the network's layers, so its weights are the exported ones. It uses stock operations
    only, so `heats` can be part of a served graph.

    Args:
      maps: symbolic [B, h, w, D] or [B, N, D]; by default `maps_of` the network.
      mean_weights: weight channels by the mean of their gradients, as Selvaraju et al. do.
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
        """Compute the heat of a value in a photo, for P pairs.

        Args:
          pixels: uint8 [P, H, W, 3], the model's input; a photo is repeated for each of its values.
          values: int32 [P], indices among the V.

        Returns:
          float32 [P, GRID, GRID], at least 0, in shares of the logit or log-odds per area.
        """
        with tf.GradientTape() as tape:
            *maps, logits = self._model(pixels, training=False)  # [P, h, w, D] each, [P, V]
            # a pair's target depends on its own photo only, so one sum gives all gradients
            total = tf.reduce_sum(self._targets(logits, values))
        gradients = tape.gradient(total, maps)
        heat = tf.add_n([self._contribution(*pair) for pair in zip(maps, gradients)])
        # single positions are noisy: a mean over neighbours is more accurate and easier to read
        return tf.nn.relu(tf.nn.avg_pool2d(heat, 3, 1, "SAME"))[..., 0]  # [P, GRID, GRID]

    def _contribution(self, activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
        """Compute equation 2 before its ReLU, per area: 2 x [P, h, w, D] -> [P, GRID, GRID, 1]."""
        places = list(range(1, len(activations.shape) - 1))
        if self._mean_weights:
            gradients = tf.reduce_mean(gradients, axis=places, keepdims=True)
        shares = tf.reduce_sum(gradients * activations, axis=-1)  # [P, h, w] or [P, N]
        positions = math.prod(activations.shape[place] for place in places)
        side = math.isqrt(positions)  # the model's pixels are square
        # a position of a coarse map covers more of the photo than a position of a fine map
        density = positions * tf.reshape(shares, [-1, side, side, 1])  # [P, h, w, 1]
        return tf.image.resize(density, [GRID, GRID], antialias=True)

    def _targets(self, logits: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """Return the explained quantity, [P]: log-odds for exclusive attributes, else logits."""
        own = tf.gather(logits, values, batch_dims=1)  # [P]
        same = tf.gather(self._owner, values)[:, tf.newaxis] == self._owner  # [P, V]
        others = same & (values[:, tf.newaxis] != tf.range(len(self._owner)))  # [P, V]
        rest = tf.reduce_logsumexp(tf.where(others, logits, _NEVER), axis=1)  # [P]
        return own - tf.where(tf.gather(self._has_rivals, values), rest, 0.0)
