"""The folded network split into parts that cores compute concurrently, one thread each.

Tensor parallelism (Shoeybi et al. 2019, section 3). A part holds a range of a map's channels. A
convolution of a whole map produces parts, each from a range of its kernel's columns. A convolution
of a map in parts sums the results of the parts, each computed with its rows of the kernel.
Depthwise convolutions, activations, means and products of two maps in parts stay within a part.
The transformer block's parts are ranges of heads and of its hidden layer; the branches' parts are
ranges of attributes. For any other layer the parts are concatenated first. Cores synchronise twice
a block, not at every operation.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attr_extractor.errors import InputError
from attr_extractor.model import branches, keras_versions
from attr_extractor.model.attention import PooledTransformerBlock
from attr_extractor.model.branches import Branches
from attr_extractor.model.functional import Identity
from attr_extractor.model.noise import Dropout
from attr_extractor.serving.fold import Convolution, ConvolutionLayer, GlobalAverage

Value = Any  # a tensor, or a list of its parts by channels

_WITHIN = (
    keras.layers.Activation,
    keras.layers.Add,
    keras.layers.Dropout,
    keras.layers.Multiply,
    keras.layers.ZeroPadding2D,
    Dropout,
    GlobalAverage,
    Identity,
)


class Parts:
    """A folded model whose outputs are computed in parts.

    Args:
      model: the result of `fold.fold`.
      count: number of parts: the number of cores to use for one batch.

    Raises:
      InputError: if a layer of the trunk has several outputs.
    """

    def __init__(self, model: Any, count: int):
        self._count = count
        self._split: set[str] = set()  # steps whose results stay in parts
        self._input = model.inputs[0]._keras_history[0].name
        self._outputs = [_source(tensor) for tensor in model.outputs]
        self._steps = [
            (step.name, sources, self._planned(step, sources))
            for step in keras_versions.operations(model)
            if not isinstance(step, keras.layers.InputLayer)
            for sources in [_sources(step)]
        ]

    def __call__(self, pixels: tf.Tensor) -> list[tf.Tensor]:
        """Return the model's outputs for pixels uint8 [B, H, W, 3]."""
        values: dict[str, Value] = {self._input: pixels}
        for name, sources, compute in self._steps:
            values[name] = compute(*(values[source] for source in sources))
        return [_whole(values[name]) for name in self._outputs]

    def _planned(self, step: Any, sources: list[str]) -> Callable[..., Value]:
        if len(tf.nest.flatten(step.output)) > 1:
            raise InputError(
                f"--parts: the trunk's layer {step.name!r} has several outputs and cannot be "
                "computed in parts: use --parts=1"
            )
        split = all(source in self._split for source in sources)
        if isinstance(step, ConvolutionLayer):
            if split and step.folded.depthwise:
                return self._within(step)
            if split:
                return self._summed(step.folded)
            if not step.folded.depthwise:
                return self._in_columns(step)
        elif isinstance(step, PooledTransformerBlock):
            return _block(step, self._count)
        elif isinstance(step, Branches):
            return _branches(step, _ranges(len(step.sizes), self._count))
        elif split and isinstance(step, _WITHIN):
            self._split.add(step.name)
            return lambda *values: [_call(step, *parts) for parts in zip(*values, strict=True)]
        elif split and isinstance(step, keras.layers.Reshape) and _is_row(step):
            self._split.add(step.name)
            return lambda parts: [part[:, tf.newaxis, tf.newaxis] for part in parts]
        # this step alone, called in the same way as in the model
        alone = step if isinstance(step, keras.Model) else keras.Model(step.input, step.output)
        return lambda *values: _call(alone, *map(_whole, values))

    def _within(self, step: ConvolutionLayer) -> Callable[..., Value]:
        self._split.add(step.name)
        pieces = self._columns(step.folded)
        return lambda parts: [piece(part) for piece, part in zip(pieces, parts, strict=True)]

    def _in_columns(self, step: ConvolutionLayer) -> Callable[..., Value]:
        self._split.add(step.name)
        pieces = self._columns(step.folded)
        return lambda inputs: [piece(_whole(inputs)) for piece in pieces]

    def _columns(self, convolution: Convolution) -> list[Convolution]:
        return [
            convolution.columns(where) for where in _ranges(len(convolution.offset), self._count)
        ]

    def _summed(self, convolution: Convolution) -> Callable[..., Value]:
        offset = convolution.offset
        pieces = [
            convolution.rows(where, np.zeros_like(offset) if where.start else offset)
            for where in _ranges(convolution.kernel.shape[2], self._count)
        ]

        def compute(parts: list[tf.Tensor]) -> tf.Tensor:
            sums = (piece(part) for piece, part in zip(pieces, parts, strict=True))
            return convolution.activation(functools.reduce(operator.add, sums))

        return compute


def _ranges(size: int, count: int) -> list[slice]:
    """Split 0 .. size into min(size, count) ranges, which depend on size and count only."""
    ends = np.linspace(0, size, min(size, count) + 1).round().astype(int)
    return [slice(a, b) for a, b in zip(ends, ends[1:])]


def _block(block: PooledTransformerBlock, count: int) -> Callable[..., Value]:
    heads = _ranges(block.num_heads, min(count, block.feed_forward_dim))
    hidden = _ranges(block.feed_forward_dim, len(heads))
    pieces = [block.part(h, f) for h, f in zip(heads, hidden, strict=True)]
    return lambda inputs: block.of_parts(_whole(inputs), pieces)


def _branches(layer: Branches, ranges: Sequence[slice]) -> Callable[..., Value]:
    weights = branches.unpack(layer.get_weights(), layer.sizes)
    pieces = []
    for where in ranges:
        piece = Branches(layer.sizes[where], layer.hidden, dtype=layer.compute_dtype)
        piece.build(layer.input.shape)
        piece.set_weights(branches.pack(weights[where]))
        pieces.append(piece)
    return lambda inputs: tf.concat([piece(_whole(inputs)) for piece in pieces], axis=1)


def _call(step: Any, *inputs: tf.Tensor) -> tf.Tensor:
    return step(list(inputs) if len(inputs) > 1 else inputs[0])


def _source(tensor: Any) -> str:
    return tensor._keras_history[0].name


def _sources(step: Any) -> list[str]:
    # a nested model's `input` is internal to it; use the tensors that it is called with
    tensors = step._inbound_nodes[-1].input_tensors if isinstance(step, keras.Model) else step.input
    return [_source(tensor) for tensor in tf.nest.flatten(tensors)]


def _is_row(step: Any) -> bool:
    return tuple(step.output.shape[1:-1]) == (1, 1) and len(step.input.shape) == 2


def _whole(value: Value) -> tf.Tensor:
    return tf.concat(value, axis=-1) if isinstance(value, list) else value
