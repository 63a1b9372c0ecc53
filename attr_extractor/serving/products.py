"""The scores of a product: means over its photos, as enrichment/scoring.py pools a table's."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

NO_PHOTO = "no photo"
_CHUNK = 32  # photos in the network at once: a product may have any number


def in_chunks(
    score: Callable[[slice], tuple[tf.Tensor, tf.Tensor]], count: tf.Tensor, num_values: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return float32 [N, V] and string [N] of `count` photos, scored a chunk at a time."""
    chunks = tf.maximum(1, -(-count // _CHUNK))  # rounded up

    def step(i: tf.Tensor, scores: tf.TensorArray, errors: tf.TensorArray) -> tuple:
        found, error = score(slice(i * _CHUNK, (i + 1) * _CHUNK))
        return i + 1, scores.write(i, found), errors.write(i, error)

    arrays = [tf.TensorArray(dtype, chunks, infer_shape=False) for dtype in (tf.float32, tf.string)]
    _, scores, errors = tf.while_loop(
        lambda i, *_: i < chunks, step, [0, *arrays], parallel_iterations=1
    )
    return tf.ensure_shape(scores.concat(), [None, num_values]), tf.ensure_shape(
        errors.concat(), [None]
    )


def pool(
    scores: tf.Tensor, errors: tf.Tensor, where: tf.Tensor, size: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Pool the scores of N photos of B products.

    Args:
      scores: float32 [N, V].
      errors: string [N], "" for a readable photo.
      where: int64 [N, 2]: of each photo its product and its place there, from 0.
      size: B, int32.

    Returns:
      float32 [B, V]: means over the readable photos, 0 without any.
      string [B]: what is unreadable, "" if all photos were read.
      bool [B]: whether a photo was read.
    """
    of_product = tf.cast(where[:, 0], tf.int32)
    is_good = tf.equal(errors, "")
    # float64, as the table's rows are pooled
    sums = tf.math.unsorted_segment_sum(
        tf.where(is_good[:, tf.newaxis], tf.cast(scores, tf.float64), 0.0), of_product, size
    )
    counts = tf.math.unsorted_segment_sum(tf.cast(is_good, tf.float64), of_product, size)
    means = tf.cast(sums / tf.maximum(counts, 1.0)[:, tf.newaxis], tf.float32)

    bad = tf.where(~is_good)[:, 0]
    places = tf.strings.as_string(tf.gather(where[:, 1], bad) + 1)
    lines = tf.strings.join(["photo ", places, ": ", tf.gather(errors, bad)])
    error = tf.strings.unsorted_segment_join(lines, tf.gather(of_product, bad), size, "; ")
    error = tf.ensure_shape(error, [None])
    has_photo = tf.math.unsorted_segment_sum(tf.ones_like(of_product), of_product, size) > 0
    return means, tf.where(has_photo, error, NO_PHOTO), counts > 0
