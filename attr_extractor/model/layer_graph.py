"""Who reads whom among the layers of a functional Keras model."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from attr_extractor.model import keras_versions


def readers(model: Any) -> dict[str, list[Any]]:
    """The layers that read a layer's output, by its name."""
    found: dict[str, list[Any]] = {}
    for step in keras_versions.operations(model):
        for tensor in tf.nest.flatten(step.input):
            found.setdefault(source(tensor).name, []).append(step)
    return found


def source(tensor: Any) -> Any:
    """The layer that a symbolic tensor comes from."""
    return tensor._keras_history[0]
