"""Claims about `model/trunk.py`: one normalisation, the same weights by name and by path."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from attr_extractor.errors import InputError
from attr_extractor.model import trunk

SIDE = 64


def features(name: str, weights: str, photos: np.ndarray) -> np.ndarray:
    pixels = keras.Input([SIDE, SIDE, 3], dtype="uint8")
    return keras.Model(pixels, trunk.build(name, pixels, weights, 0.99))(photos).numpy()


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [2, SIDE, SIDE, 3], dtype=np.uint8)


@pytest.fixture(scope="module")
def b0_file(tmp_path_factory) -> str:
    """A file like the published one: random weights, ImageNet's mean and deviation inside it."""
    keras.utils.set_random_seed(0)
    network = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(SIDE, SIDE, 3)
    )
    generator = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([gamma, beta, mean + 0.1, variance * generator.uniform(0.5, 1.5)])
        if isinstance(layer, keras.layers.Normalization):
            # the published file holds the standard deviations where the layer expects variances
            mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
            layer.set_weights([mean, deviation, np.zeros([], np.int64)])
    path = tmp_path_factory.mktemp("weights") / "b0_notop.h5"
    network.save_weights(str(path))
    return str(path)


def test_a_file_gives_the_same_activations_by_name_and_by_path(b0_file, photos, monkeypatch):
    by_path = features("efficientnetb0", b0_file, photos)
    served = keras.applications.efficientnet
    module = __import__(served.EfficientNetB0.__module__, fromlist=["x"])
    monkeypatch.setattr(module.data_utils, "get_file", lambda *args, **kwargs: b0_file)
    by_name = features("efficientnetb0", "imagenet", photos)
    np.testing.assert_array_equal(by_name, by_path)
    # and both are what keras.applications itself computes by name
    reference = keras.applications.EfficientNetB0(
        include_top=False, weights="imagenet", input_shape=(SIDE, SIDE, 3)
    )(photos.astype(np.float32)).numpy()
    np.testing.assert_allclose(by_path, reference, atol=1e-4, rtol=1e-3)


def test_the_networks_own_preprocessing_does_nothing_any_more(photos):
    pixels = keras.Input([SIDE, SIDE, 3], dtype="uint8")
    model = keras.Model(pixels, trunk.build("efficientnetb0", pixels, "none", 0.99))
    inside = keras.Model(pixels, model.get_layer("stem_conv_pad").output)(photos).numpy()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (photos / 255.0 - mean) / std
    np.testing.assert_allclose(inside[:, :SIDE, :SIDE], expected, atol=1e-5)


def test_the_trunk_is_not_nested():
    pixels = keras.Input([SIDE, SIDE, 3], dtype="uint8")
    model = keras.Model(pixels, trunk.build("efficientnetb0", pixels, "none", 0.9))
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    momenta = {x.momentum for x in model.layers if hasattr(x, "momentum")}
    assert momenta == {0.9}


def test_small_cnn_loads_a_file_by_path(tmp_path, photos):
    keras.utils.set_random_seed(1)
    network = trunk.small_cnn(input_shape=(SIDE, SIDE, 3))
    path = str(tmp_path / "small.h5")
    network.save_weights(path)
    mean, std = np.array(trunk.IMAGENET_MEAN), np.array(trunk.IMAGENET_STD)
    normal = ((photos / 255.0 - mean) / std).astype(np.float32)
    np.testing.assert_allclose(
        features("small_cnn", path, photos), network(normal), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    "name, weights, words",
    [
        ("efficientnetbo", "none", "did you mean 'efficientnetb0'"),
        ("efficientnetb0", "nowhere.h5", "nowhere.h5: no such file"),
        ("small_cnn", "imagenet", "no ImageNet weights"),
    ],
)
def test_what_cannot_be_is_one_clear_line(name, weights, words, photos):
    with pytest.raises(InputError, match=words):
        features(name, weights, photos)


def test_a_file_of_another_network_is_refused(tmp_path, photos):
    path = str(tmp_path / "small.h5")
    trunk.small_cnn(input_shape=(SIDE, SIDE, 3)).save_weights(path)
    with pytest.raises(InputError, match="not weights of efficientnetb0"):
        features("efficientnetb0", path, photos)
    (tmp_path / "junk.h5").write_bytes(b"junk")
    with pytest.raises(InputError, match="not weights of efficientnetb0"):
        features("efficientnetb0", str(tmp_path / "junk.h5"), photos)


def test_a_photo_too_small_for_the_trunk_is_refused():
    pixels = keras.Input([31, 31, 3], dtype="uint8")
    with pytest.raises(InputError, match="too small for efficientnetb0: at least 32"):
        trunk.build("efficientnetb0", pixels, "none", 0.9)
