"""The transformer block, compared with Keras' attention and with the equation in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.model.attention import PooledTransformerBlock, TransformerBlock

HEADS, KEY, FEED_FORWARD, POSITIONS, CHANNELS = 8, 6, 20, 49, 16


@pytest.fixture(scope="module")
def block() -> TransformerBlock:
    layer = TransformerBlock(HEADS, KEY, FEED_FORWARD)
    layer.build([None, POSITIONS, CHANNELS])
    generator = np.random.default_rng(0)
    layer.set_weights([generator.normal(scale=0.5, size=w.shape) for w in layer.get_weights()])
    return layer


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    shape = [3, POSITIONS, CHANNELS]
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def weights_of(block: TransformerBlock) -> dict[str, np.ndarray]:
    names = (
        "qkv_kernel qkv_bias output_kernel output_bias norm1_scale norm1_offset "
        "expand_kernel expand_bias reduce_kernel reduce_bias norm2_scale norm2_offset "
        "attention_scale feed_forward_scale"
    ).split()
    return {name: getattr(block, name).numpy().astype(np.float64) for name in names}


def normalize(x: np.ndarray, scale: np.ndarray, offset: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6) * scale + offset


def block_in_numpy(block: TransformerBlock, x: np.ndarray) -> np.ndarray:
    """Compute softmax(Q K^T / sqrt(d_k)) V head by head, then both residuals, in float64."""
    w = weights_of(block)
    width = HEADS * KEY
    inputs, x = x, normalize(x, w["norm1_scale"], w["norm1_offset"])
    q, k, v = (
        x @ w["qkv_kernel"][:, i * width : (i + 1) * width]
        + w["qkv_bias"][i * width : (i + 1) * width]
        for i in range(3)
    )
    heads = []
    for h in range(HEADS):
        part = slice(h * KEY, (h + 1) * KEY)
        scores = q[..., part] @ k[..., part].swapaxes(1, 2) / np.sqrt(KEY)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        heads.append(scores / scores.sum(axis=-1, keepdims=True) @ v[..., part])
    attended = np.concatenate(heads, axis=-1) @ w["output_kernel"] + w["output_bias"]
    hidden = inputs + w["attention_scale"] * attended
    normal = normalize(hidden, w["norm2_scale"], w["norm2_offset"])
    expanded = np.maximum(normal @ w["expand_kernel"] + w["expand_bias"], 0)
    reduced = expanded @ w["reduce_kernel"] + w["reduce_bias"]
    return hidden + w["feed_forward_scale"] * reduced


def test_block_equals_the_equation_written_in_numpy(block, inputs):
    expected = block_in_numpy(block, inputs.astype(np.float64))
    np.testing.assert_allclose(block(inputs), expected, atol=1e-3, rtol=1e-4)


def test_attention_equals_keras_multi_head_attention_with_the_same_weights(block, inputs):
    w = weights_of(block)
    reference = keras.layers.MultiHeadAttention(HEADS, KEY)
    reference(inputs, inputs)  # builds it
    kernels = w["qkv_kernel"].reshape(CHANNELS, 3, HEADS, KEY)
    biases = w["qkv_bias"].reshape(3, HEADS, KEY)
    parts = [array for i in range(3) for array in (kernels[:, i], biases[i])]
    output = w["output_kernel"].reshape(HEADS, KEY, CHANNELS)
    reference.set_weights([*parts, output, w["output_bias"]])
    np.testing.assert_allclose(block.attend(inputs), reference(inputs, inputs), atol=2e-4)


def test_permuting_the_positions_permutes_the_result(block, inputs):
    order = np.random.default_rng(2).permutation(POSITIONS)
    np.testing.assert_allclose(block(inputs[:, order]), block(inputs).numpy()[:, order], atol=1e-3)


def test_query_key_and_value_start_with_the_spread_of_three_separate_matrices():
    layer = TransformerBlock(4, 32, 8)
    layer.build([None, 9, 128])
    limit = np.sqrt(6 / (128 + 128))
    largest = np.abs(layer.qkv_kernel.numpy()).max()
    assert 0.95 * limit < largest <= limit


def test_a_fresh_block_is_the_identity(inputs):
    np.testing.assert_array_equal(TransformerBlock(HEADS, KEY, FEED_FORWARD)(inputs), inputs)


def test_the_pooled_block_is_the_mean_over_the_positions(block, inputs):
    pooled = PooledTransformerBlock.from_config(block.get_config())
    pooled.build(inputs.shape)
    pooled.set_weights(block.get_weights())
    expected = block_in_numpy(block, inputs.astype(np.float64)).mean(axis=1)
    np.testing.assert_allclose(pooled(inputs), expected, rtol=1e-4, atol=1e-4)


def test_parts_of_a_pooled_block_add_up_to_it(inputs):
    """The ranges of heads and hidden units differ in size, and biases count once."""
    pooled = PooledTransformerBlock(4, 3, 10)
    pooled.build(inputs.shape)
    generator = np.random.default_rng(4)
    pooled.set_weights([generator.normal(0, 0.5, array.shape) for array in pooled.get_weights()])
    ranges = [(slice(0, 1), slice(0, 7)), (slice(1, 4), slice(7, 10))]
    parts = [pooled.part(heads, hidden) for heads, hidden in ranges]
    attended = sum(np.asarray(part.attend(tf.constant(inputs))) for part in parts)
    np.testing.assert_allclose(attended, pooled.attend(tf.constant(inputs)), atol=1e-4)
    fed = sum(np.asarray(part.pooled_feed_forward(tf.constant(inputs))) for part in parts)
    w = weights_of(pooled)
    expanded = np.maximum(inputs @ w["expand_kernel"] + w["expand_bias"], 0).mean(axis=1)
    np.testing.assert_allclose(fed, expanded @ w["reduce_kernel"] + w["reduce_bias"], atol=1e-4)
