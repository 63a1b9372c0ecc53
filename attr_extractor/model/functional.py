"""Graph queries on functional Keras models, and a layer that replaces other layers."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from attr_extractor.model import keras_versions

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def readers(model: Any) -> dict[str, list[Any]]:
    """Return the steps that read each layer's output, keyed by the layer's name.

    In Keras 3 not every step is a layer.
    """
    found: dict[str, list[Any]] = {}
    for step in keras_versions.operations(model):
        for tensor in tf.nest.flatten(step.input):
            found.setdefault(tensor._keras_history[0].name, []).append(step)
    return found


@keras.utils.register_keras_serializable("attr_extractor")
class Identity(keras.layers.Layer):
    """Replacement for a layer whose computation has moved to another layer."""

    def call(self, inputs: tf.Tensor, **_arguments: Any) -> tf.Tensor:
        return inputs  # Keras 3 also passes the arguments of the replaced layer, such as a mask
