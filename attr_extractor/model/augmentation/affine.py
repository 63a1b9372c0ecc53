"""The paper's zoom, shift, rotation, shear and flip: one affine map and one resampling per photo.

The five matrices are multiplied first, so a photo is resampled once, which is faster and sharper
than five times. XLA compiles the resampling to one loop, which takes half the time of TensorFlow's
own op on a CPU: the op computes each pixel's position once per channel and has no XLA kernel. The
op is used only if XLA is off.
"""

from __future__ import annotations

import math

import tensorflow as tf

from attr_extractor.config import AugmentationConfig
from attr_extractor.model import keras_versions


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


def resample(
    photos: tf.Tensor, matrices: tf.Tensor, fill_mode: str, compiled: bool = True
) -> tf.Tensor:
    """Resample each photo bilinearly with its matrix.

    Args:
      photos: [B, H, W, C] of any integer or float type.
      matrices: float32 [B, 3, 3], from output (x, y, 1) to input, last row (0, 0, 1); pixel
        centres at integers.
      fill_mode: content outside the photo: `nearest`, the border's pixels; `reflect`, the photo
        mirrored at its border; or `constant`, black.
      compiled: whether to use the XLA loop; if not, TensorFlow's op.

    Returns:
      float32 [B, H, W, C].
    """
    if compiled:
        moved = _resample_loop(photos, matrices, fill_mode)
    else:
        eight = tf.reshape(matrices, [-1, 9])[:, :8]  # [B, 8]: the ninth entry is 1
        moved = keras_versions.affine_transform(tf.cast(photos, tf.float32), eight, fill_mode)
    return tf.ensure_shape(moved, photos.shape)


@tf.function(jit_compile=True)
def _resample_loop(photos: tf.Tensor, matrices: tf.Tensor, fill_mode: str) -> tf.Tensor:
    batch, height, width, channels = tf.unstack(tf.shape(photos))
    pixels = tf.reshape(photos, [batch, height * width, channels])
    x = tf.range(tf.cast(width, tf.float32))
    y = tf.range(tf.cast(height, tf.float32))[:, tf.newaxis]
    m = matrices[:, :2, :, tf.newaxis, tf.newaxis]  # [B, 2, 3, 1, 1]
    places = m[:, :, 0] * x + m[:, :, 1] * y + m[:, :, 2]  # [B, 2, H, W]
    columns = _neighbours(places[:, 0], width, fill_mode)
    rows = _neighbours(places[:, 1], height, fill_mode)
    total = 0.0
    for row, row_share in rows:
        for column, column_share in columns:
            index = tf.reshape(row * width + column, [batch, height * width])
            values = tf.cast(tf.gather(pixels, index, batch_dims=1), tf.float32)  # [B, H*W, C]
            total += values * tf.reshape(row_share * column_share, [batch, height * width, 1])
    return tf.reshape(total, [batch, height, width, channels])


def _neighbours(
    place: tf.Tensor, side: tf.Tensor, fill_mode: str
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Return the two pixels around a position along one axis, int32, and the share of each."""
    length = tf.cast(side, tf.float32)
    if fill_mode == "reflect":
        place = tf.math.floormod(place, 2 * length)
        place = tf.minimum(place, 2 * length - 1 - place)
    if fill_mode != "constant":
        place = tf.clip_by_value(place, 0.0, length - 1)
    before = tf.floor(place)
    after_share = place - before
    both = []
    for pixel, share in ((before, 1 - after_share), (before + 1, after_share)):
        inside = (pixel >= 0) & (pixel < length)  # outside is black, or a pixel of share 0
        within = tf.clip_by_value(pixel, 0.0, length - 1)
        both.append((tf.cast(within, tf.int32), tf.where(inside, share, 0.0)))
    return both
