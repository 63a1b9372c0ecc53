"""What a missing label counts as in training: `loss.missing`.

- mask: nothing, the paper's choice.
- absent: absent.
- expected: its frequency among the known labels of the training split, a soft label. It pulls an
  unknown cell towards the usual answer instead of towards none.
- selective: absent, but a likely value is left out: one whose score is above LIKELY (Ben-Baruch et
  al. 2022, with one threshold in place of theirs by class).
- pseudo: absent, but present if its score is above SURE (SPLC, Zhang et al. 2021).
"""

from __future__ import annotations

import tensorflow as tf

from attr_extractor.labels import ABSENT, MISSING, PRESENT

LIKELY, SURE = 0.1, 0.6


def complete(
    labels: tf.Tensor, logits: tf.Tensor, missing: str, frequencies: tf.Tensor
) -> tf.Tensor:
    """Return labels in which the missing ones count as `loss.missing` says.

    Args:
      labels: int8 or float32 [B, V], -1 where missing.
      logits: [B, V] of the current step; their scores are sigmoids. No gradient flows to them.
      missing: kind of `loss.missing`.
      frequencies: float32 [V], of the known labels.

    Returns:
      labels itself for `mask`, otherwise float32 [B, V].
    """
    if missing == "mask":
        return labels
    scores = tf.sigmoid(tf.stop_gradient(tf.cast(logits, tf.float32)))
    guess = {
        "absent": lambda: tf.fill(tf.shape(scores), float(ABSENT)),
        "expected": lambda: tf.broadcast_to(frequencies, tf.shape(scores)),
        "selective": lambda: tf.where(scores > LIKELY, float(MISSING), float(ABSENT)),
        "pseudo": lambda: tf.where(scores > SURE, float(PRESENT), float(ABSENT)),
    }[missing]()
    return tf.where(labels == MISSING, guess, tf.cast(labels, tf.float32))
