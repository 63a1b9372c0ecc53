"""Tests of attention maps, against the paper's formula in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from attr_extractor.evaluation.explain.attention_maps import AttentionMaps
from attr_extractor.model.attention import EPSILON, TransformerBlock
from attr_extractor.model.network import FEATURE_MAP
from attr_extractor.training.run_dir import RunDir


def by_hand(block: TransformerBlock, inputs: np.ndarray) -> np.ndarray:
    """Compute softmax(Q K^T / sqrt(d)) of one photo [N, D]: [heads, N, N]."""
    weights = {w.name.split("/")[-1].split(":")[0]: np.asarray(w) for w in block.weights}
    mean, variance = inputs.mean(-1, keepdims=True), inputs.var(-1, keepdims=True)
    normal = (inputs - mean) / np.sqrt(variance + EPSILON)
    normal = normal * weights["norm1_scale"] + weights["norm1_offset"]
    found, width, all_heads = [], block.key_dim, block.num_heads * block.key_dim
    for head in range(block.num_heads):
        columns = slice(head * width, (head + 1) * width)
        query, key = (
            normal @ weights["qkv_kernel"][:, part * all_heads :][:, columns]
            + weights["qkv_bias"][part * all_heads :][columns]
            for part in (0, 1)
        )
        scores = np.exp(query @ key.T / np.sqrt(width))
        found.append(scores / scores.sum(-1, keepdims=True))
    return np.array(found)


def test_attention_of_a_block_matches_the_formula():
    generator = np.random.default_rng(0)
    block = TransformerBlock(2, 3, 8)
    block.build([None, 5, 6])
    block.set_weights([generator.normal(size=w.shape) for w in block.get_weights()])
    inputs = generator.normal(size=[2, 5, 6]).astype(np.float32)
    found = block.attention(tf.constant(inputs))
    expected = [by_hand(block, photo) for photo in inputs]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_map_is_the_mean_attention_over_positions(trained):
    network = RunDir.read(trained.run).load_network()
    assert AttentionMaps.is_possible(network)
    pixels = np.random.default_rng(0).integers(0, 256, [2, 32, 32, 3], dtype=np.uint8)
    found = AttentionMaps(network).attended(pixels).numpy()
    assert found.shape == (2, 8, 4, 4)
    np.testing.assert_allclose(found.sum((2, 3)), 1, rtol=1e-5)
    model = network.logits
    before = keras.Model(model.inputs, model.get_layer(FEATURE_MAP).output)(pixels).numpy()
    expected = by_hand(model.get_layer("transformer-block"), before[1])  # [heads, N, N]
    np.testing.assert_allclose(found[1].reshape(8, 16), expected.mean(1), rtol=1e-3, atol=1e-6)
