"""PyTorch's state dicts of our trunks: reading them, and loading them into a network.

A file was trained with the padding, the epsilon of batch normalisation and the pixels of its
library, which `model.style` and `model.pixels` describe; the names in the file give the library.
timm gives the same names to its own networks and to those converted from TensorFlow; its file names
tell them apart.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from attr_extractor.errors import InputError, extra, require_file
from attr_extractor.model.trunks import namings
from attr_extractor.model.trunks.torch_files import read_state_dict


class StateDict(NamedTuple):
    """Arrays of a file, by the names of a library."""

    path: Path
    naming: namings.Naming
    arrays: dict[str, np.ndarray]


def read(path: str | Path, trunk: str) -> StateDict:
    """Read a file for a trunk, in either format of `torch.save` or in that of safetensors.

    Args:
      trunk: `model.trunk`.

    Raises:
      InputError: if the file is missing, damaged or of another family of networks, its names are
        unknown, or the trunk has no table.
    """
    path = require_file(path, "the weights file")
    if trunk not in namings.FAMILIES:
        raise InputError(
            f"{path}: a PyTorch state dict cannot be loaded into {trunk}, only into "
            f"{', '.join(namings.FAMILIES)}"
        )
    arrays = _read_safetensors(path) if is_safetensors(path) else read_state_dict(path)
    for naming in namings.NAMINGS:
        # a wrapper around the network prefixes its names, such as `module.`
        prefixes = [
            name.removesuffix(naming.marker)
            for name in arrays
            if f".{name}".endswith(f".{naming.marker}")
        ]
        if not prefixes:
            continue
        if len(prefixes) > 1:
            raise InputError(
                f"{path}: contains {len(prefixes)} networks, such as {prefixes[0]}* and "
                f"{prefixes[1]}*: save the state dict of one"
            )
        if naming.family != namings.FAMILIES[trunk]:
            raise InputError(f"{path}: weights of another network: {naming.family}, not {trunk}")
        (prefix,) = prefixes
        own = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
        return StateDict(path, naming, own)
    first = f" ({next(iter(arrays))}, ...)" if arrays else ""
    raise InputError(
        f"{path}: its {len(arrays)} names{first} are not those of torchvision, timm or "
        f"efficientnet_pytorch for {trunk}"
    )


def is_safetensors(path: Path) -> bool:
    """Return whether a file starts like one of safetensors: a length, then JSON."""
    with open(path, "rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and head[6:8] == bytes(2)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    with extra("pretrained"):
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    try:
        return dict(load_file(path))
    # a KeyError is a type that NumPy lacks
    except (SafetensorError, KeyError, ValueError, OverflowError, OSError, MemoryError) as error:
        reason = str(error)[:200] or type(error).__name__
        raise InputError(f"{path}: not a readable safetensors file: {reason}") from error


def style_of(state: StateDict, trunk: str, style: str, pixels: str) -> tuple[str, str]:
    """Return `model.style` and `model.pixels` with which the file gives its library's features.

    Args:
      style, pixels: as configured; empty if the file shall decide.

    Raises:
      InputError: if the library has no such style, or the file could be of either.
    """
    library, path = state.naming.library, state.path
    if library == "timm":
        return _timm_style(path, trunk, style, pixels)
    only = "pytorch" if library == "torchvision" else "tensorflow"
    if style not in ("", only):
        raise InputError(f"model.style: {style}, but {path} has {library}'s names: use {only}")
    if library == "torchvision":
        return only, pixels or "imagenet"
    # converted from TensorFlow; the files trained with AdvProp are named adv-*
    return style, pixels or ("inception" if path.name.startswith("adv-") else "")


# timm's names of files and repositories; tags of recipes whose pixels are -1 .. 1
_TIMM_FILE = r"(tf_)?efficientnet_(?:b|lite)\d(?:[._](ap|ra4)(?=[._-]))?"


def _timm_style(path: Path, trunk: str, style: str, pixels: str) -> tuple[str, str]:
    # Hugging Face's cache has the repository in the name of a folder, timm--*
    in_folder = rf"timm(?:--|/){_TIMM_FILE}"
    match = re.match(_TIMM_FILE, path.name) or re.search(in_folder, path.as_posix())
    if match is None and not style:
        raise InputError(
            f"{path}: timm's efficientnet_* and tf_efficientnet_* have the same names: keep timm's "
            "name of the file, or set model.style to pytorch (efficientnet_*) or tensorflow "
            "(tf_efficientnet_*), and model.pixels"
        )
    from_tensorflow, recipe = match.groups() if match else (None, None)
    style = style or ("tensorflow" if from_tensorflow else "pytorch")
    inception = recipe or (style == "tensorflow" and "lite" in trunk)
    return style, pixels or ("inception" if inception else "imagenet")


def assign(network: Any, state: StateDict, trunk: str) -> None:
    """Set a network's weights.

    Args:
      network: a model that contains the layers of `trunk`; layers without weights are ignored.

    Raises:
      InputError: if an array is missing, has another shape or type or is not finite, or if the
        file has further blocks; names the first one.
    """
    origin = f"{state.path}: weights of another network"
    names = namings.translated(network, state.naming, trunk)
    used = set()
    for layer in network.layers:
        if not layer.weights:
            continue
        arrays = []
        for suffix, weight in zip(_SUFFIXES[len(layer.weights)], layer.get_weights()):
            name = f"{names[layer.name]}.{suffix}"
            if name not in state.arrays:
                raise InputError(f"{origin}: {name} is missing")
            array = _in_keras_order(state.arrays[name], layer)
            if array.shape != weight.shape:
                raise InputError(
                    f"{origin}: {name} has shape {list(array.shape)} in Keras' axis order, "
                    f"expected {list(weight.shape)}"
                )
            if array.dtype.kind != "f":  # bfloat16 is of another kind
                raise InputError(
                    f"{state.path}: {name} has the type {array.dtype}: save float32 or float16"
                )
            if not np.isfinite(array).all():
                raise InputError(f"{state.path}: {name} contains NaN or infinity")
            arrays.append(array.astype(np.float32))
            used.add(name)
        layer.set_weights(arrays)
    blocks = state.naming.block.partition("{")[0]
    for name in state.arrays:
        # a larger network of the family has the same shapes and more blocks
        if name.startswith(blocks) and name not in used and not name.endswith(_COUNTER):
            raise InputError(f"{origin}: {trunk} has no {name}")


_COUNTER = ".num_batches_tracked"  # of batch normalisation, which Keras lacks
_SUFFIXES = {  # by number of weights in a layer
    1: ["weight"],
    2: ["weight", "bias"],
    4: ["weight", "bias", "running_mean", "running_var"],
}


def _in_keras_order(array: np.ndarray, layer: Any) -> np.ndarray:
    """Transpose a PyTorch kernel to Keras' order of axes; return a vector unchanged."""
    if isinstance(layer, keras.layers.DepthwiseConv2D) and array.ndim == 4:
        return array.transpose(2, 3, 0, 1)  # [C, 1, h, w] -> [h, w, C, 1]
    if array.ndim == 4:  # [out, in, h, w] -> [h, w, in, out]
        return array.transpose(2, 3, 1, 0)
    return array.T
