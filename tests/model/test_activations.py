"""Claims about `model/activations.py`: TensorFlow's values, gradients of the equations in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from attr_extractor.model.activations import fused_relu6, fused_silu

X = np.concatenate([np.linspace(-20, 20, 801), [-3e38, -1e4, -88.0, 88.0, 1e4, 3e38]])


def gradient(function, x: np.ndarray, upstream: np.ndarray, dtype=tf.float32) -> np.ndarray:
    x = tf.cast(x, dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    slope = tape.gradient(y, x, output_gradients=tf.cast(upstream, dtype))
    assert slope.dtype == dtype and y.dtype == dtype
    return tf.cast(slope, tf.float32).numpy()


def expected(x: np.ndarray, upstream: np.ndarray) -> np.ndarray:
    """d/dx of x s(x) in float64: s (1 + x (1 - s)), where 1 - s = s(-x)."""
    return upstream * special.expit(x) * (1 + x * special.expit(-x))


def test_the_gradient_equals_the_equation_and_tensorflows_own():
    x = X.astype(np.float32)
    upstream = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    found = gradient(fused_silu, x, upstream)
    np.testing.assert_allclose(found, expected(x.astype(np.float64), upstream), atol=5e-6)
    small = np.abs(x) < 80
    theirs = gradient(tf.nn.silu, x, upstream)
    np.testing.assert_allclose(found[small], theirs[small], atol=5e-6)


def test_the_values_are_tensorflows_to_the_bit():
    for dtype in (tf.float32, tf.bfloat16):
        x = tf.cast(X, dtype)
        assert tf.reduce_all(fused_silu(x) == tf.nn.silu(x))


def test_in_bfloat16_only_the_result_is_rounded():
    x = tf.cast(X[:801], tf.bfloat16)
    wide = tf.cast(x, tf.float64).numpy()
    found = gradient(fused_silu, wide, np.ones(801), tf.bfloat16)
    np.testing.assert_allclose(found, expected(wide, 1.0), rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_it_learns_inside_a_compiled_function_of_unknown_batch(jit_compile):
    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec([None, 3])])
    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(fused_silu(x))
        return tape.gradient(y, x)

    for batch in (2, 5):
        x = np.random.default_rng(batch).normal(size=[batch, 3]).astype(np.float32)
        np.testing.assert_allclose(slope(x), expected(x, 1.0), atol=1e-6)


def test_nothing_that_is_exported_holds_xla(tmp_path):
    inputs = keras.Input([3])
    model = keras.Model(inputs, keras.layers.Activation(fused_silu)(inputs))
    served = tf.function(lambda x: model(x), input_signature=[tf.TensorSpec([None, 3])])
    names = [str(node) for node in served.get_concrete_function().graph.as_graph_def().node]
    assert names and not any("XlaMustCompile" in name for name in names)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_relu6_and_its_gradient_are_the_equations(dtype):
    x = tf.cast(np.concatenate([X, [-0.0, 0.0, 6.0]]), dtype)
    wide = tf.cast(x, tf.float64).numpy()
    upstream = tf.cast(np.random.default_rng(0).normal(size=x.shape), dtype)
    values = tf.cast(fused_relu6(x), tf.float64)
    np.testing.assert_array_equal(values, np.clip(wide, 0, 6))
    slope = gradient(fused_relu6, wide, upstream, dtype)
    expected = np.where((wide > 0) & (wide < 6), tf.cast(upstream, tf.float32), 0)
    np.testing.assert_array_equal(slope, expected)
