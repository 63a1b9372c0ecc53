"""Faster layers, compared with TensorFlow's own and with gradients written out in NumPy."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from attr_extractor.model.trunks import fast_layers
from attr_extractor.model.trunks.fast_layers import fused_relu6, fused_silu

FLOATS = {tf.float32: 1e-4, tf.bfloat16: 2e-2}  # relative to the largest number
CASES = [  # H and W, kernel, strides, channels, results per channel
    ((9, 8), (5, 5), (1, 1), 3, 1),
    ((9, 8), (5, 5), (2, 2), 3, 1),
    ((8, 8), (5, 5), (2, 2), 2, 1),
    ((8, 9), (3, 3), (1, 1), 3, 2),
    ((8, 8), (3, 3), (2, 2), 3, 1),
    ((11, 10), (7, 7), (1, 1), 2, 1),
    ((8, 10), (1, 4), (1, 1), 2, 2),
    ((10, 8), (5, 3), (2, 2), 2, 1),
]


def in_numpy(x, kernel, upstream, strides, pads) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute output and gradients tap by tap, from the definition of a cross-correlation."""
    (down, across), (rows, columns) = strides, kernel.shape[:2]
    zeros = [(0, 0), (0, 0)]
    if pads == "SAME":
        sizes = [-(-size // step) for size, step in zip(x.shape[1:3], strides)]
        totals = [
            max(0, (size - 1) * step + taps - length)
            for size, step, taps, length in zip(sizes, strides, kernel.shape, x.shape[1:3])
        ]
        zeros = [(total // 2, total - total // 2) for total in totals]
    padded = np.pad(x, [(0, 0), *zeros, (0, 0)])
    height, width = (
        (padded.shape[axis] - kernel.shape[axis - 1]) // strides[axis - 1] + 1 for axis in (1, 2)
    )
    result = np.zeros([len(x), height, width, *kernel.shape[2:]])
    to_padded, to_kernel = np.zeros_like(padded), np.zeros_like(kernel)
    upstream = upstream.reshape(result.shape)
    for i, j in itertools.product(range(rows), range(columns)):
        where = np.s_[:, i : i + down * height : down, j : j + across * width : across]
        seen = padded[where][..., None]  # [B, H', W', C, 1]
        result += seen * kernel[i, j]
        to_kernel[i, j] = (seen * upstream).sum(axis=(0, 1, 2))
        to_padded[where] += (upstream * kernel[i, j]).sum(axis=-1)
    top, left = zeros[0][0], zeros[1][0]
    to_input = to_padded[:, top : top + x.shape[1], left : left + x.shape[2]]
    return result.reshape(*result.shape[:3], -1), to_input, to_kernel


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("pads", ["SAME", "VALID"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_depthwise_output_and_gradients_equal_the_definition(case, pads, dtype):
    size, taps, strides, channels, multiplier = case
    generator = np.random.default_rng(0)

    def numbers(*shape):  # those that both types hold
        return tf.cast(generator.normal(size=shape), tf.bfloat16)

    x, kernel = numbers(2, *size, channels), numbers(*taps, channels, multiplier)
    shape = tf.nn.depthwise_conv2d(
        tf.zeros([2, *size, channels]), tf.zeros(kernel.shape), [1, *strides, 1], pads
    ).shape
    upstream = numbers(*shape)

    @tf.function
    def computed(x, kernel, upstream):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            result = fast_layers.convolve(x, kernel, strides, pads)
        return result, *tape.gradient(result, [x, kernel], upstream)

    found = computed(*(tf.cast(each, dtype) for each in (x, kernel, upstream)))
    exact = [tf.cast(each, tf.float64).numpy() for each in (x, kernel, upstream)]
    for ours, expected in zip(found, in_numpy(*exact, strides, pads)):
        assert ours.dtype == dtype
        difference = np.abs(tf.cast(ours, tf.float64).numpy() - expected).max()
        assert difference <= FLOATS[dtype] * np.abs(expected).max()


@pytest.mark.parametrize("pads", ["same", "valid"])
def test_the_depthwise_layer_equals_keras_bit_for_bit(pads):
    theirs = keras.layers.DepthwiseConv2D(
        5, 2, pads, depth_multiplier=2, activation="relu", bias_initializer="normal"
    )
    ours = fast_layers.DepthwiseConv2D.from_config(theirs.get_config())
    x = np.random.default_rng(1).normal(size=[2, 9, 10, 3]).astype(np.float32)
    expected = theirs(x)
    ours.build(x.shape)
    ours.set_weights(theirs.get_weights())
    assert np.any(theirs.get_weights()[1])
    np.testing.assert_array_equal(ours(x), expected)


def gradient_operations(strides, pads, dtype) -> dict[str, list]:
    """Return the operations of both gradients of a 5 x 5 kernel, by the last word of their type."""

    @tf.function(autograph=False)
    def gradients(x):
        with tf.GradientTape() as tape:
            kernel = tf.ones([5, 5, 3, 1], dtype)
            tape.watch([x, kernel])
            result = fast_layers.convolve(x, kernel, strides, pads)
        return tape.gradient(result, [x, kernel])

    graph = gradients.get_concrete_function(tf.TensorSpec([2, 8, 8, 3], dtype)).graph
    name = "DepthwiseConv2dNativeBackprop"
    return {
        kind: [each for each in graph.get_operations() if each.type == name + kind]
        for kind in ("Input", "Filter")
    }


def test_a_wide_kernels_gradient_consists_of_narrow_ones():
    found = gradient_operations((1, 1), "SAME", tf.float32)["Filter"]
    shapes = [tf.get_static_value(operation.inputs[1]).tolist() for operation in found]
    assert shapes == [[5, 3, 3, 1], [5, 2, 3, 1]]


@pytest.mark.parametrize(
    ("strides", "dtype", "computed_in"),
    [
        ((2, 2), tf.bfloat16, tf.float32),
        ((1, 1), tf.bfloat16, tf.bfloat16),
        ((2, 2), tf.float32, tf.float32),
    ],
)
def test_a_strided_input_gradient_of_bfloat16_is_computed_in_float32(strides, dtype, computed_in):
    (operation,) = gradient_operations(strides, "SAME", dtype)["Input"]
    assert operation.outputs[0].dtype == computed_in


@pytest.mark.parametrize("settings", [{"dilation_rate": 2}, {"data_format": "channels_first"}])
def test_dilation_and_channels_first_are_rejected(settings):
    with pytest.raises(ValueError, match="requires channels_last and a dilation rate of 1"):
        fast_layers.DepthwiseConv2D(3, **settings)


def devices(monkeypatch, *kinds: str) -> None:
    found = [SimpleNamespace(device_type=kind) for kind in kinds]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda *_: found)


def test_only_plain_depthwise_layers_on_cpus_are_replaceable(monkeypatch):
    layer = keras.layers.DepthwiseConv2D
    devices(monkeypatch, "CPU", "CPU")
    assert fast_layers.is_replaceable(layer(5))
    assert not fast_layers.is_replaceable(layer(5, dilation_rate=2))
    assert not fast_layers.is_replaceable(layer(5, data_format="channels_first"))
    assert not fast_layers.is_replaceable(keras.layers.Conv2D(3, 5))
    assert not fast_layers.is_replaceable(fast_layers.DepthwiseConv2D(5))
    devices(monkeypatch, "CPU", "GPU")
    assert not fast_layers.is_replaceable(layer(5))


# Activations

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
    """Compute d/dx of x s(x) in float64: s (1 + x (1 - s)), with 1 - s = s(-x)."""
    return upstream * special.expit(x) * (1 + x * special.expit(-x))


def test_the_silu_gradient_equals_the_equation_and_tensorflows():
    x = X.astype(np.float32)
    upstream = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    found = gradient(fused_silu, x, upstream)
    np.testing.assert_allclose(found, expected(x.astype(np.float64), upstream), atol=5e-6)
    small = np.abs(x) < 80
    theirs = gradient(tf.nn.silu, x, upstream)
    np.testing.assert_allclose(found[small], theirs[small], atol=5e-6)


def test_silu_equals_tensorflows_bit_for_bit():
    for dtype in (tf.float32, tf.bfloat16):
        x = tf.cast(X, dtype)
        assert tf.reduce_all(fused_silu(x) == tf.nn.silu(x))


def test_the_silu_gradient_of_bfloat16_is_rounded_once():
    x = tf.cast(X[:801], tf.bfloat16)
    wide = tf.cast(x, tf.float64).numpy()
    found = gradient(fused_silu, wide, np.ones(801), tf.bfloat16)
    np.testing.assert_allclose(found, expected(wide, 1.0), rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_silu_has_gradients_in_a_compiled_function_of_unknown_batch_size(jit_compile):
    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec([None, 3])])
    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(fused_silu(x))
        return tape.gradient(y, x)

    for batch in (2, 5):
        x = np.random.default_rng(batch).normal(size=[batch, 3]).astype(np.float32)
        np.testing.assert_allclose(slope(x), expected(x, 1.0), atol=1e-6)


def test_the_forward_graph_of_silu_contains_no_xla(tmp_path):
    inputs = keras.Input([3])
    model = keras.Model(inputs, keras.layers.Activation(fused_silu)(inputs))
    served = tf.function(lambda x: model(x), input_signature=[tf.TensorSpec([None, 3])])
    names = [str(node) for node in served.get_concrete_function().graph.as_graph_def().node]
    assert names and not any("XlaMustCompile" in name for name in names)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_relu6_and_its_gradient_equal_the_equations(dtype):
    x = tf.cast(np.concatenate([X, [-0.0, 0.0, 6.0]]), dtype)
    wide = tf.cast(x, tf.float64).numpy()
    upstream = tf.cast(np.random.default_rng(0).normal(size=x.shape), dtype)
    values = tf.cast(fused_relu6(x), tf.float64)
    np.testing.assert_array_equal(values, np.clip(wide, 0, 6))
    slope = gradient(fused_relu6, wide, upstream, dtype)
    expected = np.where((wide > 0) & (wide < 6), tf.cast(upstream, tf.float32), 0)
    np.testing.assert_array_equal(slope, expected)
