"""The paper's network as a plain Keras model, for `bench.py --what=step`.

It follows the guides of Keras and keras-cv: a sequence of augmentation layers within the model,
keras.applications, MultiHeadAttention, a Dense stack with sigmoid outputs for each attribute, and
a dict of losses. Loss and architecture are the same as in attr_extractor's model.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.schema import Schema
from benchmarks import augmentation, our_step, timing


def run(
    config: Config, schema: Schema, steps: int, records: str | None = None
) -> tuple[list[float], int]:
    """Return the seconds of timing.time_steps and the number of trained parameters."""
    keras.utils.set_random_seed(config.train.seed)
    model = build(config, schema)
    model.compile(
        optimizer=keras.optimizers.Adam(config.train.learning_rate),
        loss={name: masked_cross_entropy for name in schema.names},
        jit_compile=False,  # keras-cv's augmentation has no XLA kernel
    )
    made_up = timing.made_up_batch(config, schema)
    labels = made_up["labels"].astype("float32")
    by_name = {name: labels[:, where] for name, where in schema.slices.items()}
    batch = tf.data.Dataset.from_tensors((made_up["pixels"], by_name))
    model.make_train_function()  # Keras 3 returns nothing
    seconds = our_step.time_on_batch(model.train_function, batch, steps)
    return seconds, our_step.parameters(model)


def build(config: Config, schema: Schema) -> Any:
    """Build a model from uint8 [B, H, W, 3] to scores [B, V_t] per attribute, under its name."""
    layers, attention = keras.layers, config.model.attention
    size = config.data.image_size
    photos = pixels = keras.Input([size, size, 3], dtype="uint8")
    if config.augmentation.enabled:
        for layer in augmentation.keras_cv_layers(config.augmentation):
            photos = layer(photos)
    trunk = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_tensor=photos
    )  # [B, h, w, D]
    channels = int(trunk.output.shape[-1])
    positions = layers.Reshape([-1, channels])(trunk.output)  # [B, N, D]
    if attention.enabled:
        attend = layers.MultiHeadAttention(attention.num_heads, attention.key_dim)
        attended = layers.Add()([positions, attend(positions, positions)])
        attended = layers.LayerNormalization()(attended)
        hidden = layers.Dense(attention.feed_forward_dim, activation="relu")(attended)
        hidden = layers.Dense(channels)(hidden)
        positions = layers.LayerNormalization()(layers.Add()([attended, hidden]))  # [B, N, D]
    pooled = layers.GlobalAveragePooling1D()(positions)  # [B, D]
    outputs = {}
    for attribute in schema.attributes:
        branch = pooled
        for width in config.model.hidden:
            branch = layers.Dense(width, activation="relu")(branch)
        output = layers.Dense(len(attribute.values), activation="sigmoid", name=attribute.name)
        outputs[attribute.name] = output(branch)  # [B, V_t]
    return keras.Model(pixels, outputs)


def masked_cross_entropy(labels: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Sum equation 1 over an attribute's values: [B, V_t] twice -> [B]; labels 1, 0, -1."""
    of_truth = tf.where(labels > 0, scores, 1 - scores)  # [B, V_t]
    entropy = -tf.math.log(tf.clip_by_value(of_truth, 1e-7, 1))
    return tf.reduce_sum(tf.where(labels >= 0, entropy, 0), axis=-1)
