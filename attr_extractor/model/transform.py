"""Affine resampling of a batch of photos, as one loop that XLA compiles.

TensorFlow's own op computes each pixel's position once per channel and has no XLA kernel. It is
used only if XLA is off; on a CPU, the loop takes half its time.
"""

from __future__ import annotations

import tensorflow as tf

from attr_extractor.model import keras_versions


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
        moved = _read(photos, matrices, fill_mode)
    else:
        eight = tf.reshape(matrices, [-1, 9])[:, :8]  # [B, 8]: the ninth entry is 1
        moved = keras_versions.affine_transform(tf.cast(photos, tf.float32), eight, fill_mode)
    return tf.ensure_shape(moved, photos.shape)


@tf.function(jit_compile=True)
def _read(photos: tf.Tensor, matrices: tf.Tensor, fill_mode: str) -> tf.Tensor:
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
            at = tf.reshape(row * width + column, [batch, height * width])
            read = tf.cast(tf.gather(pixels, at, batch_dims=1), tf.float32)  # [B, H*W, C]
            total += read * tf.reshape(row_share * column_share, [batch, height * width, 1])
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
