"""Fused branches, compared with T separate ones in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.model.branches import TILE, Branches, pack, unpack
from attr_extractor.schema import Schema
from tests.conftest import ROOT

CHANNELS = 24
SIZES = [3, 1, 89, TILE, TILE + 1, 2, 50]


def separate_branches(fused: Branches, channels: int) -> keras.Model:
    """Build T Keras branches with the same weights: two hidden Dense layers and an output layer."""
    inputs = keras.Input([channels])
    outputs = []
    for size in fused.sizes:
        x = keras.layers.Dense(fused.hidden[0], activation="relu")(inputs)
        x = keras.layers.Dense(fused.hidden[1], activation="relu")(x)
        outputs.append(keras.layers.Dense(size)(x))
    model = keras.Model(inputs, keras.layers.Concatenate()(outputs))
    weights = [fused.branch_weights(t) for t in range(len(fused.sizes))]
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    by_depth = [dense[k * len(weights) : (k + 1) * len(weights)] for k in range(3)]
    for depth, layers in enumerate(by_depth, start=1):
        for layer, own in zip(layers, weights):
            layer.set_weights(own[2 * depth - 2 : 2 * depth])
    return model


@pytest.fixture(scope="module")
def fused() -> Branches:
    layer = Branches(SIZES, [7, 5])
    layer.build([None, CHANNELS])
    generator = np.random.default_rng(0)
    layer.set_weights([generator.normal(size=w.shape) for w in layer.get_weights()])
    return layer


def test_logits_equal_those_of_separate_branches_with_the_same_weights(fused):
    inputs = np.random.default_rng(1).normal(size=[6, CHANNELS]).astype(np.float32)
    expected = separate_branches(fused, CHANNELS)(inputs)
    np.testing.assert_allclose(fused(inputs), expected, rtol=1e-5, atol=1e-4)


def test_the_papers_49_branches_equal_49_separate_branches():
    sizes = Schema.read(ROOT / "configs/schemas/flipkart49.yaml").sizes
    layer = Branches(sizes, [4, 3])
    layer.build([None, CHANNELS])
    generator = np.random.default_rng(0)
    layer.set_weights([generator.normal(size=w.shape) for w in layer.get_weights()])
    inputs = generator.normal(size=[2, CHANNELS]).astype(np.float32)
    expected = separate_branches(layer, CHANNELS)(inputs)
    assert len(sizes) == 49
    np.testing.assert_allclose(layer(inputs), expected, rtol=1e-5, atol=1e-4)


def test_gradients_equal_those_of_separate_branches(fused):
    inputs = tf.constant(np.random.default_rng(2).normal(size=[6, CHANNELS]), tf.float32)
    separate = separate_branches(fused, CHANNELS)
    gradients = []
    for model in (fused, separate):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(tf.sin(model(inputs)))
        gradients.append(tape.gradient(loss, inputs))
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-3)


def test_logits_of_a_branch_do_not_depend_on_another_branch(fused):
    inputs = np.random.default_rng(3).normal(size=[2, CHANNELS]).astype(np.float32)
    before = fused(inputs).numpy()
    weights = fused.get_weights()
    changed = [w.copy() for w in weights]
    changed[0][:, 2 * 7 : 3 * 7] += 1.0  # the first layer of branch 2
    fused.set_weights(changed)
    after = fused(inputs).numpy()
    fused.set_weights(weights)
    same = np.isclose(before, after).all(axis=0)
    assert not same[4:93].any() and same[:4].all() and same[93:].all()


def test_number_of_graph_ops_does_not_depend_on_the_number_of_attributes():
    def count(sizes: list[int]) -> int:
        layer = Branches(sizes, [8, 8])
        layer.build([None, CHANNELS])
        function = tf.function(layer.call).get_concrete_function(tf.TensorSpec([None, CHANNELS]))
        return len(function.graph.get_operations())

    assert count([4] * 3) == count([40] * 200)


def test_padding_is_less_than_one_tile_per_attribute():
    layer = Branches([2, 20_000, 3], [4, 4])
    layer.build([None, 8])
    padded = layer.kernel3.shape[0] * TILE
    assert padded - 20_005 < 3 * TILE


def test_every_value_has_a_trainable_output_of_its_own(fused):
    inputs = tf.random.stateless_normal([4, CHANNELS], seed=[0, 0])
    with tf.GradientTape() as tape:
        logits = fused(inputs)[0]
    jacobian = tape.jacobian(logits, fused.kernel3)  # [V, tiles, h2, TILE]
    touched = np.abs(jacobian.numpy()).sum(axis=2) > 0  # [V, tiles, TILE]
    assert (touched.reshape(len(logits), -1).sum(axis=1) <= 1).all()
    assert (touched.sum(axis=0) <= 1).all()


def test_packing_unpacked_weights_keeps_the_logits(fused):
    """Packing does not keep the padding of the tiles, and no logit depends on it."""
    weights = [weight.numpy() for weight in fused.weights]
    again = Branches(SIZES, fused.hidden)
    again.build([None, CHANNELS])
    again.set_weights(pack(unpack(weights, SIZES)))
    inputs = np.random.default_rng(1).normal(size=[4, CHANNELS]).astype(np.float32)
    np.testing.assert_array_equal(again(inputs).numpy(), fused(inputs).numpy())
