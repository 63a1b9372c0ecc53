"""Tests of Grad-CAM: equations against finite differences, and heat at the evidence."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.evaluation.explain.grad_cam import GRID, GradCam, maps_of
from attr_extractor.model import network
from attr_extractor.model.network import Network
from attr_extractor.schema import Schema

SCHEMA = Schema.parse(
    """
name: test
category: category
attributes:
  - {name: category, values: [a, b, c]}
  - {name: color, exclusive: false, values: [red, green]}
  - {name: only, values: [one]}
""",
    "test",
)
RED = SCHEMA.slices["color"].start


def tiny(head: list, maps: int = 1, place_weights: np.ndarray | None = None) -> Network:
    """Pixels -> a fixed map [GRID, GRID, 4] (and one half as fine) -> pooled -> `head`.

    Pooled by the mean over positions, or by the sum weighted with [GRID, GRID, 4].
    """
    pixels = keras.Input([GRID, GRID, 3], dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(pixels)
    kernel = [[1.0, 0.2, 0.5, 0.1], [-0.5, 1.0, -0.2, 0.3], [0.1, 0.4, 0.7, -0.1]]  # [3, 4]
    convolve = keras.layers.Conv2D(4, 1, activation="relu", use_bias=False)
    found = [convolve(scaled)]
    convolve.set_weights([np.reshape(kernel, [1, 1, 3, 4])])
    if maps == 2:
        found.append(keras.layers.AveragePooling2D(2)(keras.layers.Activation("tanh")(found[0])))
    pool = keras.layers.GlobalAveragePooling2D()
    if place_weights is not None:
        whole = keras.layers.DepthwiseConv2D(GRID, use_bias=False)
        pool = keras.Sequential([whole, keras.layers.Flatten()])
        pool.build([None, GRID, GRID, 4])
        whole.set_weights([place_weights[..., np.newaxis]])
    pooled = [pool(each) for each in found]
    logits = keras.layers.Concatenate()(pooled) if maps == 2 else pooled[0]
    for layer in head:
        logits = layer(logits)
    softmax = np.zeros(SCHEMA.num_values, bool)
    model = keras.Model(pixels, logits)
    ones = np.ones(SCHEMA.num_values, np.float32)
    return Network(SCHEMA, softmax, ones, ones, model, list(model.layers), found, features=[])


def dense(inputs: int, units: int, seed: int, activation: str | None = None) -> keras.layers.Layer:
    layer = keras.layers.Dense(units, activation)
    layer.build([None, inputs])
    layer.set_weights([np.random.default_rng(seed).normal(size=[inputs, units]), np.zeros(units)])
    return layer


def noise(photos: int, size: int = GRID) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [photos, size, size, 3], dtype=np.uint8)


def mean_of_neighbours(image: np.ndarray) -> np.ndarray:
    rows, columns = image.shape
    blocks = [
        [image[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].mean() for x in range(columns)]
        for y in range(rows)
    ]
    return np.array(blocks)


@pytest.mark.parametrize("mean_weights", [False, True])
@pytest.mark.parametrize("value", [1, RED, SCHEMA.slices["only"].start])
def test_heat_is_the_equation_with_gradients_by_finite_differences(value, mean_weights):
    hidden, last = dense(4, 4, 0, "tanh"), dense(4, 6, 1)
    place_weights = np.random.default_rng(3).normal(0.002, 0.01, [GRID, GRID, 4])
    built, photos = tiny([hidden, last], place_weights=place_weights), noise(1)
    found = GradCam(built, mean_weights=mean_weights).heats(photos, tf.constant([value])).numpy()[0]

    def target(feature_map: np.ndarray) -> float:
        (kernel1, _), (kernel2, _) = hidden.get_weights(), last.get_weights()
        logits = np.tanh(
            (feature_map * place_weights).sum((0, 1)) @ kernel1.astype(float)
        ) @ kernel2.astype(float)
        if value == 1:  # exclusive: against both other categories
            return logits[1] - np.log(np.exp(logits[0]) + np.exp(logits[2]))
        return logits[value]

    feature_map = keras.Model(built.logits.inputs, built.maps[0])(photos)[0].numpy().astype(float)
    gradient = np.zeros_like(feature_map)
    for index in np.ndindex(*feature_map.shape):
        step = np.zeros_like(feature_map)
        step[index] = 1e-3
        gradient[index] = (target(feature_map + step) - target(feature_map - step)) / 2e-3
    if mean_weights:
        gradient = gradient.mean((0, 1), keepdims=True)  # equation 1
    shares = (gradient * feature_map).sum(-1)  # equation 2
    expected = np.maximum(mean_of_neighbours(GRID * GRID * shares), 0)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert np.mean(expected > 0.01) > 0.05


def test_the_shares_of_maps_of_two_resolutions_add_up_to_a_linear_logit():
    layer = dense(8, 6, 2)
    layer.set_weights([np.abs(layer.get_weights()[0]), np.zeros(6)])  # no heat is cut off at 0
    built, photos = tiny([layer], maps=2), np.full([1, GRID, GRID, 3], 90, np.uint8)
    maps = keras.Model(built.logits.inputs, built.maps)(photos)
    alone = [
        GradCam(built, [each]).heats(photos, tf.constant([RED])).numpy() for each in built.maps
    ]
    both = GradCam(built).heats(photos, tf.constant([RED])).numpy()
    np.testing.assert_allclose(both, sum(alone), rtol=1e-4)
    # the first map leads to the second: it holds its own share and, as far as tanh is linear, that
    direct = maps[0].numpy().mean((0, 1, 2)) @ layer.get_weights()[0][:4, RED]
    indirect = maps[1].numpy().mean((0, 1, 2)) @ layer.get_weights()[0][4:, RED]
    assert alone[1].mean() == pytest.approx(indirect, rel=1e-4)
    assert direct < alone[0].mean() < direct + indirect


def test_pairs_of_a_batch_are_independent():
    built, photos = tiny([dense(4, 4, 0, "tanh"), dense(4, 6, 1)]), noise(3)
    grad_cam, values = GradCam(built), tf.constant([RED, 0, 2])
    together = grad_cam.heats(photos, values).numpy()
    for i in range(3):
        alone = grad_cam.heats(photos[i : i + 1], values[i : i + 1]).numpy()[0]
        np.testing.assert_allclose(together[i], alone, rtol=1e-5, atol=1e-6)


def test_heat_is_zero_if_all_positions_are_evidence_against_the_value():
    layer = dense(4, 6, 0)
    layer.set_weights([-np.ones([4, 6]), np.zeros(6)])
    assert not GradCam(tiny([layer])).heats(noise(1), tf.constant([RED])).numpy().any()


CORNERS = Schema.parse(
    "name: t\ncategory: c\nattributes: [{name: c, values: [red, green]}]", "corners"
)


def photos_with_a_coloured_corner(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey noise, and 10 x 10 pixels of red or green in the upper left corner: labels 0 and 1."""
    generator = np.random.default_rng(seed)
    photos = generator.integers(100, 156, [count, 48, 48, 1]).repeat(3, -1).astype(np.uint8)
    labels = generator.integers(0, 2, count)
    for photo, label in zip(photos, labels):
        photo[:10, :10] = [(220, 40, 40), (40, 200, 40)][label]
    return photos, labels


@pytest.mark.parametrize("fuse_stages", [1, 2])
def test_a_network_that_depends_on_one_corner_has_its_heat_there(fuse_stages):
    keras.utils.set_random_seed(0)
    attention = {"num_heads": 8, "key_dim": 4, "feed_forward_dim": 16, "initial_scale": 1.0}
    model = {"trunk": "small_cnn", "weights": "none", "hidden": [8, 8], "attention": attention}
    model |= {"fuse_stages": fuse_stages, "batch_norm_momentum": 0.5, "dropout": 0}
    config = {
        "name": "corner",
        "data": {"image_size": 48},
        "model": model,
        "train": {"xla": "off", "precision": "float32"},
    }
    built = network.build(CORNERS, Config.model_validate(config))
    photos, labels = photos_with_a_coloured_corner(64, 1)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    built.logits.compile(keras.optimizers.Adam(3e-3), loss)
    built.logits.fit(photos, np.eye(2)[labels], batch_size=16, epochs=6, verbose=0)

    unseen, truth = photos_with_a_coloured_corner(16, 2)
    answers = built.logits(unseen, training=False).numpy().argmax(1)
    assert (answers == truth).all()
    heats = GradCam(built).heats(unseen, tf.constant(truth, tf.int32)).numpy()
    corner = GRID // 3  # a little more than the 10 of 48 pixels: the heat is a mean of neighbours
    hottest = [np.unravel_index(heat.argmax(), heat.shape) for heat in heats]
    assert np.mean([max(place) < corner for place in hottest]) > 0.9  # by chance: 0.1
    assert np.mean(heats[:, :corner, :corner].sum((1, 2)) / heats.sum((1, 2))) > 0.4


def test_maps_range_from_the_resolution_of_the_grid_to_the_last():
    config = {"name": "test", "data": {"image_size": 64}}
    config["model"] = {"trunk": "small_cnn", "weights": "none", "hidden": [4, 4], "fuse_stages": 1}
    built = network.build(CORNERS, Config.model_validate(config))
    assert [each.shape[1] for each in maps_of(built)] == [32, 16, 8]
    config["data"]["image_size"] = 48  # nothing but the pixels is so fine there
    config["model"]["trunk"] = "efficientnetlite0"
    built = network.build(CORNERS, Config.model_validate(config))
    assert [each.shape[1] for each in maps_of(built)] == [24, 12, 6, 3, 2]


def test_heats_can_be_part_of_a_saved_model(tmp_path):
    built, photos = tiny([dense(4, 6, 0)]), noise(2)
    grad_cam, values = GradCam(built), tf.constant([RED, 1])
    specs = tf.TensorSpec([None, GRID, GRID, 3], tf.uint8), tf.TensorSpec([None], tf.int32)
    served = tf.Module()
    served.heats = grad_cam.heats.get_concrete_function(*specs)
    served.weights = served.heats.variables
    tf.saved_model.save(served, str(tmp_path))
    found = tf.saved_model.load(str(tmp_path)).heats(photos, values)
    np.testing.assert_allclose(found, grad_cam.heats(photos, values), rtol=1e-5)
