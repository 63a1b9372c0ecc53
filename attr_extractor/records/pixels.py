"""Step (b): convert a stored photo to the model's input pixels, for both training and serving.

The steps are decode, make square, antialiased resize, round; the result is uint8 [H, W, 3]. The
same bytes give bit-identical pixels on every machine. It runs on the host, one photo at a time.
"""

from __future__ import annotations

import tensorflow as tf

from attr_extractor.config import Square

WHITE = 255


def from_stored(encoded: tf.Tensor, image_size: int, square: Square) -> tf.Tensor:
    """Convert the JPEG bytes of a photo (string scalar) to uint8 [image_size, image_size, 3]."""
    return to_model_size(decode_jpeg(encoded), image_size, square)


def decode_jpeg(encoded: tf.Tensor, divisor: int = 1) -> tf.Tensor:
    """Decode JPEG bytes to uint8 [H, W, 3], with the slow and exact transform of the decoder.

    Args:
      divisor: of the photo's sides, which are rounded up: 1, 2, 4 or 8.
    """
    return tf.io.decode_jpeg(encoded, channels=3, ratio=divisor, dct_method="INTEGER_ACCURATE")


def _resize(photo: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    # tf.image.resize does not antialias by default; Pillow always does
    resized = tf.image.resize(photo, size, method="bilinear", antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)


def to_model_size(photo: tf.Tensor, image_size: int, square: Square) -> tf.Tensor:
    """Convert uint8 [H, W, 3] to uint8 [image_size, image_size, 3].

    Args:
      square: `squeeze` changes the aspect ratio (as in the paper), `pad` adds white margins, `crop`
        keeps the centre.
    """
    height, width = tf.unstack(tf.shape(photo)[:2])
    size = [image_size, image_size]
    if square == "crop":
        side = tf.minimum(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        photo = photo[top : top + side, left : left + side]  # [side, side, 3]
    elif square == "pad":
        # float64: the rounding of the shorter side must not depend on the machine
        scale = tf.cast(image_size, tf.float64) / tf.cast(tf.maximum(height, width), tf.float64)
        sides = tf.cast(tf.stack([height, width]), tf.float64) * scale
        size = tf.maximum(tf.cast(tf.round(sides), tf.int32), 1)
    has_size = tf.reduce_all(tf.shape(photo)[:2] == size)
    resized = tf.cond(has_size, lambda: photo, lambda: _resize(photo, size))
    if square == "pad":
        missing = tf.stack([image_size, image_size]) - tf.shape(resized)[:2]
        before = missing // 2
        padding = tf.stack([before, missing - before], axis=1)  # [2, 2]: before and after
        padding = tf.concat([padding, [[0, 0]]], axis=0)
        resized = tf.pad(resized, padding, constant_values=WHITE)
    return tf.ensure_shape(resized, [image_size, image_size, 3])
