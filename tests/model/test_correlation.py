"""Claims about `model/correlation.py`: the identity at first, then the equation in NumPy."""

from __future__ import annotations

import numpy as np
from scipy import special

from attr_extractor.model.correlation import Correlation

LOGITS = np.random.default_rng(0).normal(scale=3, size=[4, 10]).astype(np.float32)


def with_weights() -> Correlation:
    layer = Correlation(3)
    layer.build([None, 10])
    generator = np.random.default_rng(1)
    layer.set_weights([generator.normal(size=w.shape) for w in layer.get_weights()])
    return layer


def test_a_fresh_layer_is_the_identity():
    np.testing.assert_array_equal(Correlation(3)(LOGITS), LOGITS)


def test_it_equals_the_equation_written_in_numpy():
    layer = with_weights()
    w1, b1, w2 = (w.astype(np.float64) for w in layer.get_weights())
    assert (w1.shape, b1.shape, w2.shape) == ((10, 3), (3,), (3, 10))
    z = LOGITS.astype(np.float64)
    expected = z + np.maximum(special.expit(z) @ w1 + b1, 0) @ w2
    np.testing.assert_allclose(layer(LOGITS), expected, atol=1e-5)
