"""Trunks: pixel formats, own layers, and equal activations for a weights file by name and by path.

Each family is compared with Keras' network on a file that the test writes, and with the
preprocessing that its module documents.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.config import ModelConfig
from attr_extractor.errors import InputError
from attr_extractor.model import keras_versions, noise
from attr_extractor.model.keras_versions import download_folder, tf_variable
from attr_extractor.model.trunks import trunk
from attr_extractor.model.trunks.fast_layers import DepthwiseConv2D, fused_silu
from attr_extractor.model.trunks.pretrained import KERAS_FILES, copy_weights
from tests.model.trunks.weights_files import write_h5

apps = keras.applications
SLOW = pytest.mark.slow
FAMILIES = [  # trunk, Keras' own, its module, pixels
    ("vgg16", apps.VGG16, apps.vgg16, 32),
    pytest.param("efficientnetb0", apps.EfficientNetB0, apps.efficientnet, 64, marks=SLOW),
    pytest.param("mobilenetv3small", apps.MobileNetV3Small, apps.mobilenet_v3, 64, marks=SLOW),
    pytest.param("mobilenetv3large", apps.MobileNetV3Large, apps.mobilenet_v3, 64, marks=SLOW),
    pytest.param("efficientnetv2b0", apps.EfficientNetV2B0, apps.efficientnet_v2, 64, marks=SLOW),
    pytest.param("efficientnetv2s", apps.EfficientNetV2S, apps.efficientnet_v2, 64, marks=SLOW),
    pytest.param("resnet50", apps.ResNet50, apps.resnet50, 64, marks=SLOW),
    pytest.param("vgg19", apps.VGG19, apps.vgg19, 32, marks=SLOW),
    pytest.param("inceptionv3", apps.InceptionV3, apps.inception_v3, 75, marks=SLOW),
    pytest.param("convnexttiny", apps.ConvNeXtTiny, apps.convnext, 64, marks=SLOW),
]
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def built(name: str, size: int, weights: str = "none", fused: bool = False, **model) -> keras.Model:
    return trunk.build(ModelConfig(trunk=name, weights=weights, **model), size, fused)


def pixels_of(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [2, size, size, 3], dtype=np.uint8)


def write_weights(network: keras.Model, path: Path) -> str:
    """Write a file like the published ones: random weights, and ImageNet's pixel moments."""
    generator = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # moments that are not those of a fresh layer, and keep the activations' size
            *affine, mean, variance = layer.get_weights()
            spread = [generator.normal(0, 0.1, mean.shape), generator.uniform(0.8, 1.2, mean.shape)]
            affine = [w + generator.normal(0, 0.1, w.shape) for w in affine]
            layer.set_weights([*affine, mean + spread[0], variance * spread[1]])
        elif isinstance(layer, keras.layers.Normalization) and layer.weights:
            # EfficientNet's file holds the deviations where the layer expects variances
            layer.set_weights([MEAN, STD, np.zeros([], np.int64)])
        elif layer.__class__.__name__ == "LayerScale":
            layer.set_weights([generator.uniform(0.5, 1.0, w.shape) for w in layer.get_weights()])
    return write_h5(network, path)


def downloads(make):
    """Return the module in which Keras' network looks up `get_file`."""
    source = sys.modules[make.__module__]
    if hasattr(source, "file_utils"):  # Keras 3
        return source.file_utils
    return source.data_utils if hasattr(source, "data_utils") else source.utils.data_utils


@pytest.mark.parametrize(("name", "make", "module", "size"), FAMILIES)
def test_a_weights_file_gives_keras_activations_by_name_and_by_path(
    name, make, module, size, tmp_path, monkeypatch
):
    keras.utils.set_random_seed(0)
    shape = {"include_top": False, "input_shape": (size, size, 3)}
    file = write_weights(make(weights=None, **shape), tmp_path / "notop.h5")
    monkeypatch.setattr(downloads(make), "get_file", lambda *args, **kwargs: file)

    photos = pixels_of(size)
    by_path = built(name, size, file)(photos).numpy()
    by_name = built(name, size, "imagenet")(photos).numpy()
    np.testing.assert_array_equal(by_name, by_path)
    expected = make(weights="imagenet", **shape)(
        module.preprocess_input(photos.astype(np.float32))
    ).numpy()
    assert expected.std() > 1e-3  # the activations say something
    # rounding grows with depth: EfficientNetV2-S has 40 blocks
    np.testing.assert_allclose(by_path, expected, atol=2e-3 * np.abs(expected).max())


def layers_within(model: keras.Model) -> list:
    return list(model._flatten_layers(include_self=False))


@pytest.fixture(scope="module")
def plain_b0() -> keras.Model:
    return built("efficientnetb0", 64)


@pytest.fixture(scope="module")
def fused_b0() -> keras.Model:
    """Build EfficientNet-B0 as on a machine with CPUs only."""
    with pytest.MonkeyPatch.context() as patch:
        processor = tf.config.list_logical_devices("CPU")
        patch.setattr(tf.config, "list_logical_devices", lambda *_: processor)
        return built("efficientnetb0", 64, fused=True, batch_norm_momentum=0.87)


def test_dropout_normalisation_and_pixels_are_ours_in_efficientnet(fused_b0):
    require_own_layers(fused_b0, 64)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vgg16", 32),
        ("small_cnn", 32),
        pytest.param("mobilenetv3small", 64, marks=SLOW),
        pytest.param("efficientnetv2b0", 75, marks=SLOW),
        pytest.param("efficientnetv2s", 75, marks=SLOW),
        pytest.param("resnet50", 75, marks=SLOW),
        pytest.param("inceptionv3", 75, marks=SLOW),
        pytest.param("convnexttiny", 64, marks=SLOW),
    ],
)
def test_dropout_normalisation_and_pixels_are_ours_in_every_trunk(name, size):
    require_own_layers(built(name, size, fused=True, batch_norm_momentum=0.87), size)


def require_own_layers(model: keras.Model, size: int) -> None:
    """Verify that no layer of Keras draws noise or changes pixels, and that momentum is ours."""
    within = layers_within(model)
    foreign = {type(x).__name__ for x in within if not type(x).__module__.startswith("attr_")}
    assert not foreign & {"Dropout", "SpatialDropout2D", "StochasticDepth"}
    assert not foreign & {"Rescaling", "Normalization"}
    assert [type(x).__name__ for x in within].count("PixelNormalization") == 1
    norms = [x for x in within if isinstance(x, keras.layers.BatchNormalization)]
    assert {x.momentum for x in norms} <= {0.87}
    # no state but weights that training moves and the moments of batch normalisation
    assert len(model.non_trainable_weights) == 2 * len(norms)
    assert tf.as_dtype(model.inputs[0].dtype) == tf.uint8
    assert model.input.shape == (None, size, size, 3)
    assert len(model.output.shape) == 4 and min(model.output.shape[1:]) >= 1


@pytest.mark.parametrize(("name", "make", "module", "size"), FAMILIES)
def test_pixel_normalization_equals_keras_preprocessing(name, make, module, size):
    """After a deep network, a scale that is wrong by 0.4 % would look like rounding."""
    network = make(weights=None, include_top=False, input_shape=(size, size, 3))
    photos = pixels_of(size)
    expected = module.preprocess_input(photos.astype(np.float32))
    kinds = (keras.layers.Rescaling, keras.layers.Normalization)
    for layer in network.layers:
        if isinstance(layer, kinds) and name != "efficientnetb0":  # its file holds the moments
            expected = layer(expected)
    if name == "efficientnetb0":
        expected = (photos / 255.0 - MEAN) / STD
    own = trunk.TRUNKS[name].pixels
    found = trunk.PixelNormalization(own.mean, own.std, own.bgr)(photos)
    np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max())


def test_efficientnet_has_nine_dropouts_and_fused_activations(plain_b0, fused_b0):
    within = layers_within(fused_b0)
    drops = [layer for layer in within if isinstance(layer, noise.Dropout)]
    assert len(drops) == 9 and {tuple(x.noise_shape) for x in drops} == {(None, 1, 1, 1)}
    # Tan and Le 2019, as Keras has it: survival falls linearly, 0.2 / 16 a block
    assert sorted(round(x.rate / 0.2 * 16) for x in drops) == [2, 4, 6, 7, 9, 10, 12, 13, 14]
    activations = [x.activation for x in within if isinstance(x, keras.layers.Activation)]
    assert activations.count(fused_silu) == 33  # stem, head, 16 depthwise, 15 expanding
    plain = layers_within(plain_b0)
    assert fused_silu not in [getattr(x, "activation", None) for x in plain]


def test_efficientnets_convolutions_pad_and_depthwise_layers_are_ours(fused_b0):
    within = layers_within(fused_b0)
    assert not [x for x in within if isinstance(x, keras.layers.ZeroPadding2D)]
    convolutions = [x for x in within if isinstance(x, keras.layers.Conv2D)]
    assert {x.padding for x in convolutions} == {"same"}
    kinds = [type(x) for x in within if isinstance(x, keras.layers.DepthwiseConv2D)]
    assert kinds == [DepthwiseConv2D] * 16


def test_gradients_of_a_fused_trunk_equal_those_of_keras(fused_b0):
    photos, kept = pixels_of(64), (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    plain = keras.applications.EfficientNetB0(False, None, input_shape=(64, 64, 3))
    fused = fused_b0
    copy_weights(plain, fused)
    scaled = (photos / 255.0 - MEAN) / STD  # by the weights of Normalization, fresh: nothing
    upstream = np.random.default_rng(0).normal(size=fused.output.shape[1:]).astype(np.float32)
    found = []
    for model, inputs in ((plain, scaled * 255.0), (fused, photos)):
        kernels = [x.trainable_weights[0] for x in model.layers if isinstance(x, kept)]
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(model(inputs, training=False) * upstream)
        found.append(tape.gradient(total, [tf_variable(kernel) for kernel in kernels]))
    assert len(found[0]) == len(found[1]) == 81
    for theirs, ours in zip(*found):
        scale = np.abs(theirs).max()
        assert scale > 0
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * scale)


def test_a_fused_trunk_equals_a_plain_one(plain_b0, fused_b0):
    fused_b0.set_weights(plain_b0.get_weights())
    np.testing.assert_array_equal(plain_b0(pixels_of(64)), fused_b0(pixels_of(64)))


def test_the_networks_own_preprocessing_is_removed(plain_b0):
    photos, stem = pixels_of(64), plain_b0.get_layer("stem_conv_pad").output
    inside = keras.Model(plain_b0.input, stem)(photos).numpy()
    np.testing.assert_allclose(inside[:, :64, :64], (photos / 255.0 - MEAN) / STD, atol=1e-5)


def test_the_trunk_is_not_nested(plain_b0):
    assert not any(isinstance(layer, keras.Model) for layer in plain_b0.layers)


def test_small_cnn_loads_a_file_by_path(tmp_path):
    keras.utils.set_random_seed(1)
    network = trunk.small_cnn(input_shape=(64, 64, 3))
    assert network.output.shape == (None, 8, 8, 160)
    path = write_weights(network, tmp_path / "own.h5")
    normal = ((pixels_of(64) / 255.0 - MEAN) / STD).astype(np.float32)
    expected = network(normal).numpy()
    found = built("small_cnn", 64, path)(pixels_of(64))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [
        ("efficentnetb0", "none", "did you mean 'efficientnetb0'"),
        ("small_cnn", "nowhere.h5", "nowhere.h5: no such file"),
        ("small_cnn", "imagenet", "no ImageNet weights"),
    ],
)
def test_unknown_trunks_and_missing_weights_raise(name, weights, words):
    with pytest.raises(InputError, match=words):
        built(name, 64, weights)


def test_a_weights_file_of_another_network_is_rejected(tmp_path):
    path = write_h5(trunk.small_cnn(input_shape=(64, 64, 3)), tmp_path / "small.h5")
    (tmp_path / "junk.h5").write_bytes(b"junk")
    for name, file in (("vgg16", path), ("vgg16", tmp_path / "junk.h5")):
        with pytest.raises(InputError, match=f"not weights of {name}") as caught:
            built(name, 64, str(file))
        assert "\n" not in str(caught.value)


def test_a_failed_download_says_which_file_to_put_where(monkeypatch):
    def offline(*args, **kwargs):
        raise Exception("URL fetch failure on https://x: None -- no route")

    monkeypatch.setattr(downloads(apps.VGG16), "get_file", offline)
    words = rf"put {KERAS_FILES['vgg16']} into {download_folder()} or set model.weights to its path"
    with pytest.raises(InputError, match=rf"{words} \(URL fetch failure") as error:
        built("vgg16", 32, "imagenet")
    assert "\n" not in str(error.value)


def test_the_source_of_a_downloaded_file_is_its_name_and_digest(monkeypatch, tmp_path):
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KERAS_HOME", str(home / ".keras"))
    (home / ".keras" / "models").mkdir(parents=True)
    (home / ".keras" / "models" / KERAS_FILES["vgg16"]).write_bytes(b"weights")
    _, source = trunk.settled(ModelConfig(trunk="vgg16", weights="imagenet"))
    assert source == (KERAS_FILES["vgg16"], hashlib.sha256(b"weights").hexdigest(), "keras")


def test_a_preset_of_keras_hub_requires_keras_3(monkeypatch):
    monkeypatch.setattr(keras_versions, "KERAS_3", False)
    for check in (built, lambda name, size: trunk.require_sizes(ModelConfig(trunk=name), [size])):
        with pytest.raises(InputError, match=r"Python 3.12 .* pip install 'attr-extractor\[hub\]'"):
            check("hub:vit", 32)


@pytest.mark.parametrize(
    ("name", "least"), [("efficientnetb0", 32), ("inceptionv3", 75), ("small_cnn", 16)]
)
def test_a_photo_too_small_for_the_trunk_is_rejected(name, least):
    with pytest.raises(InputError, match=f"{least - 1} is too small for {name}: at least {least}"):
        built(name, least - 1)


def test_every_trunk_has_the_name_of_its_keras_network():
    """An entry with the wrong constructor would otherwise go unnoticed until it is used."""
    for name, entry in trunk.TRUNKS.items():
        if name in KERAS_FILES:
            assert entry.make.__name__.lower() == name


# members of a family whose smallest one is built; InceptionV3 is built by a test above
LARGE = re.compile(
    "efficientnet(b|lite|v2b)[1-7]|efficientnetv2[ml]|convnext(small|base|large|xlarge)|inceptionv3"
)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in trunk.TRUNKS if not LARGE.fullmatch(name)])
def test_every_trunk_builds_at_its_minimum_size(name):
    size = trunk.TRUNKS[name].min_size
    model = built(name, size, batch_norm_momentum=0.9)
    assert min(model.output.shape[1:]) >= 1
    keras.backend.clear_session()


class AskedError(Exception):
    """Raised instead of a download."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "vgg16" else SLOW)
        for name in KERAS_FILES
        if not LARGE.fullmatch(name)
    ],
)
def test_keras_downloads_the_file_of_that_name(name, monkeypatch):
    def refuse(fname, *args, **kwargs):
        raise AskedError(fname)

    entry = trunk.TRUNKS[name]
    monkeypatch.setattr(downloads(entry.make), "get_file", refuse)
    with pytest.raises(AskedError, match=f"^{KERAS_FILES[name]}$"):
        entry.make(include_top=False, weights="imagenet", input_shape=(96, 96, 3))
    keras.backend.clear_session()
