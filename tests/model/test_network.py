"""Claims about `model/network.py`: two models over one set of weights, and their arrays."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.model import network
from attr_extractor.schema import Schema


def config(**model) -> Config:
    attention = {"num_heads": 8, "key_dim": 4, "feed_forward_dim": 16}
    content = {"trunk": "small_cnn", "attention": attention, "hidden": [8, 8], **model}
    return Config.model_validate({"name": "t", "data": {"image_size": 32}, "model": content})


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [3, 32, 32, 3], dtype=np.uint8)


def test_named_scores_are_the_sigmoids_of_the_logits(schema, photos):
    built = network.build(schema, config())
    logits = built.logits(photos).numpy()
    scores = built.scores(photos)
    assert list(scores) == schema.names
    for name, where in schema.slices.items():
        expected = 1 / (1 + np.exp(-logits[:, where].astype(np.float64)))
        np.testing.assert_allclose(scores[name], expected, atol=1e-6)
    assert built.scores.count_params() == built.logits.count_params()


def test_the_paper_has_49_named_sigmoid_outputs_over_7x7_positions():
    from tests.conftest import ROOT

    schema = Schema.read(ROOT / "configs/schemas/flipkart49.yaml")
    built = network.build(schema, Config.read(ROOT / "configs/paper.yaml"))
    assert built.logits.get_layer(network.FEATURE_MAP).output.shape == (None, 49, 1280)
    assert built.logits.output.shape == (None, schema.num_values)
    assert len(built.scores.outputs) == 49
    for name, size in zip(schema.names, schema.sizes):
        layer = built.scores.get_layer(name)
        assert layer.output.shape == (None, size)
        assert layer.activation is keras.activations.sigmoid


def test_prior_bias_starts_every_value_at_its_base_rate(schema, photos):
    priors = np.linspace(0.01, 0.9, schema.num_values)
    built = network.build(schema, config(prior_bias=True), priors)
    weights = built.logits.get_layer(network.BRANCHES)
    weights.kernel3.assign(np.zeros(weights.kernel3.shape))
    scores = np.concatenate(list(built.scores(photos).values()), axis=1)
    np.testing.assert_allclose(scores, np.tile(priors, [3, 1]), atol=1e-5)


def test_attention_can_be_left_out(schema, photos):
    off = config(attention={"enabled": False})
    built = network.build(schema, off)
    assert "transformer-block" not in [layer.name for layer in built.logits.layers]
    assert np.isfinite(built.logits(photos)).all()


def test_arrays_by_layer_name_carry_all_weights_to_another_copy(schema, photos):
    first, second = network.build(schema, config()), network.build(schema, config())
    before = first.logits(photos).numpy()
    assert np.abs(second.logits(photos) - before).max() > 1e-3
    network.set_layer_arrays(second.logits, network.layer_arrays(first.logits), "test")
    np.testing.assert_array_equal(second.logits(photos), before)


def test_arrays_of_another_network_are_refused_naming_the_layer(schema):
    built = network.build(schema, config())
    arrays = network.layer_arrays(network.build(schema, config(hidden=[8, 9])).logits)
    with pytest.raises(InputError, match="branches-fused/2"):
        network.set_layer_arrays(built.logits, arrays, "w.npz")
    missing = network.layer_arrays(built.logits)
    del missing["stem_conv/0"]
    with pytest.raises(InputError, match="stem_conv/0"):
        network.set_layer_arrays(built.logits, missing, "w.npz")


def test_an_attribute_named_like_a_layer_of_the_trunk_is_refused(schema):
    attributes = [
        a.model_copy(update={"name": "stage1_add"}) if a.name == "color" else a
        for a in schema.attributes
    ]
    renamed = Schema(name="x", category="category", attributes=attributes)
    with pytest.raises(InputError, match="stage1_add"):
        network.build(renamed, config())


def test_mixed_bfloat16_keeps_logits_and_scores_in_float32(schema, photos):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        built = network.build(schema, config())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert built.logits(photos).dtype.name == "float32"
    assert {score.dtype.name for score in built.scores(photos).values()} == {"float32"}
    assert built.logits.get_layer("stem_conv").compute_dtype == "bfloat16"


def test_names_of_the_arrays_do_not_depend_on_what_the_process_built_before(schema):
    b0 = config(trunk="efficientnetb0")
    first, second = network.build(schema, b0).logits, network.build(schema, b0).logits
    unnamed = [layer.name for layer in second.layers if layer.name.startswith("normalization")]
    assert unnamed != ["normalization"]  # Keras numbers it through the process
    assert list(network.layer_arrays(first)) == list(network.layer_arrays(second))
    assert len(network.layer_arrays(second)) == len(second.weights)
