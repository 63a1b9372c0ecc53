"""The resize of catalogue/photos.py with stock ops, equal to the bit.

A photo of four times the size or more is averaged first over blocks of whole pixels (Pillow's
Image.reduce). Then rows are resampled, then columns. Pillow resamples 8-bit channels with integers,
so its result is the same on every machine: coefficients are rounded to 22 bits of a fraction, sums
to 8 bits. Integers here, too.
"""

from __future__ import annotations

import tensorflow as tf

from attr_extractor.catalogue.photos import REDUCING_GAP

_BITS = 22  # of a coefficient's fraction
_SUPPORT = 2.0  # of the bicubic kernel on either side, in pixels of the smaller image


def shrink(photo: tf.Tensor, short_side: int) -> tf.Tensor:
    """Return a photo uint8 [H, W, 3] with a short side of at most `short_side` pixels."""
    sides = tf.shape(photo)[:2]
    short = tf.reduce_min(sides)

    def smaller() -> tf.Tensor:
        scale = tf.cast(short_side, tf.float64) / tf.cast(short, tf.float64)
        target = tf.maximum(1, tf.cast(tf.round(tf.cast(sides, tf.float64) * scale), tf.int32))
        factors = tf.maximum(
            1, tf.cast(sides / target / REDUCING_GAP, tf.int32)
        )  # of rows, columns
        lengths = tf.cast(tf.cast(sides / factors, tf.float32), tf.float64)  # as Pillow passes them
        reduced = tf.cond(
            tf.reduce_prod(factors) > 1, lambda: _block_means(photo, factors), lambda: photo
        )
        rows = _resample(tf.transpose(reduced, [1, 0, 2]), lengths[1], target[1])  # [W', H, 3]
        return _resample(tf.transpose(rows, [1, 0, 2]), lengths[0], target[0])

    resized = tf.cond(short > short_side, smaller, lambda: photo)
    return tf.ensure_shape(resized, [None, None, 3])


def _resample(image: tf.Tensor, length: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resample the first axis of uint8 [N, M, 3], of which `length` counts, to `size` pixels."""
    count, others = tf.shape(image)[0], tf.shape(image)[1]
    pixels = tf.cast(tf.reshape(image, [count, 3 * others]), tf.int32)
    sums = tf.sparse.sparse_dense_matmul(_coefficients(count, length, size), pixels)
    rounded = tf.bitwise.right_shift(sums + (1 << (_BITS - 1)), _BITS)
    return tf.reshape(tf.cast(tf.clip_by_value(rounded, 0, 255), tf.uint8), [size, others, 3])


def _coefficients(count: tf.Tensor, length: tf.Tensor, size: tf.Tensor) -> tf.SparseTensor:
    """Return the weights of `count` pixels in each of `size` pixels: int32 [size, count]."""
    scale = length / tf.cast(size, tf.float64)
    stretch = tf.maximum(scale, 1.0)
    support = _SUPPORT * stretch
    centre = (tf.range(tf.cast(size, tf.float64), dtype=tf.float64) + 0.5) * scale  # [size]
    first = tf.maximum(0, tf.cast(centre - support + 0.5, tf.int32))
    end = tf.minimum(count, tf.cast(centre + support + 0.5, tf.int32))
    taps = 2 * tf.cast(tf.math.ceil(support), tf.int32) + 1
    columns = first[:, tf.newaxis] + tf.range(taps)  # [size, taps]
    distance = (tf.cast(columns, tf.float64) - centre[:, tf.newaxis] + 0.5) * (1.0 / stretch)
    weights = tf.where(columns < end[:, tf.newaxis], _bicubic(distance), 0.0)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    scaled = weights * (1 << _BITS)
    integers = tf.cast(scaled + 0.5 * tf.sign(scaled), tf.int32)  # halves away from 0
    rows = tf.broadcast_to(tf.range(size)[:, tf.newaxis], [size, taps])
    where = tf.stack([rows, tf.minimum(columns, count - 1)], axis=-1)  # a weight of 0 beyond
    return tf.SparseTensor(
        tf.cast(tf.reshape(where, [-1, 2]), tf.int64),
        tf.reshape(integers, [-1]),
        tf.cast(tf.stack([size, count]), tf.int64),
    )


def _bicubic(x: tf.Tensor) -> tf.Tensor:
    """Return Keys' kernel with a = -1/2 (1981, equation 15)."""
    a = -0.5
    x = tf.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return tf.where(x < 1.0, near, tf.where(x < 2.0, far, 0.0))


def _block_means(photo: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Return the rounded means of blocks of factors[0] x factors[1] pixels; uint8 [H', W', 3].

    The blocks of the last row and column may be smaller. Block by block in a loop: integers of the
    whole photo would need four times its memory.
    """
    sides = tf.shape(photo)[:2]
    blocks = -(-sides // factors)  # rounded up
    missing = blocks * factors - sides
    padded = tf.pad(photo, [[0, missing[0]], [0, missing[1]], [0, 0]])

    def add(i: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        top, left = i // factors[1], i % factors[1]
        part = padded[top :: factors[0], left :: factors[1]]
        return i + 1, sums + tf.ensure_shape(tf.cast(part, tf.int32), [None, None, 3])

    zeros = tf.zeros([blocks[0], blocks[1], 3], tf.int32)
    number = tf.reduce_prod(factors)
    _, sums = tf.while_loop(lambda i, _: i < number, add, [0, zeros])
    lengths = [
        tf.minimum(factors[axis], sides[axis] - tf.range(blocks[axis]) * factors[axis])
        for axis in (0, 1)
    ]
    counts = lengths[0][:, tf.newaxis, tf.newaxis] * lengths[1][:, tf.newaxis]  # [H', W', 1]
    # Pillow multiplies by 2^24 / count, rounded down, instead of dividing
    multiplier = tf.cast(2.0**32 / tf.cast(256 * counts, tf.float32), tf.int64)
    means = tf.bitwise.right_shift(tf.cast(sums + counts // 2, tf.int64) * multiplier, 24)
    return tf.cast(means, tf.uint8)
