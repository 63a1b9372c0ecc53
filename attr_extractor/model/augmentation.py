"""The paper's augmentation: zoom, shift, rotation, shear and flip as one affine map per photo.

The five matrices are multiplied first and the photo is resampled once, which is faster and sharper
than five resamples. All randomness is a pure function of the given seed, so a step can be repeated
exactly.
"""

from __future__ import annotations

import math

import tensorflow as tf

from attr_extractor.config import AugmentationConfig
from attr_extractor.model import photometric, transform
from attr_extractor.model.rand_augment import rand_augment

GREY = 127.5


def augment(
    pixels: tf.Tensor, config: AugmentationConfig, seed: tf.Tensor, compiled: bool = True
) -> tf.Tensor:
    """Augment photos randomly.

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
    seeds = tf.random.experimental.stateless_split(seed, 3)
    colours = tf.random.experimental.stateless_fold_in(seeds[1], 0)
    matrices = random_matrices(batch, height, width, config, seeds[0])  # [B, 3, 3]
    photos = transform.resample(pixels, matrices, config.fill_mode, compiled)  # [B, H, W, 3]
    photos = photometric.adjust(photos, config, seeds[1])
    photos = rand_augment(photos, config.rand_operations, config.rand_magnitude, colours)
    return cut_out(photos, config.cutout, seeds[2]) if config.cutout else photos


def random_matrices(
    batch: tf.Tensor,
    height: tf.Tensor,
    width: tf.Tensor,
    config: AugmentationConfig,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Draw one affine map per photo.

    Returns:
      float32 [B, 3, 3], maps from output (x, y, 1) to input (x, y, 1), pixel centres at integers.
    """
    seeds = tf.random.experimental.stateless_split(seed, 6)

    def draw(index: int, limit: float) -> tf.Tensor:  # [B], uniform in -limit .. limit
        return tf.random.stateless_uniform([batch], seeds[index], -limit, limit)

    flipped = tf.random.stateless_uniform([batch], seeds[5]) < config.flip
    return compose(
        height,
        width,
        zoom=1.0 + draw(0, config.zoom),
        shift_x=draw(1, config.shift),
        shift_y=draw(2, config.shift),
        rotation=draw(3, math.radians(config.rotation)),
        shear=draw(4, math.radians(config.shear)),
        flip=flipped,
    )


def compose(
    height: tf.Tensor,
    width: tf.Tensor,
    zoom: tf.Tensor,
    shift_x: tf.Tensor,
    shift_y: tf.Tensor,
    rotation: tf.Tensor,
    shear: tf.Tensor,
    flip: tf.Tensor,
) -> tf.Tensor:
    """Compose the affine map of each photo about its centre, from output to input pixels.

    Args (all [B]):
      zoom: 1.2 shows a fifth more of the scene (the garment smaller), 0.8 a fifth less.
      shift_x, shift_y: as fractions of the width and the height.
      rotation, shear: radians; shear slants vertical lines by the angle.
      flip: bool, left-right.

    Returns:
      float32 [B, 3, 3].
    """
    height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    zero, one = tf.zeros_like(zoom), tf.ones_like(zoom)
    cos, sin = tf.cos(rotation), tf.sin(rotation)
    mirror = tf.where(flip, -one, one)
    x, y = (width - 1.0) / 2.0 * one, (height - 1.0) / 2.0 * one

    def matrix(a, b, c, d, e, f):  # [B, 3, 3] with rows (a b c), (d e f), (0 0 1)
        rows = [[a, b, c], [d, e, f], [zero, zero, one]]
        return tf.transpose(tf.stack([tf.stack(row) for row in rows]), [2, 0, 1])

    to_centre = matrix(one, zero, -x, zero, one, -y)
    rotated = matrix(cos, -sin, zero, sin, cos, zero)
    sheared = matrix(one, tf.tan(shear), zero, zero, one, zero)
    scaled = matrix(zoom * mirror, zero, zero, zero, zoom, zero)
    back = matrix(one, zero, x + shift_x * width, zero, one, y + shift_y * height)
    return back @ rotated @ sheared @ scaled @ to_centre


def cut_out(photos: tf.Tensor, share: float, seed: tf.Tensor) -> tf.Tensor:
    """Draw a grey rectangle at a random position on each photo (Cutout, DeVries and Taylor 2017).

    Args:
      photos: float32 [B, H, W, 3] in 0 .. 255.
      share: ratio of the rectangle's sides to the photo's sides.
      seed: int [2].
    """
    return tf.where(rectangles(photos, share, seed)[..., tf.newaxis], GREY, photos)


def rectangles(photos: tf.Tensor, sides: float | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw a mask with one rectangle per photo, centred anywhere and clipped at the edges.

    Args:
      photos: [B, H, W, 3].
      sides: ratio of the rectangles' sides to the photos' sides; one for all, or float32 [B, 1].
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
