"""Linear heads on frozen features, one per fold, so that every product is judged out of fold.

A head predicts all attributes: softmax over an exclusive attribute's values, a sigmoid for each
value of the others, trained with equation 1 and missing labels masked. The loss is convex, so
training starts at 0 and does not depend on the initialisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from attr_extractor.config import LossConfig
from attr_extractor.errors import InputError
from attr_extractor.model.loss import MaskedLoss
from attr_extractor.schema import Schema

BATCH = 512  # products
STEPS = 600  # minimum; 600 batches of 512 are 50 passes over 6,000 products
PASSES = 2  # minimum
RATE = 1e-2
L2 = 1e-2  # for features at unit variance


@dataclass(frozen=True)
class Heads:
    """Heads of K folds, and the fold of each of the P products."""

    kernels: np.ndarray  # float32 [K, D, V]
    biases: np.ndarray  # float32 [K, V]
    fold: np.ndarray  # int8 [P]

    def logits(self, features: np.ndarray, start: int) -> np.ndarray:
        """Return out-of-fold logits of consecutive products, the first one at `start`.

        Args:
          features: float16 [R, D].

        Returns:
          float32 [R, V].
        """
        fold = self.fold[start : start + len(features)]
        logits = np.empty([len(features), self.biases.shape[1]], np.float32)
        for k, (kernel, bias) in enumerate(zip(self.kernels, self.biases)):
            logits[fold == k] = features[fold == k].astype(np.float32) @ kernel + bias
        return logits


def require_folds(products: int, folds: int) -> None:
    """Raise InputError if `folds` is less than 2, more than 127 or more than `products`."""
    if not 2 <= folds <= min(products, 127):
        raise InputError(
            f"--folds={folds}: at least 2, at most 127 and no more than the {products:,} products"
        )


def assign_folds(groups: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """Return the fold of each product, int8 [P]; products of a group share it.

    The numbers of groups in the folds differ by at most one.
    """
    distinct, group = np.unique(np.asarray(groups), return_inverse=True)
    fold = np.random.default_rng(seed).permutation(np.arange(len(distinct)) % folds)
    return fold[group].astype(np.int8)


def fit_heads(
    features: np.ndarray,
    labels: np.ndarray,
    schema: Schema,
    fold: np.ndarray,
    seed: int = 0,
    among: np.ndarray | None = None,
) -> Heads:
    """Train the heads of all folds, each on the products outside its fold.

    Args:
      features: float16 [P, D], labels: int8 [P, V]; both may be memory-mapped files.
      fold: int8 [P], see `assign_folds`.
      among: bool [P], products to train on; default: all.
    """
    among = np.ones(len(fold), bool) if among is None else among
    mean, scale = _moments(features)
    equation_1 = MaskedLoss(schema, LossConfig(normalize_by="observed"), schema.exclusive)
    folds = int(fold.max()) + 1
    kernels = np.empty([folds, features.shape[1], schema.num_values], np.float32)
    biases = np.empty([folds, schema.num_values], np.float32)
    for k in tqdm(range(folds), unit="fold", desc="heads"):
        rows = np.flatnonzero((fold != k) & among)
        generator = np.random.default_rng([seed, k])
        steps = max(STEPS, PASSES * len(rows) // BATCH)
        rate = keras.optimizers.schedules.CosineDecay(RATE, steps)
        head = keras.layers.Dense(schema.num_values, kernel_initializer="zeros", dtype="float32")
        head.build([None, features.shape[1]])
        optimizer = keras.optimizers.Adam(rate)
        optimizer.build(head.trainable_variables)

        @tf.function(reduce_retracing=True)
        def step(x: tf.Tensor, y: tf.Tensor, head=head, optimizer=optimizer) -> None:
            with tf.GradientTape() as tape:
                logits = head((tf.cast(x, tf.float32) - mean) * scale)  # [B, V]
                losses = tf.math.divide_no_nan(
                    equation_1.sums(logits, y), equation_1.counts(y)
                )  # [T]
                loss = tf.reduce_sum(losses) + L2 * tf.reduce_sum(tf.square(head.kernel))
            gradients = tape.gradient(loss, head.trainable_variables)
            optimizer.apply_gradients(zip(gradients, head.trainable_variables))

        order = np.empty([0], np.int64)
        for _ in range(steps):
            while len(order) < min(BATCH, len(rows)):
                order = np.concatenate([order, generator.permutation(rows)])
            chosen, order = np.sort(order[:BATCH]), order[BATCH:]  # sorted: sequential reads
            step(tf.constant(features[chosen]), tf.constant(labels[chosen]))
        kernel, bias = (np.array(v) for v in head.get_weights())
        # the standardisation is folded into the weights
        kernels[k] = kernel * scale[:, np.newaxis]
        biases[k] = bias - mean @ kernels[k]
    return Heads(kernels, biases, fold)


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and 1 / standard deviation of the features, float32 [D], read in blocks."""
    total, squares = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for start in range(0, len(features), BATCH):
        block = features[start : start + BATCH].astype(np.float64)
        total, squares = total + block.sum(axis=0), squares + np.square(block).sum(axis=0)
    mean = total / len(features)
    deviation = np.sqrt(np.maximum(squares / len(features) - mean**2, 1e-12))
    return mean.astype(np.float32), (1 / deviation).astype(np.float32)
