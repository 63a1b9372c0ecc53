"""The paper's transformer block: multi-head self-attention over the N positions of the photo.

Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V for each of h heads (Vaswani et al., section
3.2), with `key_dim` = d_k = d_v and `feed_forward_dim` = d_ff. The paper does not specify where
layer normalisation is applied; here it is applied before each of the two sublayers. The last kernel
of each sublayer is initialised to 0, so the block starts as the identity. Each channel of a
sublayer's output is scaled by a learned weight (LayerScale, Touvron et al. 2021). The block uses
plain matrix products instead of Einsums because graphs run them fastest.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

EPSILON = 1e-6


@keras.utils.register_keras_serializable("attr_extractor")
class TransformerBlock(keras.layers.Layer):
    """Transformer block: [B, N, D] -> [B, N, D].

    Args:
      num_heads: h.
      key_dim: width of each head's queries, keys and values.
      feed_forward_dim: width of the hidden layer of the position-wise network.
      initial_scale: initial value of the weight per channel; with a small value, the block does not
        overwhelm the features of a deep, randomly initialised trunk in the first steps of Adam.
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        feed_forward_dim: int,
        initial_scale: float = 0.1,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.key_dim = key_dim
        self.feed_forward_dim = feed_forward_dim
        self.initial_scale = initial_scale

    def build(self, input_shape: Any) -> None:
        channels = int(input_shape[-1])
        width = self.num_heads * self.key_dim
        self.qkv_kernel = self._kernel("qkv_kernel", [channels, 3 * width], fan_out=width)
        self.qkv_bias = self._vector("qkv_bias", 3 * width, "zeros")
        self.output_kernel = self._zeros("output_kernel", [width, channels])
        self.output_bias = self._vector("output_bias", channels, "zeros")
        self.norm1_scale = self._vector("norm1_scale", channels, "ones")
        self.norm1_offset = self._vector("norm1_offset", channels, "zeros")
        self.expand_kernel = self._kernel("expand_kernel", [channels, self.feed_forward_dim])
        self.expand_bias = self._vector("expand_bias", self.feed_forward_dim, "zeros")
        self.reduce_kernel = self._zeros("reduce_kernel", [self.feed_forward_dim, channels])
        self.reduce_bias = self._vector("reduce_bias", channels, "zeros")
        self.norm2_scale = self._vector("norm2_scale", channels, "ones")
        self.norm2_offset = self._vector("norm2_offset", channels, "zeros")
        scale = keras.initializers.Constant(self.initial_scale)
        self.attention_scale = self._vector("attention_scale", channels, scale)
        self.feed_forward_scale = self._vector("feed_forward_scale", channels, scale)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        hidden, normal = self._attended(inputs, [self])
        reduced = _dense(self._expand(normal), self.reduce_kernel, self.reduce_bias)  # [B, N, D]
        return hidden + self.feed_forward_scale * reduced  # [B, N, D]

    def _attended(
        self, inputs: tf.Tensor, parts: Sequence[TransformerBlock]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the sum after the attention of all parts, [B, N, D], and its normalised form."""
        normal = _normalize(inputs, self.norm1_scale, self.norm1_offset)  # [B, N, D]
        attended = functools.reduce(operator.add, (part.attend(normal) for part in parts))
        hidden = inputs + self.attention_scale * attended  # [B, N, D]
        return hidden, _normalize(hidden, self.norm2_scale, self.norm2_offset)

    def _expand(self, normal: tf.Tensor) -> tf.Tensor:
        """Return the hidden layer of the position-wise network, [B, N, F]."""
        return tf.nn.relu(_dense(normal, self.expand_kernel, self.expand_bias))

    def attention(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return the attention weights of each head.

        Args:
          inputs: [B, N, D], the input of the layer.

        Returns:
          float32 [B, h, N, N]: the weights of each query position (third axis) over all positions;
          they sum to 1.
        """
        normal = _normalize(inputs, self.norm1_scale, self.norm1_offset)  # [B, N, D]
        query, key, _ = self._query_key_value(normal)
        return _softmax(query, key)

    def attend(self, inputs: tf.Tensor) -> tf.Tensor:
        """Compute multi-head attention of normalised inputs, [B, N, D], without channel scaling."""
        positions = int(inputs.shape[1])
        query, key, value = self._query_key_value(inputs)
        mixed = tf.matmul(tf.cast(_softmax(query, key), value.dtype), value)  # [B, h, N, d]
        mixed = tf.transpose(mixed, [0, 2, 1, 3])  # [B, N, h, d]
        mixed = tf.reshape(mixed, [-1, positions, self.num_heads * self.key_dim])  # [B, N, h*d]
        return _dense(mixed, self.output_kernel, self.output_bias)  # [B, N, D]

    def _query_key_value(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return query, key and value, each [B, h, N, d]; the query is scaled by 1 / sqrt(d)."""
        heads, width = self.num_heads, self.key_dim
        qkv = _dense(inputs, self.qkv_kernel, self.qkv_bias)  # [B, N, 3*h*d]
        qkv = tf.reshape(qkv, [-1, int(inputs.shape[1]), 3, heads, width])
        qkv = tf.transpose(qkv, [2, 0, 3, 1, 4])  # [3, B, h, N, d]
        query, key, value = tf.unstack(qkv)
        return query * tf.cast(width**-0.5, query.dtype), key, value

    def _kernel(self, name: str, shape: list[int], fan_out: int | None = None) -> tf.Variable:
        # query, key and value share one product but are initialised as separate Glorot matrices
        limit = (6.0 / (shape[0] + (fan_out or shape[1]))) ** 0.5
        initializer = keras.initializers.RandomUniform(-limit, limit)
        return self.add_weight(name=name, shape=shape, initializer=initializer)

    def _zeros(self, name: str, shape: list[int]) -> tf.Variable:
        return self.add_weight(name=name, shape=shape, initializer="zeros")

    def _vector(self, name: str, size: int, initializer: Any) -> tf.Variable:
        return self.add_weight(name=name, shape=[size], initializer=initializer)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "feed_forward_dim": self.feed_forward_dim,
            "initial_scale": self.initial_scale,
        }


@keras.utils.register_keras_serializable("attr_extractor")
class PooledTransformerBlock(TransformerBlock):
    """Transformer block followed by the mean over positions: [B, N, D] -> [B, D].

    The block's last product is linear, so it is computed after the mean: on one row per photo
    instead of N. The arguments are those of `TransformerBlock`.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.of_parts(inputs, [self])

    def of_parts(self, inputs: tf.Tensor, parts: Sequence[PooledTransformerBlock]) -> tf.Tensor:
        """Return the block's output, [B, D], computed from parts that `part` returned."""
        hidden, normal = self._attended(inputs, parts)  # [B, N, D]
        reduced = functools.reduce(
            operator.add, (part.pooled_feed_forward(normal) for part in parts)
        )
        return _mean(hidden) + self.feed_forward_scale * reduced

    def pooled_feed_forward(self, normal: tf.Tensor) -> tf.Tensor:
        """Return the position-wise network's mean over positions, [B, D], without scaling."""
        expanded = _mean(self._expand(normal))  # [B, F]
        return tf.matmul(expanded, self.reduce_kernel) + self.reduce_bias

    def part(self, heads: slice, hidden: slice) -> PooledTransformerBlock:
        """Return a block with a slice of the heads and of the hidden units.

        The outputs of all parts add up to the output of this block. The output biases belong to the
        part whose heads start at 0.
        """
        count, channels = heads.stop - heads.start, int(self.qkv_kernel.shape[0])
        units, dtype = hidden.stop - hidden.start, self.compute_dtype
        piece = PooledTransformerBlock(count, self.key_dim, units, dtype=dtype)
        piece.build([None, None, channels])
        shape = [3, self.num_heads, self.key_dim]
        kernel = self.qkv_kernel.numpy().reshape([channels, *shape])[:, :, heads]
        piece.qkv_kernel.assign(kernel.reshape([channels, -1]))
        piece.qkv_bias.assign(self.qkv_bias.numpy().reshape(shape)[:, heads].reshape(-1))
        rows = self.output_kernel.numpy().reshape([*shape[1:], channels])[heads]
        piece.output_kernel.assign(rows.reshape([-1, channels]))
        piece.expand_kernel.assign(self.expand_kernel.numpy()[:, hidden])
        piece.expand_bias.assign(self.expand_bias.numpy()[hidden])
        piece.reduce_kernel.assign(self.reduce_kernel.numpy()[hidden])
        if heads.start == 0:
            piece.output_bias.assign(self.output_bias.numpy())
            piece.reduce_bias.assign(self.reduce_bias.numpy())
        return piece


def _softmax(query: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Compute attention weights from two tensors [B, h, N, d]: float32 [B, h, N, N]."""
    scores = tf.matmul(query, key, transpose_b=True)  # [B, h, N, N]
    # softmax in float32: in half precision its sums lose small differences between positions
    return tf.nn.softmax(tf.cast(scores, tf.float32))


def _dense(inputs: tf.Tensor, kernel: tf.Variable, bias: tf.Variable) -> tf.Tensor:
    """Apply one matrix product to all positions: [B, N, I] -> [B, N, O]."""
    kernel = tf.convert_to_tensor(kernel)
    flat = tf.reshape(inputs, [-1, kernel.shape[0]])  # [B*N, I]
    outputs = tf.nn.bias_add(tf.matmul(flat, kernel), bias)  # [B*N, O]
    return tf.reshape(outputs, [-1, int(inputs.shape[1]), kernel.shape[1]])


def _mean(inputs: tf.Tensor) -> tf.Tensor:
    """Return the mean over positions, [B, N, D] -> [B, D].

    A pooling operation sums in float32; TensorFlow 2.15's mean sums bfloat16 in bfloat16.
    """
    positions = int(inputs.shape[1])
    return tf.nn.avg_pool1d(inputs, positions, 1, "VALID")[:, 0]


def _normalize(inputs: tf.Tensor, scale: tf.Variable, offset: tf.Variable) -> tf.Tensor:
    """Normalise over the channels; mean and variance are float32 for any input dtype."""
    wide = tf.cast(inputs, tf.float32)
    mean, variance = tf.nn.moments(wide, axes=[-1], keepdims=True)
    normal = tf.cast((wide - mean) * tf.math.rsqrt(variance + EPSILON), inputs.dtype)
    return normal * scale + offset
