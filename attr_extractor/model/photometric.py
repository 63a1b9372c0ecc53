"""Optional colour augmentation: keras-cv's arithmetic, with our own stateless draws.

Only the documented `augment_images` of the layers is used, not their random state. A step's colours
therefore depend on the seed alone, and a resumed run repeats them.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
from types import ModuleType

import tensorflow as tf

from attr_extractor.config import AugmentationConfig

RANGE = (0.0, 255.0)


def adjust(photos: tf.Tensor, config: AugmentationConfig, seed: tf.Tensor) -> tf.Tensor:
    """Adjust brightness, contrast and saturation per photo; those at 0 in the config are skipped.

    Args:
      photos: float32 [B, H, W, 3] in 0 .. 255.
      seed: int [2].
    """
    seeds = tf.random.experimental.stateless_split(seed, 3)
    batch = tf.shape(photos)[0]

    def draw(index: int, limit: float) -> tf.Tensor:  # [B], uniform in 1 - limit .. 1 + limit
        return tf.random.stateless_uniform([batch], seeds[index], 1.0 - limit, 1.0 + limit)

    def wide(factor: tf.Tensor) -> tf.Tensor:  # [B, 1, 1, 1]
        return tf.reshape(factor, [-1, 1, 1, 1])

    if config.brightness:
        layer = keras_cv_layers().RandomBrightness(factor=config.brightness, value_range=RANGE)
        shift = (draw(0, config.brightness) - 1.0) * RANGE[1]
        photos = layer.augment_images(photos, transformations=wide(shift))
    if config.contrast:
        layer = keras_cv_layers().RandomContrast(value_range=RANGE, factor=config.contrast)
        photos = layer.augment_images(photos, transformations=wide(draw(1, config.contrast)))
    if config.saturation:
        layer = keras_cv_layers().RandomSaturation(factor=0.5)
        factor = draw(2, config.saturation)
        # the layer scales saturation by y / (1 - y), so y = factor / (1 + factor)
        photos = layer.augment_images(photos, transformations=factor / (1.0 + factor))
    return photos


@functools.cache
def keras_cv_layers() -> ModuleType:
    """Return keras-cv's layers, imported on first use."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its backend at import
        return importlib.import_module("keras_cv").layers
