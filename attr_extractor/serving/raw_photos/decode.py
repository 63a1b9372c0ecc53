"""Pixels of a photo file with stock ops, transparency blended with white, as Pillow gives them."""

from __future__ import annotations

import tensorflow as tf

from attr_extractor.records import pixels
from attr_extractor.serving.raw_photos.headers import JPEG, PNG, WEBP

DIVISORS = (8, 4, 2, 1)  # of a JPEG's sides: the decoder skips the detail
_HEAD = 131_072  # bytes of a PNG that are searched for its transparent colour
_HAS_ALPHA = r"(?s)(\C{25}[\x04\x06]|\C*tRNS)\C*"


def decode(file: tf.Tensor, kind: tf.Tensor, divisor: tf.Tensor, webp: bool) -> tf.Tensor:
    """Return uint8 [H, W, 3]; the op fails if the file is damaged.

    Args:
      divisor: one of DIVISORS; of a JPEG's sides, which are rounded up.
      webp: whether the graph contains TensorFlow's decoder of WebP.
    """

    def jpeg() -> tf.Tensor:
        return tf.switch_case(
            tf.argmax(tf.equal(divisor, DIVISORS), output_type=tf.int32),
            [lambda ratio=ratio: pixels.decode_jpeg(file, ratio) for ratio in DIVISORS],
        )

    def png() -> tf.Tensor:
        return tf.cond(
            tf.strings.regex_full_match(tf.strings.substr(file, 0, _HEAD), _HAS_ALPHA),
            lambda: _on_white(tf.io.decode_png(file, channels=4)),
            lambda: tf.io.decode_png(file, channels=3),
        )

    def other() -> tf.Tensor:  # GIF (first frame) and BMP
        return tf.io.decode_image(file, channels=3, expand_animations=False)

    branches = {JPEG: jpeg, PNG: png}
    if webp:
        branches[WEBP] = lambda: _on_white(tf.io.decode_webp(file)[0])  # [frames, H, W, C]
    return tf.switch_case(kind, branches, default=other)


def _on_white(photo: tf.Tensor) -> tf.Tensor:
    """Return RGB pixels for RGBA ones, with Pillow's rounding; three channels stay as they are."""

    def blended() -> tf.Tensor:
        # uint16: integers of a large photo in 32 bits would need much memory
        color, alpha = tf.cast(photo[..., :3], tf.uint16), tf.cast(photo[..., 3:], tf.uint16)
        sums = color * alpha + pixels.WHITE * (pixels.WHITE - alpha) + 128
        return tf.cast(tf.bitwise.right_shift(sums + tf.bitwise.right_shift(sums, 8), 8), tf.uint8)

    return tf.cond(tf.equal(tf.shape(photo)[-1], 4), blended, lambda: photo)
