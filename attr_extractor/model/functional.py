"""Functional models of Keras as graphs: what reads what, and layers that stand for others."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from attr_extractor.model import keras_versions

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def readers(model: Any) -> dict[str, list[Any]]:
    """What reads a layer's output, by the layer's name; of Keras 3 not every step is a layer."""
    found: dict[str, list[Any]] = {}
    for step in keras_versions.operations(model):
        for tensor in tf.nest.flatten(step.input):
            found.setdefault(tensor._keras_history[0].name, []).append(step)
    return found


@keras.utils.register_keras_serializable("attr_extractor")
class Identity(keras.layers.Layer):
    """In the place of a layer whose work another one has taken over."""

    def call(self, inputs: tf.Tensor, **_arguments: Any) -> tf.Tensor:
        return inputs  # Keras 3 also passes what the layer before was called with, a mask say
