"""The contract of every own layer: config, save and load, mixed precision, training, export."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.model.attention import PooledTransformerBlock, TransformerBlock
from attr_extractor.model.branches import Branches, SplitAttributes
from attr_extractor.model.evidence import BaseRates
from attr_extractor.model.noise import Dropout
from attr_extractor.model.trunks.fast_layers import DepthwiseConv2D, fused_silu
from attr_extractor.model.trunks.trunk import PixelNormalization

LAYERS = {
    "normalization": (
        lambda **k: PixelNormalization((0.4, 0.5, 0.6), (0.2, 0.2, 0.3), **k),
        [8, 8, 3],
    ),
    "attention": (lambda **k: TransformerBlock(4, 3, 10, **k), [9, 12]),
    "attention and pooling": (lambda **k: PooledTransformerBlock(4, 3, 10, **k), [9, 12]),
    "depthwise": (lambda **k: DepthwiseConv2D(5, 2, "same", **k), [8, 8, 3]),
    "base rates": (lambda **k: BaseRates(**k), [12]),
    "dropout": (lambda **k: Dropout(0.3, (None, 1, 1, 1), **k), [4, 4, 2]),
    "silu": (lambda **k: keras.layers.Activation(fused_silu, **k), [4, 4, 2]),
    "branches": (lambda **k: Branches([3, 40, 2], [6, 5], **k), [12]),
    "split": (lambda **k: SplitAttributes([3, 4], **k), [7]),
}


@pytest.fixture(params=LAYERS)
def case(request):
    make, shape = LAYERS[request.param]
    inputs = np.random.default_rng(0).random([2, *shape]).astype(np.float32)
    return make, shape, inputs


def outputs_of(model, inputs) -> list[np.ndarray]:
    return [tf.cast(x, tf.float32).numpy() for x in tf.nest.flatten(model(inputs))]


def model_of(layer, shape) -> keras.Model:
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


def test_a_config_rebuilds_an_equal_layer(case):
    make, shape, _ = case
    layer = make(name="it")
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    first, second = model_of(layer, shape), model_of(again, shape)
    assert [w.shape for w in first.get_weights()] == [w.shape for w in second.get_weights()]


def test_a_saved_model_file_gives_the_same_outputs(case, tmp_path):
    make, shape, inputs = case
    model = model_of(make(), shape)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for before, after in zip(outputs_of(model, inputs), outputs_of(loaded, inputs)):
        np.testing.assert_array_equal(before, after)


def test_mixed_precision_stays_close_to_float32(case):
    make, shape, inputs = case
    full = model_of(make(), shape)
    half = model_of(make(dtype=keras.mixed_precision.Policy("mixed_bfloat16")), shape)
    half.set_weights(full.get_weights())
    assert {w.dtype for w in half.get_weights()} <= {np.dtype("float32")}
    for wide, narrow in zip(outputs_of(full, inputs), outputs_of(half, inputs)):
        np.testing.assert_allclose(narrow, wide, atol=0.06 * max(1.0, np.abs(wide).max()))


def test_one_training_step_moves_every_weight(case):
    make, shape, inputs = case
    model = model_of(make(), shape)
    if not model.trainable_variables:
        pytest.skip("the layer has no weights")
    noise = np.random.default_rng(1)
    model.set_weights([noise.normal(size=w.shape) for w in model.get_weights()])
    with tf.GradientTape() as tape:
        outputs = tf.nest.flatten(model(inputs))
        loss = sum(
            tf.reduce_sum(x * noise.normal(size=x.shape).astype(np.float32)) for x in outputs
        )
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(g is not None and np.isfinite(g).all() for g in gradients)
    assert all(np.abs(g).max() > 0 for g in gradients)


def test_an_exported_function_gives_the_same_outputs(case, tmp_path):
    make, shape, inputs = case
    model = model_of(make(), shape)
    module = tf.Module()
    module.weights = model.variables  # as serving/export.py: not the Keras model
    module.serve = tf.function(
        lambda x: dict(enumerate_outputs(model(x))),
        input_signature=[tf.TensorSpec([None, *shape], tf.float32)],
    )
    tf.saved_model.save(module, str(tmp_path), signatures=module.serve)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"](tf.constant(inputs))
    for i, expected in enumerate(outputs_of(model, inputs)):
        np.testing.assert_allclose(served[f"out{i}"], expected, atol=1e-5)


def enumerate_outputs(outputs):
    return [(f"out{i}", x) for i, x in enumerate(tf.nest.flatten(outputs))]
