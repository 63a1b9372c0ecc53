"""The one seam to tensorflow-addons: affine resampling of a batch of photos."""

from __future__ import annotations

import functools
import importlib
import warnings
from types import ModuleType

import tensorflow as tf


def resample(photos: tf.Tensor, matrices: tf.Tensor, fill_mode: str) -> tf.Tensor:
    """Each output pixel read, bilinearly, from where its photo's matrix puts it.

    Args:
      photos: [B, H, W, C] of any float type.
      matrices: float32 [B, 3, 3], from output (x, y, 1) to input, last row (0, 0, 1).
      fill_mode: what lies outside: `nearest`, `reflect`, or `constant` (black).

    Returns:
      The same shape and dtype.
    """
    eight = tf.reshape(matrices, [-1, 9])[:, :8]  # [B, 8]: the ninth entry is 1
    # the op knows no bfloat16
    wide = tf.cast(photos, tf.float32)
    moved = _addons().image.transform(wide, eight, interpolation="bilinear", fill_mode=fill_mode)
    return tf.cast(tf.ensure_shape(moved, photos.shape), photos.dtype)


@functools.cache
def _addons() -> ModuleType:
    with warnings.catch_warnings():
        # it announces the end of its development at every import; the pin knows
        warnings.simplefilter("ignore", UserWarning)
        return importlib.import_module("tensorflow_addons")
