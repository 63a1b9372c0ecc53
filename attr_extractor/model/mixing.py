"""MixUp and CutMix under the mask: photos of a batch in pairs, each with a share of the other.

The loss of a mixed photo is share x loss(its labels) + (1 - share) x loss(the other's labels), as
in Zhang et al. 2018 (MixUp) and Yun et al. 2019 (CutMix). Labels themselves are never mixed, so a
label that is missing on one side is masked on that side alone. Shares are uniform in 0 .. 1, which
is Beta(1, 1).
"""

from __future__ import annotations

import tensorflow as tf

from attr_extractor.config import Augmentation


def partners(batch: tf.Tensor) -> tf.Tensor:
    """What each sample is mixed with: the batch in reverse, whose order is random already."""
    return tf.reverse(batch, [0])


def mix(photos: tf.Tensor, config: Augmentation, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mix each photo with its partner, or leave it as it is.

    Args:
      photos: float32 [B, H, W, 3].
      seed: int [2].

    Returns:
      the photos, and float32 [B]: the share of each that is its own.
    """
    batch, height, width = tf.unstack(tf.shape(photos)[:3])
    seeds = tf.random.experimental.stateless_split(seed, 3)
    kind = tf.random.stateless_uniform([batch], seeds[0])
    blended, cut = kind < config.mixup, kind >= 1.0 - config.cutmix  # [B]
    share = tf.random.stateless_uniform([batch], seeds[1])  # [B]
    others = partners(photos)

    side = tf.sqrt(1.0 - share)[:, tf.newaxis]  # [B, 1], of the rectangle, of the photo's
    centres = tf.random.stateless_uniform([2, batch, 1], seeds[2])  # in heights, in widths

    def within(length: tf.Tensor, centre: tf.Tensor) -> tf.Tensor:  # bool [B, length]
        middle = (tf.range(length, dtype=tf.float32) + 0.5) / tf.cast(length, tf.float32)
        return tf.abs(middle - centre) < side / 2

    rows, columns = within(height, centres[0]), within(width, centres[1])
    inside = rows[:, :, tf.newaxis] & columns[:, tf.newaxis, :] & cut[:, tf.newaxis, tf.newaxis]
    covered = tf.reduce_mean(tf.cast(inside, tf.float32), axis=[1, 2])  # [B], at an edge less
    photos_share = tf.where(blended, share, 1.0)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    photos = others + photos_share * (photos - others)
    photos = tf.where(inside[..., tf.newaxis], others, photos)
    return photos, tf.where(blended, share, 1.0 - covered)
