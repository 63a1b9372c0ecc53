"""One training step: augment, forward, equation 1, backward; and one evaluation step."""

from __future__ import annotations

import contextlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.model import augmentation, metrics, network, noise, partial_labels
from attr_extractor.model.answers import Answers, default_thresholds
from attr_extractor.model.augmentation import mixing
from attr_extractor.model.loss import MaskedLoss, effective_number_weights
from attr_extractor.schema import Schema
from attr_extractor.training import hiding
from attr_extractor.training.average import MovingAverage
from attr_extractor.training.teacher import Teach

MIXING, HIDING = 3, 4  # folded into a step's seed; augmentation uses the seed itself


class TrainingModel(keras.Model):
    """Model that trains the logits of a network; batches are dicts of the dataset.

    All noise of a step, including the trunk's dropout, depends on (seed, step, replica) alone.
    `train.xla` selects the parts that XLA compiles, so compile the Keras model with
    jit_compile=False.

    Args:
      present: int [V], how often each value is present in the training labels; for
        `loss.class_balance`.
      frequencies: float [V], share of the known training labels that are 1; for `loss.missing`.
      augments: whether a step augments its photos; if not, `augmented_on_host` has done it.
      teach: the teacher's logits, see `teacher.load`.
    """

    def __init__(
        self,
        built: network.Network,
        schema: Schema,
        config: Config,
        present: np.ndarray | None = None,
        frequencies: np.ndarray | None = None,
        augments: bool = True,
        teach: Teach | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.layout, self.network = built, built.trained
        self.schema = schema
        self.config = config
        self.augments, self.teach = augments, teach
        mixing_shares = config.augmentation.mixup + config.augmentation.cutmix
        self.mixes = built.inputs == network.PIXELS and mixing_shares > 0
        weights = None
        if config.loss.class_balance and present is not None:
            weights = effective_number_weights(present, schema, config.loss.class_balance)
        self.equation_1 = MaskedLoss(schema, config.loss, built.softmax, weights)
        if frequencies is None:
            frequencies = np.zeros(schema.num_values)
        self.frequencies = tf.constant(frequencies, tf.float32)
        self.answers = Answers(schema, default_thresholds(schema))
        attributes = len(schema.attributes)
        self.losses_seen = metrics.MeanPerAttribute(
            attributes, name="losses", weights=[a.weight for a in schema.attributes]
        )
        self.scores_seen = metrics.MeanPerAttribute(attributes, name="score")
        momentum = config.train.average
        self.average = MovingAverage(self.network.weights, momentum) if momentum else None
        self._learn = self._gradients
        if config.train.xla == "step":
            self._learn = tf.function(self._gradients, jit_compile=True)

    @property
    def metrics(self) -> list[Any]:
        """Metrics that `reset_metrics` resets at the start of an epoch."""
        return [self.losses_seen, self.scores_seen]

    def freeze_trunk(self) -> None:
        """Train only the layers after the trunk; the trunk then works as in evaluation."""
        for layer in self.layout.trunk:
            layer.trainable = False

    def learning_rates(self) -> dict[str, float]:
        """Return the rates of the next step: `lr`, and `lr_trunk` if the trunk has its own."""
        rate = float(tf.convert_to_tensor(self.optimizer.learning_rate))
        factor = self.config.train.trunk_rate
        return {"lr": rate, **({"lr_trunk": rate * factor} if factor != 1.0 else {})}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the network's weights for weights.npz, or their averages if there are any."""
        with self.average.in_place() if self.average else contextlib.nullcontext():
            return network.layer_arrays(self.network)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.layout.logits(inputs, training=training)

    def train_step(self, data: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        inputs, labels = data[self.layout.inputs], data["labels"]
        targets = data.get("targets", labels)
        step = tf.cast(self.optimizer.iterations, tf.int64)
        seed = self._seed(step)
        photos = inputs
        if self.augments:
            loops = self.config.train.xla_loops
            photos = augmentation.augment(inputs, self.config.augmentation, seed, loops)
        shares = None
        if self.mixes:
            away = tf.random.experimental.stateless_fold_in(seed, MIXING)
            photos, shares = mixing.mix(tf.cast(photos, tf.float32), self.config.augmentation, away)
        if self.layout.inputs == network.PIXELS and photos.dtype.is_floating:
            # the network reads uint8, and Keras would truncate
            photos = tf.cast(tf.round(photos), tf.uint8)
        taught = None if self.teach is None else self.teach(photos)
        given: Any = photos
        if names := self.layout.context:
            away = tf.random.experimental.stateless_fold_in(seed, HIDING)
            given = {
                self.layout.inputs: photos,
                **hiding.hide(data, names, self.config.train.swapped_cells, self.schema, away),
            }
        # the loss divides by the samples of all replicas, and their gradients are summed
        counts = self.equation_1.counts(targets)
        divisors = _over_replicas(counts)
        sums, logits, gradients = self._learn(given, targets, taught, shares, divisors, seed)
        self.optimizer.apply_gradients(zip(gradients, self.network.trainable_variables))
        if self.average is not None:
            self.average.update(step)
        return self._report(sums, counts, logits, labels)

    def test_step(self, data: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        logits = self.layout.logits(data[self.layout.inputs], training=False)
        sums = self.equation_1.sums(logits, data["labels"])
        counts = self.equation_1.counts(data["labels"])
        return self._report(sums, counts, logits, data["labels"])

    def _seed(self, step: tf.Tensor) -> tf.Tensor:
        seed = tf.stack([tf.constant(self.config.train.seed, tf.int64), step])
        replica = tf.distribute.get_replica_context()
        if replica.num_replicas_in_sync > 1:
            number = replica.replica_id_in_sync_group
            seed = tf.random.experimental.stateless_fold_in(seed, number)
        return seed

    def _gradients(
        self,
        inputs: Any,
        targets: tf.Tensor,
        taught: tf.Tensor | None,
        shares: tf.Tensor | None,
        divisors: tf.Tensor,
        seed: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape, noise.keyed(seed):
            outputs = self.network(inputs, training=True)
            logits, *alone = outputs if self.layout.context else [outputs]  # [B, V] float32
            sums = self._sums(logits, targets, shares)
            if shares is not None:
                sums += self._sums(logits, mixing.partners(targets), 1.0 - shares)
            if taught is not None:
                teacher = self.config.train.teacher
                scores = self.layout.scores_of(taught / teacher.temperature)
                soft = self.equation_1.sums(logits / teacher.temperature, scores)
                sums = (1.0 - teacher.weight) * sums + (
                    teacher.weight * teacher.temperature**2 * soft
                )
            value = self.equation_1.total(sums, divisors)
            for of_context in alone:  # of other variables than the photo's, so neither disturbs
                of_context = self._sums(of_context, targets)
                value += self.equation_1.total(of_context, divisors)
        return sums, logits, tape.gradient(value, self.network.trainable_variables)

    def _sums(
        self, logits: tf.Tensor, targets: tf.Tensor, shares: tf.Tensor | None = None
    ) -> tf.Tensor:
        missing = self.config.loss.missing
        completed = partial_labels.complete(targets, logits, missing, self.frequencies)
        return self.equation_1.sums(logits, completed, shares)

    def _report(
        self, sums: tf.Tensor, counts: tf.Tensor, logits: tf.Tensor, labels: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        scores = self.layout.scores_of(logits)
        agreement = metrics.agreement(labels, self.answers.chosen(scores), self.schema)
        applies = tf.cast(agreement.applies, tf.float32)  # [B, T]
        self.losses_seen.update_state(sums, counts)
        self.scores_seen.update_state(
            tf.reduce_sum(agreement.score * applies, axis=0), tf.reduce_sum(applies, axis=0)
        )
        return {"loss": self.losses_seen.result(), "score": self.scores_seen.result()}


def augmented_on_host(batches: tf.data.Dataset, config: Config, first_step: int) -> tf.data.Dataset:
    """Augment training batches as a step would, before they reach the device.

    This is for devices that compile every op; the host's own ops transform the photos. Product ids
    stay on the host too: such devices do not support strings.
    """

    def augmented(step: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        seed = tf.stack([tf.constant(config.train.seed, tf.int64), step])
        photos = augmentation.augment(batch["pixels"], config.augmentation, seed, compiled=False)
        kept = {name: batch[name] for name in ("labels", "targets", "text") if name in batch}
        return {"pixels": photos, **kept}

    return batches.enumerate(first_step).map(augmented).prefetch(tf.data.AUTOTUNE)


def _over_replicas(quantity: tf.Tensor) -> tf.Tensor:
    """Sum a quantity over all replicas."""
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync == 1:
        return quantity
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, quantity)
