"""The paper's transformer block: multi-head self-attention over the N positions of the photo.

Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V for each of h heads (Vaswani et al., section
3.2); our `key_dim` is their d_k = d_v, our `feed_forward_dim` their d_ff. The paper does not say
where it normalises; ours normalises before each of the two parts, starts their last kernels at 0,
so the block begins as the identity, and scales each channel of their results by a weight
(LayerScale, Touvron et al. 2021). Plain matrix products instead of Einsums: they are what graphs
run fastest.
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
    """[B, N, D] -> [B, N, D].

    Args:
      num_heads: h.
      key_dim: width of each head's queries, keys and values.
      feed_forward_dim: width of the hidden layer of the position-wise network.
      initial_scale: where the weight per channel starts; a small one keeps the first steps of Adam
        from burying a deep fresh trunk's features under the block.
      learned_positions: whether a learned vector is added to each position, beginning at 0; the
        block then fits photos of one size only.
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        feed_forward_dim: int,
        initial_scale: float = 0.1,
        learned_positions: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.key_dim = key_dim
        self.feed_forward_dim = feed_forward_dim
        self.initial_scale = initial_scale
        self.learned_positions = learned_positions

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
        if self.learned_positions:
            self.positions = self._zeros("positions", [int(input_shape[-2]), channels])
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        hidden, normal = self._attended(inputs, [self])
        reduced = _dense(self._expand(normal), self.reduce_kernel, self.reduce_bias)  # [B, N, D]
        return hidden + self.feed_forward_scale * reduced  # [B, N, D]

    def _attended(
        self, inputs: tf.Tensor, parts: Sequence[TransformerBlock]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """[B, N, D], the sum after the parts' attention, and the same normalised."""
        inputs = self._with_positions(inputs)
        normal = _normalize(inputs, self.norm1_scale, self.norm1_offset)  # [B, N, D]
        attended = functools.reduce(operator.add, (part.attend(normal) for part in parts))
        hidden = inputs + self.attention_scale * attended  # [B, N, D]
        return hidden, _normalize(hidden, self.norm2_scale, self.norm2_offset)

    def _with_positions(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs + self.positions if self.learned_positions else inputs

    def _expand(self, normal: tf.Tensor) -> tf.Tensor:
        """[B, N, F], the hidden layer of the position-wise network."""
        return tf.nn.relu(_dense(normal, self.expand_kernel, self.expand_bias))

    def attention(self, inputs: tf.Tensor) -> tf.Tensor:
        """How much each position attends to each other one, per head.

        Args:
          inputs: [B, N, D], what the layer is called on.

        Returns:
          float32 [B, h, N, N]: of the query's position (third axis) over all positions; sums to 1.
        """
        inputs = self._with_positions(inputs)
        normal = _normalize(inputs, self.norm1_scale, self.norm1_offset)  # [B, N, D]
        query, key, _ = self._query_key_value(normal)
        return _softmax(query, key)

    def attend(self, inputs: tf.Tensor) -> tf.Tensor:
        """Multi-head attention of normalised inputs: [B, N, D], not scaled by channel."""
        positions = int(inputs.shape[1])
        query, key, value = self._query_key_value(inputs)
        mixed = tf.matmul(tf.cast(_softmax(query, key), value.dtype), value)  # [B, h, N, d]
        mixed = tf.transpose(mixed, [0, 2, 1, 3])  # [B, N, h, d]
        mixed = tf.reshape(mixed, [-1, positions, self.num_heads * self.key_dim])  # [B, N, h*d]
        return _dense(mixed, self.output_kernel, self.output_bias)  # [B, N, D]

    def _query_key_value(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """[B, N, D] -> three times [B, h, N, d]; the query is scaled by 1 / sqrt(d)."""
        heads, width = self.num_heads, self.key_dim
        qkv = _dense(inputs, self.qkv_kernel, self.qkv_bias)  # [B, N, 3*h*d]
        qkv = tf.reshape(qkv, [-1, int(inputs.shape[1]), 3, heads, width])
        qkv = tf.transpose(qkv, [2, 0, 3, 1, 4])  # [3, B, h, N, d]
        query, key, value = tf.unstack(qkv)
        return query * tf.cast(width**-0.5, query.dtype), key, value

    def _kernel(self, name: str, shape: list[int], fan_out: int | None = None) -> tf.Variable:
        # query, key and value share one product but start as three Glorot matrices of their own
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
            "learned_positions": self.learned_positions,
        }


@keras.utils.register_keras_serializable("attr_extractor")
class PooledTransformerBlock(TransformerBlock):
    """The block and the mean over its positions: [B, N, D] -> [B, D].

    The block's last product is linear, so it comes after the mean: a photo's N rows become one.
    The arguments are the block's.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.of_parts(inputs, [self])

    def of_parts(self, inputs: tf.Tensor, parts: Sequence[PooledTransformerBlock]) -> tf.Tensor:
        """The block's results [B, D], from parts that `part` makes of it."""
        hidden, normal = self._attended(inputs, parts)  # [B, N, D]
        reduced = functools.reduce(
            operator.add, (part.pooled_feed_forward(normal) for part in parts)
        )
        return tf.reduce_mean(hidden, axis=1) + self.feed_forward_scale * reduced

    def pooled_feed_forward(self, normal: tf.Tensor) -> tf.Tensor:
        """[B, D], the mean over positions of the position-wise network, not scaled by channel."""
        expanded = tf.reduce_mean(self._expand(normal), axis=1)  # [B, F]
        return tf.matmul(expanded, self.reduce_kernel) + self.reduce_bias

    def part(self, heads: slice, hidden: slice) -> PooledTransformerBlock:
        """A block of some of the heads and of the hidden layer; those of all add up to this one.

        Biases of the results go to the part that begins at 0.
        """
        count, channels = heads.stop - heads.start, int(self.qkv_kernel.shape[0])
        piece = PooledTransformerBlock(count, self.key_dim, hidden.stop - hidden.start)
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
    """[B, h, N, d] twice -> float32 [B, h, N, N]."""
    scores = tf.matmul(query, key, transpose_b=True)  # [B, h, N, N]
    # softmax in float32: in half precision its sums lose what separates two positions
    return tf.nn.softmax(tf.cast(scores, tf.float32))


def _dense(inputs: tf.Tensor, kernel: tf.Variable, bias: tf.Variable) -> tf.Tensor:
    """One matrix product over all positions: [B, N, I] -> [B, N, O]."""
    kernel = tf.convert_to_tensor(kernel)
    flat = tf.reshape(inputs, [-1, kernel.shape[0]])  # [B*N, I]
    outputs = tf.nn.bias_add(tf.matmul(flat, kernel), bias)  # [B*N, O]
    return tf.reshape(outputs, [-1, int(inputs.shape[1]), kernel.shape[1]])


def _normalize(inputs: tf.Tensor, scale: tf.Variable, offset: tf.Variable) -> tf.Tensor:
    """Layer normalisation over the channels, in float32 whatever the inputs are."""
    wide = tf.cast(inputs, tf.float32)
    mean, variance = tf.nn.moments(wide, axes=[-1], keepdims=True)
    normal = tf.cast((wide - mean) * tf.math.rsqrt(variance + EPSILON), inputs.dtype)
    return normal * scale + offset
