"""Random augmentation of training photos: `affine`, `colour`, then `mixing` with another photo.

All randomness is a pure function of the given seed, so a resumed run repeats a step exactly.
"""

from __future__ import annotations

import tensorflow as tf

from attr_extractor.config import AugmentationConfig
from attr_extractor.model.augmentation import affine, colour


def augment(
    pixels: tf.Tensor, config: AugmentationConfig, seed: tf.Tensor, compiled: bool = True
) -> tf.Tensor:
    """Move photos randomly and change their colours; `mixing.mix` is a step of its own.

    Args:
      pixels: uint8 [B, H, W, 3].
      seed: int32 or int64 [2], for example (run seed, step).
      compiled: whether XLA compiles the resampling.

    Returns:
      float32 [B, H, W, 3] in 0 .. 255.
    """
    if not config.enabled:
        return tf.cast(pixels, tf.float32)
    batch, height, width = tf.unstack(tf.shape(pixels)[:3])
    seeds = tf.random.experimental.stateless_split(seed, 2)
    matrices = affine.random_matrices(batch, height, width, config, seeds[0])  # [B, 3, 3]
    photos = affine.resample(pixels, matrices, config.fill_mode, compiled)  # [B, H, W, 3]
    photos = colour.adjust(photos, config, seeds[1])
    policy_seed = tf.random.experimental.stateless_fold_in(seeds[1], 0)
    return colour.rand_augment(photos, config.rand_operations, config.rand_magnitude, policy_seed)
