"""Shards -> batches, with tf.data and no Python in the graph.

Training order is a pure function of (seed, epoch): shard order and the shuffle of the encoded
photos are both drawn from it. A given step is reached by skipping encoded photos, not by decoding
what came before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from attr_extractor.config import Data
from attr_extractor.errors import InputError
from attr_extractor.records import example, pixels
from attr_extractor.records.manifest import Manifest

READERS = 16  # shards open at a time


def steps_per_epoch(manifest: Manifest, data: Data) -> int:
    """Whole batches in the training split; raises InputError where it has less than one."""
    photos = manifest.split("train").photos
    if photos < data.batch_size:
        raise InputError(
            f"data.batch_size is {data.batch_size} and the training split has {photos} photos"
        )
    return photos // data.batch_size


def training_batches(
    records: str | Path, manifest: Manifest, data: Data, seed: int, start_step: int = 0
) -> tf.data.Dataset:
    """Endless shuffled batches from a given step on; each epoch drops its incomplete last batch.

    Returns:
      Dicts of `pixels` uint8 [B, H, W, 3], `labels` int8 [B, V], `product_id` string [B].
    """
    paths = _paths(records, manifest, "train")
    steps = steps_per_epoch(manifest, data)
    first_epoch, first_step = divmod(start_step, steps)

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(paths, seed=[seed, number])
        photos = tf.data.Dataset.from_tensor_slices(order).interleave(
            tf.data.TFRecordDataset,
            cycle_length=min(READERS, len(paths)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        photos = _shuffle(photos, data.shuffle_buffer, [seed, number])
        skipped = tf.where(number == first_epoch, first_step * data.batch_size, 0)
        return photos.take(steps * data.batch_size).skip(tf.cast(skipped, tf.int64))

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    return _to_batches(epochs.flat_map(epoch), manifest, data, drop_remainder=True)


def evaluation_batches(
    records: str | Path, manifest: Manifest, data: Data, split: str
) -> tf.data.Dataset:
    """Every photo of a split once, in the order of the shards; the last batch may be smaller."""
    photos = tf.data.TFRecordDataset(_paths(records, manifest, split))
    return _to_batches(photos, manifest, data, drop_remainder=False)


@contextlib.contextmanager
def readable(records: str | Path) -> Iterator[None]:
    """Says in one line that a shard is damaged, where TensorFlow would raise DataLossError."""
    try:
        yield
    except tf.errors.DataLossError as error:
        detail = error.message.splitlines()[0]
        raise InputError(f"{records}: a shard is damaged: {detail}; build it again") from error


def _shuffle(photos: tf.data.Dataset, buffer: int, seed: list) -> tf.data.Dataset:
    """Shuffles each run of `buffer` elements; the next run is read while one is consumed.

    Dataset.shuffle would draw from TensorFlow's global seed as well, and takes no seed that
    changes with the epoch; a stateless shuffle depends on nothing but its arguments.
    """

    def shuffle_block(index: tf.Tensor, block: tf.Tensor) -> tf.Tensor:
        block_seed = tf.random.experimental.stateless_fold_in(seed, index)
        return tf.random.experimental.stateless_shuffle(block, seed=block_seed)

    return photos.batch(buffer).enumerate().map(shuffle_block).prefetch(1).unbatch()


def _paths(records: str | Path, manifest: Manifest, split: str) -> list[str]:
    return [str(Path(records) / shard.name) for shard in manifest.split(split).shards]


def _to_batches(
    photos: tf.data.Dataset, manifest: Manifest, data: Data, drop_remainder: bool
) -> tf.data.Dataset:
    num_values = manifest.schema.num_values

    def read(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        features = example.parse(serialized)
        return {
            "pixels": pixels.from_stored(features["image/encoded"], data.image_size, data.square),
            "labels": example.decode_labels(features["labels"], num_values),
            "product_id": features["product_id"],
        }

    photos = photos.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = photos.batch(data.batch_size, drop_remainder=drop_remainder)
    return batches.prefetch(tf.data.AUTOTUNE)
