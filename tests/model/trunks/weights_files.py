"""Write weights files as keras.applications publishes them; Keras 3 only reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py


def write_h5(network: Any, path: Path) -> str:
    """Write a network's weights by layer; return the path."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["backend"] = "tensorflow"
        file.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        for layer in network.layers:
            arrays = {f"{layer.name}/{i}": a for i, a in enumerate(layer.get_weights())}
            group = file.require_group(layer.name)  # a name with a slash makes two
            group.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                group[name] = array
    return str(path)
