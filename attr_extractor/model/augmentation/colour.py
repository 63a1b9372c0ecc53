"""Optional colour augmentation: brightness, contrast and saturation, and RandAugment.

RandAugment (Cubuk et al. 2020) draws a few operations for each photo, all at one magnitude. The six
colour operations of keras-cv's policy are used; its shears and shifts are part of the affine map.
As in keras-cv, one of eleven draws does nothing, and magnitudes vary slightly around the given one.

The arithmetic is that of keras-cv's layers, by their documented `augment_images`; the draws are our
own stateless ones. A step's colours therefore depend on the seed alone, and a resumed run repeats
them.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
from collections.abc import Callable
from types import ModuleType

import tensorflow as tf

from attr_extractor.config import AugmentationConfig

RANGE = (0.0, 255.0)
_SPREAD = 0.15  # standard deviation of a photo's magnitude
_IDLE = 1 / 11  # share of the draws that leave a photo unchanged
_MOST_ADDED = 110.0  # by solarisation, of 255: more would destroy most of a photo


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

    if config.brightness:
        layer = keras_cv_layers().RandomBrightness(factor=config.brightness, value_range=RANGE)
        shift = (draw(0, config.brightness) - 1.0) * RANGE[1]
        photos = layer.augment_images(photos, transformations=_wide(shift))
    if config.contrast:
        layer = keras_cv_layers().RandomContrast(value_range=RANGE, factor=config.contrast)
        photos = layer.augment_images(photos, transformations=_wide(draw(1, config.contrast)))
    if config.saturation:
        layer = keras_cv_layers().RandomSaturation(factor=0.5)
        factor = draw(2, config.saturation)
        # the layer scales saturation by y / (1 - y), so y = factor / (1 + factor)
        photos = layer.augment_images(photos, transformations=factor / (1.0 + factor))
    return photos


def rand_augment(
    photos: tf.Tensor, operations: int, magnitude: float, seed: tf.Tensor
) -> tf.Tensor:
    """Apply randomly drawn operations to each photo.

    Args:
      photos: float32 [B, H, W, 3] in 0 .. 255.
      operations: number of operations drawn for each photo, applied in sequence.
      magnitude: 0 .. 1, the mean over the photos.
      seed: int [2].

    Returns:
      float32 [B, H, W, 3] in 0 .. 255.
    """
    for number in range(operations):
        photos = _apply_operation(
            photos, magnitude, tf.random.experimental.stateless_fold_in(seed, number)
        )
    return photos


def _apply_operation(photos: tf.Tensor, magnitude: float, seed: tf.Tensor) -> tf.Tensor:
    batch = tf.shape(photos)[0]
    seeds = tf.random.experimental.stateless_split(seed, 4)
    count = len(_OPERATIONS)
    drawn = tf.random.stateless_uniform([batch], seeds[0], maxval=count, dtype=tf.int32)
    idle = tf.random.stateless_uniform([batch], seeds[1]) < _IDLE
    strengths = magnitude + _SPREAD * tf.random.stateless_normal([batch], seeds[2])
    strengths = tf.clip_by_value(strengths, 0.0, 1.0)
    signs = tf.random.stateless_uniform([batch], seeds[3], -1.0, 1.0)
    kind = tf.where(idle, count, drawn)  # [B]: which operation, or none
    inputs = [tf.dynamic_partition(each, kind, count + 1) for each in (photos, strengths, signs)]
    places = tf.dynamic_partition(tf.range(batch), kind, count + 1)
    outputs = [operation(*given) for operation, given in zip([*_OPERATIONS, _keep], zip(*inputs))]
    return tf.ensure_shape(tf.dynamic_stitch(places, outputs), photos.shape)


# Operations: photos float32 [b, H, W, 3], strengths [b] in 0 .. 1, signs [b] in -1 .. 1 -> photos


def _keep(photos: tf.Tensor, strengths: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
    return photos


def _auto_contrast(photos: tf.Tensor, strengths: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
    return keras_cv_layers().AutoContrast(RANGE).augment_images(photos)


def _equalize(photos: tf.Tensor, strengths: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
    """Equalise every channel's histogram; keras-cv's own layer loops over the photos."""
    height, width = tf.unstack(tf.shape(photos)[1:3])
    levels = tf.reshape(tf.transpose(tf.cast(photos, tf.int32), [0, 3, 1, 2]), [-1, height * width])
    counts = tf.math.bincount(levels, minlength=256, maxlength=256, axis=-1)  # [b * 3, 256]
    least = tf.reduce_min(tf.where(counts == 0, height * width, counts), axis=-1, keepdims=True)
    step = (height * width - least) // 255  # [b * 3, 1]; 0 if a channel has very few levels
    safe = tf.maximum(step, 1)
    table = (tf.cumsum(counts, axis=-1, exclusive=True) + safe // 2) // safe
    even = tf.gather(tf.minimum(table, 255), levels, batch_dims=1)
    channels = tf.reshape(tf.where(step == 0, levels, even), [-1, 3, height, width])
    return tf.cast(tf.transpose(channels, [0, 2, 3, 1]), tf.float32)


def _solarize(photos: tf.Tensor, strengths: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
    layer = keras_cv_layers().Solarization(RANGE)
    limits = {"additions": _MOST_ADDED * strengths, "thresholds": RANGE[1] * (1 - strengths)}
    return layer.augment_images(photos, {name: _wide(each) for name, each in limits.items()})


def _degenerate(photos: tf.Tensor, strengths: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
    layer = keras_cv_layers().RandomColorDegeneration(0.5)
    return layer.augment_images(photos, _wide(strengths))


def _contrast(photos: tf.Tensor, strengths: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
    layer = keras_cv_layers().RandomContrast(RANGE, 0.5)
    return layer.augment_images(photos, _wide(1 + signs * strengths))


def _brighten(photos: tf.Tensor, strengths: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
    layer = keras_cv_layers().RandomBrightness(0.5, RANGE)
    return layer.augment_images(photos, _wide(RANGE[1] * signs * strengths))


_Operation = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
_OPERATIONS: list[_Operation] = [
    _auto_contrast,
    _equalize,
    _solarize,
    _degenerate,
    _contrast,
    _brighten,
]


def _wide(factors: tf.Tensor) -> tf.Tensor:
    """Reshape one number per photo, [B], to [B, 1, 1, 1]."""
    return tf.reshape(factors, [-1, 1, 1, 1])


@functools.cache
def keras_cv_layers() -> ModuleType:
    """Return keras-cv's layers, imported on first use."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its backend at import
        return importlib.import_module("keras_cv").layers
