"""MixUp and CutMix with masked labels: each photo of a batch is mixed with a partner.

The loss of a mixed photo is share x loss(its labels) + (1 - share) x loss(its partner's labels), as
in Zhang et al. 2018 (MixUp) and Yun et al. 2019 (CutMix). The labels themselves are never mixed, so
a label that is missing for one of the two photos is masked for that photo only. Shares are uniform
in 0 .. 1, which is Beta(1, 1).
"""

from __future__ import annotations

import tensorflow as tf

from attr_extractor.config import AugmentationConfig


def partners(batch: tf.Tensor) -> tf.Tensor:
    """Return each sample's partner: the reversed batch, since its order is already random."""
    return tf.reverse(batch, [0])


def mix(
    photos: tf.Tensor, config: AugmentationConfig, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mix each photo with its partner, or leave it unchanged.

    Args:
      photos: float32 [B, H, W, 3].
      seed: int [2].

    Returns:
      the photos, and float32 [B]: the share of each that comes from the original photo.
    """
    seeds = tf.random.experimental.stateless_split(seed, 3)
    batch, others = tf.shape(photos)[0], partners(photos)
    kind = tf.random.stateless_uniform([batch], seeds[0])
    blended, cut = kind < config.mixup, kind >= 1.0 - config.cutmix  # [B]
    own = tf.random.stateless_uniform([batch], seeds[1])  # [B]

    blend = tf.where(blended, own, 1.0)  # [B]
    photos = others + blend[:, tf.newaxis, tf.newaxis, tf.newaxis] * (photos - others)
    sides = tf.sqrt(1.0 - own)[:, tf.newaxis]  # [B, 1]
    pasted = _rectangles(photos, sides, seeds[2]) & cut[:, tf.newaxis, tf.newaxis]  # [B, H, W]
    photos = tf.where(pasted[..., tf.newaxis], others, photos)
    # a rectangle clipped at an edge covers less than its drawn size
    covered = tf.reduce_mean(tf.cast(pasted, tf.float32), axis=[1, 2])  # [B]
    return photos, tf.where(blended, own, 1.0 - covered)


def _rectangles(photos: tf.Tensor, sides: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw a mask with one rectangle per photo, centred anywhere and clipped at the edges.

    Args:
      photos: [B, H, W, 3].
      sides: float32 [B, 1], ratio of the rectangles' sides to the photos' sides.
      seed: int [2].

    Returns:
      bool [B, H, W].
    """
    batch, height, width = tf.unstack(tf.shape(photos)[:3])
    centres = tf.random.stateless_uniform([2, batch, 1], seed)  # as fractions of height, width

    def within(length: tf.Tensor, centre: tf.Tensor) -> tf.Tensor:  # bool [B, length]
        middle = (tf.range(length, dtype=tf.float32) + 0.5) / tf.cast(length, tf.float32)
        return tf.abs(middle - centre) < sides / 2

    rows, columns = within(height, centres[0]), within(width, centres[1])
    return rows[:, :, tf.newaxis] & columns[:, tf.newaxis, :]
