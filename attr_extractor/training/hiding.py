"""The context that a training photo shows: some of its filled cells, and mostly its text.

The share of filled cells that are hidden is uniform in 0 .. 1 for each photo, so the network learns
from few cells and from many. Some cells are wrong on purpose: they are those of another product, as
a seller's mistakes often are. No cell is scored on itself, hidden or not: see model/evidence.py.
"""

from __future__ import annotations

import tensorflow as tf

from attr_extractor.labels import MISSING
from attr_extractor.model import evidence
from attr_extractor.model.augmentation.mixing import partners
from attr_extractor.schema import Schema

TEXT_SHOWN = 0.75  # share of photos


def hide(
    batch: dict[str, tf.Tensor], names: list[str], swapped: float, schema: Schema, seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Return the inputs of `evidence` for a training batch, by name.

    Args:
      batch: `labels` int8 [B, V] and, if named, `text` int32 [B, W, P].
      names: of the inputs.
      swapped: share of the cells that are those of another product of the batch.
      seed: int [2].
    """
    labels = batch["labels"]
    size, attributes = tf.shape(labels)[0], len(schema.attributes)
    seeds = tf.random.experimental.stateless_split(seed, 4)
    shown = {}
    if evidence.KNOWN in names:
        cells = [size, attributes]
        share = tf.random.stateless_uniform([size, 1], seeds[0])
        hidden = tf.random.stateless_uniform(cells, seeds[1]) < share  # [B, T]
        wrong = tf.random.stateless_uniform(cells, seeds[2]) < swapped
        hidden, wrong = (
            tf.gather(each, schema.attribute_of_value, axis=1) for each in (hidden, wrong)
        )  # [B, V]
        told = tf.where(wrong, partners(labels), labels)
        shown[evidence.KNOWN] = tf.where(hidden, tf.constant(MISSING, tf.int8), told)
    if evidence.TEXT in names:
        told = tf.random.stateless_uniform([size, 1, 1], seeds[3]) < TEXT_SHOWN
        shown[evidence.TEXT] = tf.where(told, batch["text"], 0)
    return shown
