"""What missing labels count as, worked out by hand for one photo of five values."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.model import partial_labels

LABELS = np.array([[1, -1, -1, 0, -1]], np.int8)
SCORES = np.array([[0.3, 0.05, 0.2, 0.9, 0.7]], np.float32)
LOGITS = np.log(SCORES / (1 - SCORES))
FREQUENCIES = np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32)
EXPECTED = {
    "mask": [1, -1, -1, 0, -1],
    "absent": [1, 0, 0, 0, 0],
    "expected": [1, 0.2, 0.3, 0, 0.5],
    "selective": [1, 0, -1, 0, -1],
    "pseudo": [1, 0, 0, 0, 1],
}


@pytest.mark.parametrize("missing", EXPECTED)
def test_missing_labels_are_completed(missing):
    found = partial_labels.complete(tf.constant(LABELS), LOGITS, missing, FREQUENCIES)
    np.testing.assert_allclose(found, [EXPECTED[missing]], rtol=1e-6)


def test_soft_labels_are_kept():
    soft = tf.constant([[0.6, 0.4, -1.0]])
    found = partial_labels.complete(soft, tf.zeros([1, 3]), "expected", tf.constant([0.1] * 3))
    np.testing.assert_allclose(found, [[0.6, 0.4, 0.1]], rtol=1e-6)


def test_no_gradient_flows_through_a_guess():
    logits = tf.Variable(LOGITS)
    with tf.GradientTape() as tape:
        completed = partial_labels.complete(tf.constant(LABELS), logits, "pseudo", FREQUENCIES)
        value = tf.reduce_sum(completed)
    assert tape.gradient(value, logits) is None
