"""The paper's T branches, computed in three matrix products for any T.

A branch has two hidden layers and one output per value of its attribute; its input is the pooled
features. Layer 1 of all branches is one matrix product, layer 2 one batched product. The output
layers differ in width, so each is split into tiles of TILE values (the last one padded) and all
tiles are one batched product. The padding is less than TILE values per attribute, even if the
attributes differ widely in size, and the number of graph ops does not depend on T.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

TILE = 32  # values


class BranchWeights(NamedTuple):
    """Weights of one branch as three dense layers: kernels [in, out] and biases [out]."""

    kernel1: np.ndarray
    bias1: np.ndarray
    kernel2: np.ndarray
    bias2: np.ndarray
    kernel3: np.ndarray
    bias3: np.ndarray


@keras.utils.register_keras_serializable("attr_extractor")
class Branches(keras.layers.Layer):
    """Branches of all attributes: pooled features [B, D] -> logits [B, V], float32.

    Args:
      sizes: number of values of each attribute, summing to V.
      hidden: widths of the two hidden layers.
    """

    def __init__(self, sizes: list[int], hidden: list[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.sizes = list(sizes)
        self.hidden = list(hidden)
        self._tile_branch, self._value_position = tile_layout(self.sizes)

    def build(self, input_shape: Any) -> None:
        channels, branches = int(input_shape[-1]), len(self.sizes)
        first, second = self.hidden
        tiles = len(self._tile_branch)
        self.kernel1 = self.add_weight(
            name="kernel1",
            shape=[channels, branches * first],
            initializer=_glorot(channels, first),
        )
        self.bias1 = self.add_weight(name="bias1", shape=[branches * first], initializer="zeros")
        self.kernel2 = self.add_weight(
            name="kernel2", shape=[branches, first, second], initializer=_glorot(first, second)
        )
        self.bias2 = self.add_weight(name="bias2", shape=[branches, 1, second], initializer="zeros")
        # all branches share the limit of an output layer of mean width
        self.kernel3 = self.add_weight(
            name="kernel3",
            shape=[tiles, second, TILE],
            initializer=_glorot(second, max(1, sum(self.sizes) // branches)),
        )
        self.bias3 = self.add_weight(name="bias3", shape=[sum(self.sizes)], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        branches, first = len(self.sizes), self.hidden[0]
        hidden = tf.nn.relu(tf.matmul(inputs, self.kernel1) + self.bias1)  # [B, T*h1]
        hidden = tf.reshape(hidden, [-1, branches, first])  # [B, T, h1]
        hidden = tf.transpose(hidden, [1, 0, 2])  # [T, B, h1]
        hidden = tf.nn.relu(tf.matmul(hidden, self.kernel2) + self.bias2)  # [T, B, h2]
        hidden = tf.gather(hidden, self._tile_branch)  # [tiles, B, h2]
        tiles = tf.matmul(hidden, self.kernel3)  # [tiles, B, TILE]
        tiles = tf.transpose(tiles, [1, 0, 2])  # [B, tiles, TILE]
        padded = tf.reshape(tiles, [-1, len(self._tile_branch) * TILE])  # [B, tiles*TILE]
        logits = tf.gather(padded, self._value_position, axis=1) + self.bias3  # [B, V]
        return tf.cast(logits, tf.float32)

    def branch_weights(self, t: int) -> BranchWeights:
        """Return the weights of branch t."""
        return unpack([weight.numpy() for weight in self.weights], self.sizes)[t]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sizes": self.sizes, "hidden": self.hidden}


@keras.utils.register_keras_serializable("attr_extractor")
class SplitAttributes(keras.layers.Layer):
    """Split of logits [B, V] into T tensors [B, V_t], one per attribute."""

    def __init__(self, sizes: list[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.sizes = list(sizes)

    def call(self, inputs: tf.Tensor) -> list[tf.Tensor]:
        return tf.split(inputs, self.sizes, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sizes": self.sizes}


def unpack(weights: list[np.ndarray], sizes: list[int]) -> list[BranchWeights]:
    """Convert the weights of a `Branches` layer, in order, to those of its T branches."""
    kernel1, bias1, kernel2, bias2, kernel3, bias3 = weights
    position = tile_layout(sizes)[1]
    tiles = np.concatenate(kernel3, axis=1)  # [h2, tiles*TILE]
    values = np.split(np.arange(len(position)), np.cumsum(sizes)[:-1])
    return [
        BranchWeights(
            kernel1=first_kernel,
            bias1=first_bias,
            kernel2=kernel2[t],
            bias2=bias2[t, 0],
            kernel3=tiles[:, position[values[t]]],
            bias3=bias3[values[t]],
        )
        for t, (first_kernel, first_bias) in enumerate(
            zip(np.split(kernel1, len(sizes), axis=1), np.split(bias1, len(sizes)))
        )
    ]


def pack(branches: list[BranchWeights]) -> list[np.ndarray]:
    """Convert the result of `unpack` to the weights of a `Branches` layer, padded with 0."""
    sizes = [len(branch.bias3) for branch in branches]
    tile_branch, position = tile_layout(sizes)
    kernels = np.concatenate([branch.kernel3 for branch in branches], axis=1)  # [h2, V]
    tiles = np.zeros([len(kernels), len(tile_branch) * TILE], kernels.dtype)
    tiles[:, position] = kernels
    return [
        np.concatenate([branch.kernel1 for branch in branches], axis=1),
        np.concatenate([branch.bias1 for branch in branches]),
        np.stack([branch.kernel2 for branch in branches]),
        np.stack([branch.bias2 for branch in branches])[:, None],
        np.stack(np.split(tiles, len(tile_branch), axis=1)),
        np.concatenate([branch.bias3 for branch in branches]),
    ]


def tile_layout(sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Assign the values of all branches to tiles.

    Returns:
      int32 [tiles], the branch of each tile, and int32 [V], each value's position in the tiles.
    """
    tiles_of_branch = [-(-size // TILE) for size in sizes]
    branch = np.repeat(np.arange(len(sizes)), tiles_of_branch)
    starts = np.cumsum([0, *tiles_of_branch[:-1]]) * TILE
    position = np.concatenate([start + np.arange(size) for start, size in zip(starts, sizes)])
    return branch.astype(np.int32), position.astype(np.int32)


def _glorot(fan_in: int, fan_out: int) -> Any:
    limit = (6.0 / (fan_in + fan_out)) ** 0.5
    return keras.initializers.RandomUniform(-limit, limit)
