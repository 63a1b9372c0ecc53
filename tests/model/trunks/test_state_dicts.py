"""State dicts of torchvision, timm and efficientnet_pytorch give the features of those libraries.

references/pytorch_trunks.py computed the expected features, from weights that NumPy draws here
again.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from attr_extractor.config import ModelConfig
from attr_extractor.errors import InputError
from attr_extractor.model.trunks import namings, pretrained, state_dicts, trunk
from tests.model.trunks import torch_writer
from tests.model.trunks.references import pytorch_trunks as reference
from tests.model.trunks.weights_files import write_h5

FORMS = {"torchvision": "older", "timm": "zipped", "efficientnet_pytorch": "safetensors"}
FAST = {
    ("torchvision", "efficientnet_b0"),
    ("torchvision", "resnet50"),
    ("timm", "efficientnet_lite0"),
    ("timm", "tf_efficientnet_b1.ap_in1k"),
    ("efficientnet_pytorch", "efficientnet-b0"),
}


def network_named(library: str, name: str) -> reference.Network:
    (network,) = (n for n in reference.NETWORKS if (n.library, n.name) == (library, name))
    return network


def arrays_of(library: str, name: str) -> dict[str, np.ndarray]:
    network = network_named(library, name)
    with np.load(reference.FILE) as file:
        shapes = reference.shapes_of(file, network)
    return reference.random_state(shapes, reference.gain_of(network.trunk))


def written(library: str, name: str, folder: Path, form: str = "older", **changes) -> str:
    """Write a network's file; `changes` replace arrays, None removes one."""
    suffix = ".safetensors" if form == "safetensors" else ".pth"
    arrays = {**arrays_of(library, name), **changes}
    kept = {key: array for key, array in arrays.items() if array is not None}
    return torch_writer.write(kept, folder / (name + suffix), form)


def features(network: keras.Model) -> np.ndarray:
    return reference.summary(np.asarray(network(reference.photos(), training=False)))


def built(name: str, weights: str, **model) -> keras.Model:
    return trunk.build(ModelConfig(trunk=name, weights=weights, **model), reference.SIZE)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(
            network,
            id=f"{network.library}-{network.name}",
            marks=[] if (network.library, network.name) in FAST else [pytest.mark.slow],
        )
        for network in reference.NETWORKS
    ],
)
def test_features_equal_those_of_the_library(network, tmp_path):
    form = FORMS[network.library]
    if form == "safetensors":
        pytest.importorskip("safetensors")
    path = written(network.library, network.name, tmp_path, form)
    with np.load(reference.FILE) as file:
        expected = reference.features_of(file, network)
    found = built(network.trunk, path)
    np.testing.assert_allclose(features(found), expected, atol=1e-4)

    settled, source = trunk.settled(ModelConfig(trunk=network.trunk, weights=path))
    assert source is not None and source.file == Path(path).name
    assert source.naming == ("torchvision" if network.trunk == "resnet50" else network.library)
    if (network.library, network.name) in FAST:  # the others are of the same styles
        # a network that is built without the file, as from a finished run, computes the same
        later = trunk.build(settled.model_copy(update={"weights": "none"}), reference.SIZE)
        later.set_weights(found.get_weights())
        np.testing.assert_array_equal(features(later), features(found))
    keras.backend.clear_session()


def test_the_references_tell_styles_and_pixels_apart():
    """Otherwise a wrong padding, epsilon or pixel format would pass the test above."""
    pairs = [  # with equal weights
        ("timm", "efficientnet_b0.ra_in1k", "timm", "tf_efficientnet_b0.ns_jft_in1k"),
        ("timm", "efficientnet_lite0", "timm", "tf_efficientnet_lite0"),
        ("torchvision", "efficientnet_b1", "timm", "efficientnet_b1.ra4_e3600_r240_in1k"),
    ]
    with np.load(reference.FILE) as file:
        for library, name, other_library, other in pairs:
            one = reference.features_of(file, network_named(library, name))
            two = reference.features_of(file, network_named(other_library, other))
            assert np.abs(one - two).max() > 0.05
            for features in (one, two):  # they depend on the photo
                assert np.abs(features[0] - features[1]).max() > 0.02


@pytest.mark.parametrize(
    ("file", "name", "style", "pixels"),
    [
        ("tf_efficientnet_b0_ns-c0e6a31c.pth", "efficientnetb0", "tensorflow", "imagenet"),
        ("tf_efficientnet_b0_ap-f262efe1.pth", "efficientnetb0", "tensorflow", "inception"),
        ("tf_efficientnet_lite0-0aa007d2.pth", "efficientnetlite0", "tensorflow", "inception"),
        ("efficientnet_b0_ra-3dd342df.pth", "efficientnetb0", "pytorch", "imagenet"),
        ("efficientnet_lite0_ra-37913777.pth", "efficientnetlite0", "pytorch", "imagenet"),
        (
            "models--timm--efficientnet_b0.ra4_e3600_r224_in1k/snapshots/1/model.safetensors",
            "efficientnetb0",
            "pytorch",
            "inception",
        ),
        (
            "models--timm--tf_efficientnet_b0.ns_jft_in1k/snapshots/1/model.safetensors",
            "efficientnetb0",
            "tensorflow",
            "imagenet",
        ),
    ],
)
def test_timms_file_names_give_style_and_pixels(file, name, style, pixels):
    state = state_dicts.StateDict(Path(file), namings.NAMINGS[1], {})
    assert state_dicts.style_of(state, name, "", "") == (style, pixels)


def one_line(error: pytest.ExceptionInfo) -> str:
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    return str(error.value)


def test_timms_names_in_another_file_require_a_style(tmp_path):
    arrays = arrays_of("timm", "efficientnet_lite0")
    path = torch_writer.write(arrays, tmp_path / "best.pth", "zipped")
    config = ModelConfig(trunk="efficientnetlite0", weights=path)
    with pytest.raises(InputError, match="set model.style to pytorch .* or tensorflow") as error:
        trunk.settled(config)
    one_line(error)
    for style, pixels in (("pytorch", "imagenet"), ("tensorflow", "inception")):
        settled, _ = trunk.settled(config.model_copy(update={"style": style}))
        assert (settled.style, settled.pixels) == (style, pixels)


BAD = {
    "a larger network": ("torchvision", "efficientnet_b1", {}, r"b0 has no features\.1\.1\.block"),
    "a wider network": ("torchvision", "efficientnet_b2", {}, "has shape .*, expected"),
    "a network without squeeze-and-excitation": (
        ("timm", "efficientnet_lite0", {}, r"blocks\.0\.0\.se\.conv_reduce\.weight is missing")
    ),
    "another family": ("torchvision", "resnet50", {}, "ResNet, not efficientnetb0"),
    "an array less": (
        "torchvision",
        "efficientnet_b0",
        {"features.8.1.running_var": None},
        r"features\.8\.1\.running_var is missing",
    ),
    "NaN": (
        "torchvision",
        "efficientnet_b0",
        {"features.8.1.bias": np.full(1280, np.nan, np.float32)},
        r"features\.8\.1\.bias contains NaN",
    ),
    "whole numbers": (
        "torchvision",
        "efficientnet_b0",
        {"features.8.1.bias": np.zeros(1280, np.int64)},
        r"features\.8\.1\.bias has the type int64",
    ),
}


@pytest.fixture(scope="module")
def b0() -> keras.Model:
    return built("efficientnetb0", "none")


def load(network: keras.Model, path: str, **model) -> None:
    config = ModelConfig(trunk="efficientnetb0", weights=path, **model)
    found = pretrained.find(config, keras.applications.EfficientNetB0)
    assert found is not None
    found.load(network)


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_a_file_of_another_network_is_rejected(case, b0, tmp_path):
    library, name, changes, words = case
    path = written(library, name, tmp_path, **changes)
    with pytest.raises(InputError, match=words) as error:
        load(b0, path)
    assert path in one_line(error)


def test_names_of_another_library_are_rejected(b0, tmp_path):
    arrays = {"encoder.0.weight": np.zeros([3, 3], np.float32)}
    path = torch_writer.write(arrays, tmp_path / "other.pth", "zipped")
    with pytest.raises(InputError, match=r"names \(encoder\.0\.weight, \.\.\.\) are not those of"):
        load(b0, path)
    twice = {f"{net}.conv_stem.weight": arrays["encoder.0.weight"] for net in ("one", "two")}
    path = torch_writer.write(twice, tmp_path / "two.pth", "zipped")
    with pytest.raises(InputError, match=r"contains 2 networks, such as one\.\* and two\.\*"):
        load(b0, path)
    with pytest.raises(
        InputError, match=r"cannot be loaded into vgg16, only into efficientnetb0, "
    ):
        trunk.settled(ModelConfig(trunk="vgg16", weights=path))


@pytest.mark.parametrize("form", ["older", "zipped", "safetensors"])
def test_half_a_file_is_rejected(form, b0, tmp_path):
    if form == "safetensors":
        pytest.importorskip("safetensors")
    path = Path(written("torchvision", "efficientnet_b0", tmp_path, form))
    content = path.read_bytes()
    for length in (len(content) // 2, len(content) - 1, 9, 2):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=path.name) as error:
            load(b0, str(path))
        one_line(error)


def test_a_header_of_safetensors_without_end_is_rejected(b0, tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 40) + b"{" + bytes(100))
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load(b0, str(path))


def test_without_the_package_a_file_of_safetensors_says_how_to_install_it(
    b0, tmp_path, monkeypatch
):
    path = written("torchvision", "efficientnet_b0", tmp_path, "safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(InputError, match=r"pip install 'attr-extractor\[pretrained\]'"):
        load(b0, path)


def test_a_wrapped_network_in_half_precision_gives_the_same_weights(b0, tmp_path):
    arrays = arrays_of("torchvision", "efficientnet_b0")
    halves = {f"module.{k}": a.astype("f2") if a.ndim else a for k, a in arrays.items()}
    expected = halves["module.features.0.0.weight"].astype(np.float32)
    state, storages = torch_writer.of_arrays({**halves, "head.weight": np.zeros([2, 3], "f4")})
    for name, form in (("a.pth", torch_writer.older), ("b.pt", torch_writer.zipped)):
        b0.get_layer("stem_conv").set_weights([np.zeros([3, 3, 3, 32])])
        (tmp_path / name).write_bytes(form({"epoch": 3, "lr": 0.1, "state_dict": state}, storages))
        load(b0, str(tmp_path / name))
        (kernel,) = b0.get_layer("stem_conv").get_weights()
        assert kernel.dtype == np.float32
        np.testing.assert_array_equal(kernel, expected.transpose(2, 3, 1, 0))


@pytest.mark.parametrize(
    ("library", "name", "style"),
    [
        ("torchvision", "efficientnet_b0", "tensorflow"),
        ("efficientnet_pytorch", "efficientnet-b0", "pytorch"),
    ],
)
def test_a_style_that_the_library_lacks_is_rejected(library, name, style, b0, tmp_path):
    path = written(library, name, tmp_path)
    with pytest.raises(InputError, match=f"model.style: {style}, but .* has {library}'s names"):
        load(b0, path, style=style)


def test_weights_of_keras_and_other_trunks_have_no_pytorch_style(tmp_path):
    for model in (
        {"trunk": "efficientnetb0", "weights": "imagenet"},
        {"trunk": "efficientnetlite0", "weights": "imagenet"},
        {"trunk": "vgg16", "weights": "none"},
    ):
        with pytest.raises(InputError, match="model.style: pytorch"):
            trunk.settled(ModelConfig(style="pytorch", **model))


def test_lite_loads_a_file_that_keras_wrote(tmp_path):
    plain = trunk.efficientnet_lite(0, include_top=False, input_shape=(64, 64, 3))
    path = write_h5(plain, tmp_path / "lite.h5")
    config = ModelConfig(trunk="efficientnetlite0", weights=path)
    assert trunk.settled(config)[1] == (
        "lite.h5",
        hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        "keras",
    )
    for own, other in zip(trunk.build(config, 64).get_weights(), plain.get_weights()):
        np.testing.assert_array_equal(own, other)
