"""The network: two models over one set of weights, and its weights as arrays."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.model import network, noise
from attr_extractor.schema import Schema
from tests.conftest import ROOT


def config(**model) -> Config:
    attention = {"num_heads": 8, "key_dim": 4, "feed_forward_dim": 16}
    plain = {"weights": "none", "fuse_stages": 1, "dropout": 0, "prior_bias": False}
    content = {"trunk": "small_cnn", "attention": attention, "hidden": [8, 8], **plain, **model}
    return Config.model_validate({"name": "t", "data": {"image_size": 32}, "model": content})


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [3, 32, 32, 3], dtype=np.uint8)


def test_named_scores_are_the_sigmoids_of_the_logits(schema, photos):
    built = network.build(schema, config())
    logits = built.logits(photos).numpy()
    scores = built.scores_model()(photos)
    assert list(scores) == schema.names
    for name, where in schema.slices.items():
        expected = 1 / (1 + np.exp(-logits[:, where].astype(np.float64)))
        np.testing.assert_allclose(scores[name], expected, atol=1e-6)
    assert built.scores_model().count_params() == built.logits.count_params()


@pytest.fixture(scope="module")
def paper() -> network.Network:
    """Build the paper's network: EfficientNet-B0 at 224 px, 49 attributes."""
    schema = Schema.read(ROOT / "configs/schemas/flipkart49.yaml")
    return network.build(schema, Config.read(ROOT / "configs/paper.yaml"))


def test_the_paper_has_49_named_sigmoid_outputs_over_7x7_positions(paper):
    built, schema = paper, paper.schema
    assert built.logits.get_layer(network.FEATURE_MAP).output.shape == (None, 49, 1280)
    assert built.logits.output.shape == (None, schema.num_values)
    assert len(built.scores_model().outputs) == 49
    for name, size in zip(schema.names, schema.sizes):
        layer = built.scores_model().get_layer(name)
        assert layer.output.shape == (None, size)
        assert layer.activation is keras.activations.sigmoid


def test_prior_bias_starts_every_value_at_its_base_rate(schema, photos):
    priors = np.linspace(0.01, 0.9, schema.num_values)
    built = network.build(schema, config(prior_bias=True), priors)
    weights = built.logits.get_layer(network.BRANCHES)
    weights.kernel3.assign(np.zeros(weights.kernel3.shape))
    scores = np.concatenate(list(built.scores_model()(photos).values()), axis=1)
    np.testing.assert_allclose(scores, np.tile(priors, [3, 1]), atol=1e-5)


def test_attention_can_be_disabled(schema, photos):
    off = config(attention={"enabled": False})
    built = network.build(schema, off)
    assert "transformer-block" not in [layer.name for layer in built.logits.layers]
    assert np.isfinite(built.logits(photos)).all()


def test_arrays_by_layer_name_copy_all_weights(schema, photos):
    first, second = network.build(schema, config()), network.build(schema, config())
    before = first.logits(photos).numpy()
    assert np.abs(second.logits(photos) - before).max() > 1e-3
    network.set_layer_arrays(second.logits, network.layer_arrays(first.logits), "test")
    np.testing.assert_array_equal(second.logits(photos), before)


def test_arrays_of_another_network_are_rejected_with_the_layers_name(schema):
    built = network.build(schema, config())
    arrays = network.layer_arrays(network.build(schema, config(hidden=[8, 9])).logits)
    with pytest.raises(InputError, match="branches-fused/2"):
        network.set_layer_arrays(built.logits, arrays, "w.npz")
    missing = network.layer_arrays(built.logits)
    del missing["stem_conv/0"]
    with pytest.raises(InputError, match="stem_conv/0"):
        network.set_layer_arrays(built.logits, missing, "w.npz")


def test_an_attribute_with_the_name_of_a_trunk_layer_is_rejected(schema):
    attributes = [
        a.model_copy(update={"name": "stage1_add"}) if a.name == "color" else a
        for a in schema.attributes
    ]
    renamed = Schema(name="x", category="category", attributes=attributes)
    with pytest.raises(InputError, match="stage1_add"):
        network.build(renamed, config())


def test_mixed_bfloat16_keeps_logits_and_scores_in_float32(schema, photos):
    built = network.build(schema, config(), precision="mixed_bfloat16")
    assert keras.mixed_precision.global_policy().name == "float32"
    assert built.logits(photos).dtype.name == "float32"
    assert {score.dtype.name for score in built.scores_model()(photos).values()} == {"float32"}
    assert built.logits.get_layer("stem_conv").compute_dtype == "bfloat16"


def test_array_names_do_not_depend_on_models_built_before():
    def unnamed_layers() -> keras.Model:
        inputs = keras.Input([3])
        x = keras.layers.Dense(4)(inputs)
        return keras.Model(inputs, keras.layers.Dense(2)(x))

    models = [unnamed_layers() for _ in range(2)]
    first, second = ([layer.name for layer in model.layers] for model in models)
    assert first != second  # Keras numbers unnamed layers across the process
    for model in models:
        names = list(network.layer_arrays(model))
        assert names == ["dense/0", "dense/1", "dense_1/0", "dense_1/1"]


def concatenated(scores: dict) -> np.ndarray:
    return np.concatenate([tf.convert_to_tensor(s) for s in scores.values()], axis=1)


@pytest.mark.parametrize("exclusive_output", ["sigmoid", "softmax"])
def test_scores_of_logits_are_the_scores_of_the_network(schema, photos, exclusive_output):
    built = network.build(schema, config(exclusive_output=exclusive_output))
    logits = built.logits(photos)
    found = built.scores_of(logits).numpy()
    np.testing.assert_array_equal(found, built.flat_scores(photos))
    np.testing.assert_allclose(found, concatenated(built.scores_model()(photos)), atol=1e-6)
    for attribute, where in zip(schema.attributes, schema.slices.values()):
        z = logits.numpy()[:, where].astype(np.float64)
        exclusive = attribute.exclusive and exclusive_output == "softmax"
        expected = special.softmax(z, axis=1) if exclusive else special.expit(z)
        np.testing.assert_allclose(found[:, where], expected, atol=1e-6)
        assert built.softmax[where].tolist() == [exclusive] * z.shape[1]


def test_prior_bias_starts_a_softmax_at_its_base_rates(schema, photos):
    priors = np.full(schema.num_values, 0.3)
    for attribute, where in zip(schema.attributes, schema.slices.values()):
        if attribute.exclusive:
            rates = np.arange(1.0, 1 + len(attribute.values))
            priors[where] = rates / rates.sum()
    built = network.build(schema, config(prior_bias=True, exclusive_output="softmax"), priors)
    weights = built.logits.get_layer(network.BRANCHES)
    weights.kernel3.assign(np.zeros(weights.kernel3.shape))
    np.testing.assert_allclose(
        concatenated(built.scores_model()(photos)), np.tile(priors, [3, 1]), atol=1e-5
    )


def test_priors_of_0_and_1_give_finite_biases():
    for softmax in (False, True):
        assert np.isfinite(network.prior_logits(np.array([0.0, 1.0]), softmax)).all()


def test_fused_stages_are_the_means_of_the_last_map_of_each_resolution(schema, photos):
    built = network.build(schema, config(fuse_stages=3, attention={"enabled": False}))
    # small_cnn at 32 px: 32 x 32 x 16, 16 x 16 x 32, 8 x 8 x 64, 4 x 4 x 160
    names = ["stage3_add", "stage1_add", "stage2_add"]
    maps = [built.logits.get_layer(name).output for name in names]
    assert [m.shape[1] for m in maps] == [4, 16, 8]
    pooled = built.logits.get_layer(network.POOLED).output
    assert pooled.shape == (None, 160 + 32 + 64)
    *found, vector = keras.Model(built.logits.input, [*maps, pooled])(photos)
    expected = np.concatenate([np.mean(m, axis=(1, 2)) for m in found], axis=1)
    np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=1e-5)


def test_resolutions_of_efficientnet_exclude_padding_and_squeezed_maps(paper):
    assert [each.shape[1] for each in paper.maps[-3:]] == [28, 14, 7]
    layers = [x.name for x in paper.trunk if any(x.output is each for each in paper.maps[-3:])]
    # the maps that the next stage's striding convolution reads, and the last one
    assert layers == ["block4a_expand_activation", "block6a_expand_activation", "top_activation"]


def test_dropout_applies_to_the_pooled_features_and_depends_on_the_seed(schema, photos):
    built = network.build(schema, config(dropout=0.5))
    layer = built.logits.get_layer(network.POOLED)
    both = keras.Model(built.logits.input, [layer.input, layer.output])

    def run(seed: int) -> tuple:
        with noise.keyed(tf.constant([0, seed], tf.int64)):
            return both(photos, training=True)

    (before, after), (_, again), (_, other) = run(1), run(1), run(2)
    kept = after.numpy() != 0
    assert 0.35 < kept[before.numpy() != 0].mean() < 0.65
    np.testing.assert_allclose(after.numpy()[kept], 2 * before.numpy()[kept], rtol=1e-5)
    np.testing.assert_array_equal(after, again)
    assert (after.numpy() != other.numpy()).any()
    np.testing.assert_array_equal(*both(photos))  # evaluation


def test_arrays_of_one_image_size_load_into_a_network_of_another(schema):
    content = config(fuse_stages=2)
    small = network.build(schema, content)
    large = network.build(schema, content, image_size=64)
    assert large.logits.input.shape == (None, 64, 64, 3)
    network.set_layer_arrays(large.logits, network.layer_arrays(small.logits), "test")
    for ours, theirs in zip(small.logits.get_weights(), large.logits.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    assert large.logits(np.zeros([2, 64, 64, 3], np.uint8)).shape == (2, schema.num_values)


def test_the_trunk_is_exactly_the_layers_before_the_attention_block(schema):
    built = network.build(schema, config(fuse_stages=2))
    trunk = {layer.name for layer in built.trunk}
    rest = {layer.name for layer in built.logits.layers} - trunk
    assert {"pixels", "stem_conv", "stage3_add"} <= trunk
    with_weights = {x.name for x in built.logits.layers if x.weights}
    assert with_weights & rest == {"transformer-block", network.BRANCHES}
