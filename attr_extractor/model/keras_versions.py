"""The only code that depends on the Keras version; all other code runs on both.

Python 3.9 to 3.11 has Keras 2.15 and tensorflow-addons. Python 3.12 and newer has Keras 3 and no
tensorflow-addons.
"""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import tensorflow as tf

from attr_extractor.errors import InputError, extra

KERAS_3 = not keras.__version__.startswith("2.")


def affine_transform(photos: tf.Tensor, eight: tf.Tensor, fill_mode: str) -> tf.Tensor:
    """Resample float32 [B, H, W, C] bilinearly by [B, 8], the maps from output to input."""
    if KERAS_3:
        return keras.ops.image.affine_transform(photos, eight, "bilinear", fill_mode)
    return _addons().image.transform(photos, eight, "bilinear", fill_mode)


def optimizer_options() -> dict[str, Any]:
    """Return options that keep an optimizer from compiling itself, as Keras 2 does on a GPU."""
    return {} if KERAS_3 else {"jit_compile": False}


def download_folder() -> Path:
    """Return the folder in which keras.applications looks for weights before it downloads them."""
    home = os.environ.get("KERAS_HOME", "~/.keras") if KERAS_3 else "~/.keras"
    folder = Path(home).expanduser()
    return (folder if os.access(folder, os.W_OK) else Path("/tmp/.keras")) / "models"


def operations(model: Any) -> list[Any]:
    """Return the steps of a functional model in order; in Keras 3 not every step is a layer."""
    return list(model.operations if KERAS_3 else model.layers)


def keras_hub() -> ModuleType:
    """Import KerasHub; raise InputError if it is not installed, or Keras is not Keras 3."""
    if not KERAS_3:
        raise InputError(
            "model.trunk: hub: requires Python 3.12 or newer and pip install 'attr-extractor[hub]'"
        )
    with extra("hub"):
        return importlib.import_module("keras_hub")


def on_other_input(model: Any, output: Any, inputs: Any) -> Any:
    """Return a symbolic output of a functional model, computed from other inputs (Keras 3 only).

    The layers are the model's own: many of KerasHub's cannot be cloned. They forget the model's
    graph, so that their `input` and `output` are those of the new one. Do not use the model again.
    The attributes are private: Keras has no public way.
    """
    graph = keras.Model(model.inputs, output)
    for step in graph.operations:
        step._inbound_nodes.clear()
        step._outbound_nodes.clear()
    return graph.call([inputs])


def slot(optimizer: Any, variable: Any) -> int:
    """Return the index of a variable, and thus of its moments, in a built optimizer.

    The attributes are private. Neither version has a public way: under a distribution strategy
    `update_step` receives a component of the variable that the optimizer was built on.
    """
    if KERAS_3:
        return optimizer._get_variable_index(variable)
    return optimizer._index_dict[optimizer._var_key(variable)]


def tf_variable(variable: Any) -> tf.Variable:
    """Return TensorFlow's variable, which Keras 3 wraps."""
    return variable.value if KERAS_3 and isinstance(variable, keras.Variable) else variable


@functools.cache
def _addons() -> ModuleType:
    with warnings.catch_warnings():
        # every import warns that its development has ended; the version is pinned
        warnings.simplefilter("ignore", UserWarning)
        return importlib.import_module("tensorflow_addons")
