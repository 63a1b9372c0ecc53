"""One training step: augment, forward, equation 1, backward; and one evaluation step."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.model import augmentation, loss, metrics
from attr_extractor.model.answers import Answers, default_thresholds
from attr_extractor.model.network import Network
from attr_extractor.schema import Schema


class TrainingModel(keras.Model):
    """Trains the logits model of a network with Keras `fit`; a batch is a dict of the dataset.

    Augmentation of a step depends on (seed, step) alone; the trunk's dropout does not. XLA, where
    the config asks for it, compiles the step without augmentation: projective transforms have no
    XLA kernel, so Keras itself must be compiled with jit_compile=False.
    """

    def __init__(self, network: Network, schema: Schema, config: Config, **kwargs: Any):
        super().__init__(**kwargs)
        self.network = network.logits
        self.schema = schema
        self.config = config
        self.answers = Answers(schema, default_thresholds(schema))
        attributes = len(schema.attributes)
        self.losses_seen = metrics.MeanPerAttribute(attributes, name="losses")
        self.scores_seen = metrics.MeanPerAttribute(attributes, name="score")
        self._learn = tf.function(self._learn_step, jit_compile=config.train.jit_compile or None)

    @property
    def metrics(self) -> list[Any]:
        """What `fit` resets at the start of an epoch."""
        return [self.losses_seen, self.scores_seen]

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.network(inputs, training=training)

    def train_step(self, data: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        step = tf.cast(self.optimizer.iterations, tf.int64)
        seed = tf.stack([tf.constant(self.config.train.seed, tf.int64), step])
        photos = augmentation.augment(data["pixels"], self.config.augmentation, seed)
        sums, counts, logits = self._learn(photos, data["labels"])
        return self._report(sums, counts, logits, data["labels"])

    def test_step(self, data: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        logits = self.network(data["pixels"], training=False)
        sums, counts = loss.sum_and_count(logits, data["labels"], self.schema, self.config.loss)
        return self._report(sums, counts, logits, data["labels"])

    def _learn_step(self, photos: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            logits = self.network(photos, training=True)  # [B, V] float32
            sums, counts = loss.sum_and_count(logits, labels, self.schema, self.config.loss)
            value = loss.total(sums, counts, self.schema)
        variables = self.network.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(value, variables), variables))
        return sums, counts, logits

    def _report(
        self,
        sums: tf.Tensor,
        counts: tf.Tensor,
        logits: tf.Tensor,
        labels: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        answers = self.answers.chosen(tf.sigmoid(logits))
        agreement = metrics.agreement(labels, answers, self.schema)
        applies = tf.cast(agreement["applies"], tf.float32)  # [B, T]
        self.losses_seen.update_state(sums, counts)
        self.scores_seen.update_state(
            tf.reduce_sum(agreement["score"] * applies, axis=0), tf.reduce_sum(applies, axis=0)
        )
        # equation 1 over all that was seen, whatever the size of the last batch
        seen = loss.total(self.losses_seen.sums, self.losses_seen.counts, self.schema)
        return {"loss": seen, "score": self.scores_seen.result()}
