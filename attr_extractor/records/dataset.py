"""Read shards as batches, with tf.data and no Python in the graph.

Training order is a pure function of (seed, epoch). Shards are shuffled and read in groups of at
most READERS. Within a group, photos are taken from the shards in turn and cut into runs of
`shuffle_buffer` photos; each run is shuffled. A step deep in an epoch is therefore cheap to reach:
earlier groups are not opened, and earlier photos of its own group are read but not decoded.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from attr_extractor import storage
from attr_extractor.config import DataConfig
from attr_extractor.errors import InputError
from attr_extractor.records import example, pixels
from attr_extractor.records.manifest import Manifest

READERS = 16  # shards open at a time
COPIED_TOGETHER = 32  # photos gathered from a run per call; single photos have too much overhead


class Features(NamedTuple):
    """Features of the photos of records: a file of vectors for each shard, in the same order."""

    views: list[dict[str, str]]  # files by shard name; training reads one view per epoch, in turn
    size: int  # float16 numbers of a photo


class Share(NamedTuple):
    """The part of each batch that one worker decodes, and its batch size per replica."""

    part: int = 0
    parts: int = 1
    replicas: int = 1  # total over all workers


WHOLE = Share()


def steps_per_epoch(manifest: Manifest, data: DataConfig) -> int:
    """Return the number of full batches in the training split.

    Raises:
      InputError: if the split has less than one batch.
    """
    photos = manifest.split("train").photos
    if photos < data.batch_size:
        raise InputError(
            f"data.batch_size is {data.batch_size} but the training split has {photos} photos; "
            "reduce it"
        )
    return photos // data.batch_size


def training_batches(
    records: str | Path,
    manifest: Manifest,
    data: DataConfig,
    seed: int,
    start_step: int = 0,
    share: Share = WHOLE,
    features: Features | None = None,
) -> tf.data.Dataset:
    """Return endless shuffled batches, starting at a given step.

    Each epoch drops its incomplete last batch.

    Args:
      share: the part that one worker decodes; every worker reads all Examples, so that the batches
        do not depend on the number of workers.
      features: read instead of the photos.

    Returns:
      Dicts of `pixels` uint8 [B, H, W, 3], or `features` float16 [B, F], and `labels` int8 [B, V],
      `product_id` string [B]; B is the batch size divided by the share's replicas.
    """
    examples = training_examples(records, manifest, data, seed, start_step, features)
    if share.parts > 1:
        size = data.batch_size // share.parts
        part = slice(share.part * size, (share.part + 1) * size)
        batches = examples.batch(data.batch_size)
        examples = batches.map(lambda *batch: tuple(each[part] for each in batch)).unbatch()
    return _to_batches(examples, manifest, data, share, features, training=True)


def training_examples(
    records: str | Path,
    manifest: Manifest,
    data: DataConfig,
    seed: int,
    start_step: int = 0,
    features: Features | None = None,
) -> tf.data.Dataset:
    """Return the endless serialized Examples that `training_batches` decodes.

    Two runs of `shuffle_buffer` Examples are in memory: one is consumed while the next is read.

    Returns:
      tuples of string scalars: an Example, and with `features` its vector.
    """
    steps = steps_per_epoch(manifest, data)
    first_epoch, first_step = divmod(start_step, steps)
    views = tf.constant(_files(records, manifest, "train", features))  # [views, shards, 1 or 2]
    photos = tf.constant([shard.records for shard in manifest.split("train").shards], tf.int64)
    # groups of equal size, because a small group would be shuffled less well
    group_size = math.ceil(len(photos) / math.ceil(len(photos) / READERS))

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        epoch_seed = tf.stack([tf.constant(seed, tf.int64), number])
        files = views[number % len(views)]
        order = tf.random.experimental.stateless_shuffle(tf.range(len(photos)), seed=epoch_seed)
        ends = tf.cumsum(tf.gather(photos, order))  # positions in the epoch, by shard
        start = tf.where(number == first_epoch, tf.constant(first_step, tf.int64), 0)
        wanted = (start * data.batch_size, steps * data.batch_size)

        def runs(group: tf.Tensor, ends: tf.Tensor) -> tf.data.Dataset:
            at = ends[0] - photos[group[0]]
            return _runs(tf.gather(files, group), data.shuffle_buffer, epoch_seed, at, wanted)

        groups = tf.data.Dataset.from_tensor_slices((order, ends)).batch(group_size)
        return groups.filter(lambda _, ends: ends[-1] > wanted[0]).flat_map(runs)

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    return epochs.flat_map(epoch).prefetch(1).flat_map(_in_order).unbatch()


def product_ids(
    records: str | Path, manifest: Manifest, data: DataConfig, seed: int, step: int
) -> list[str]:
    """Return the products of one training batch, per photo; decodes no photo. Steps start at 0."""
    examples = training_examples(records, manifest, data, seed, step).take(data.batch_size)
    found = examples.map(lambda serialized: example.parse(serialized, ["product_id"])["product_id"])
    return [product.decode() for product in found.as_numpy_iterator()]


def evaluation_batches(
    records: str | Path,
    manifest: Manifest,
    data: DataConfig,
    split: str,
    share: Share = WHOLE,
    start: int = 0,
    features: Features | None = None,
) -> tf.data.Dataset:
    """Return every photo of a split once, in the order of the shards.

    The last batch may be smaller.

    Args:
      share: the part of the photos to read; photos are assigned to the parts in turn.
      start: number of photos to skip.
      features: read instead of the photos, in their first view.

    Returns:
      Dicts as in `training_batches`, and `image_index` int64 [B], the index of the photo within its
      product.
    """
    shards = _files(records, manifest, split, features)[0]
    photos = _rows(tf.constant(list(zip(*shards))))
    # without a known cardinality Keras 3 treats the end of the data as a mistake
    photos = photos.apply(tf.data.experimental.assert_cardinality(manifest.split(split).photos))
    photos = photos.skip(start).shard(share.parts, share.part)
    return _to_batches(photos, manifest, data, share, features, training=False)


def shard_batches(
    records: str | Path, manifest: Manifest, data: DataConfig, shard: str
) -> tf.data.Dataset:
    """Return every photo of a shard once, in its order; dicts as in `evaluation_batches`."""
    photos = tf.data.TFRecordDataset(storage.join(records, shard))
    return _to_batches(photos, manifest, data, WHOLE, None, training=False)


def label_batches(
    records: str | Path, manifest: Manifest, split: str, batch_size: int = 1024
) -> tf.data.Dataset:
    """Return the labels of every photo of a split, in the order of the shards; decode no photo.

    Returns:
      Dicts of `labels` int8 [B, V], `product_id` string [B] and `image_index` int64 [B].
    """

    def read(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        features = example.parse(serialized, ["labels", "product_id", "image/index"])
        return {
            "labels": example.decode_labels(features["labels"], manifest.schema.num_values),
            "product_id": features["product_id"],
            "image_index": features["image/index"],
        }

    photos = tf.data.TFRecordDataset(_paths(records, manifest, split))
    return photos.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).batch(
        batch_size
    )


@contextlib.contextmanager
def readable(records: str | Path) -> Iterator[None]:
    """Turn TensorFlow's DataLossError into a one-line InputError about the damaged shard."""
    try:
        yield
    # FailedPrecondition: the number of records differs from the manifest
    except (tf.errors.DataLossError, tf.errors.FailedPreconditionError) as error:
        detail = error.message.splitlines()[0]
        raise InputError(
            f"{records}: a shard is damaged: {detail}; build the records again"
        ) from error


def indexed_examples(path: str, products: Sequence[str]) -> Iterator[tf.train.Example]:
    """Yield the Examples of a shard.

    Args:
      products: product of every Example, according to the index of the shard.

    Raises:
      InputError: if the shard is damaged, or its Examples do not match the rows of its index.
    """
    number = 0
    with readable(path):
        for serialized in tf.data.TFRecordDataset(path).as_numpy_iterator():
            record = tf.train.Example.FromString(serialized)
            listed = products[number].encode() if number < len(products) else None
            if record.features.feature["product_id"].bytes_list.value[0] != listed:
                raise InputError(f"{path}: record {number} is not the product in its index")
            number += 1
            yield record
    if number != len(products):
        raise InputError(f"{path}: it has {number} records, but its index has {len(products)} rows")


def _runs(
    files: tf.Tensor, length: int, epoch_seed: tf.Tensor, at: tf.Tensor, wanted: tuple
) -> tf.data.Dataset:
    """Return the Examples of a group of shards in runs, each with its shuffled order.

    Args:
      files: string [shards, files of a shard].
      at: position of the group's first Example in its epoch.
      wanted: first position of the epoch to return, and the position after the last.

    Returns:
      Pairs of rows, a tuple of string [R] with R at most `length`, and int32 [at most R].
    """

    def shuffle(index: tf.Tensor, run: tuple) -> tuple[tuple, tf.Tensor]:
        # Dataset.shuffle would also depend on TensorFlow's global seed
        first = at + index * length
        seed = tf.random.experimental.stateless_fold_in(epoch_seed, first)
        order = tf.random.experimental.stateless_shuffle(tf.range(tf.size(run[0])), seed=seed)
        start, stop = (tf.maximum(position - first, 0) for position in wanted)
        return run, order[start:stop]

    examples = tf.data.Dataset.from_tensor_slices(files).interleave(
        _rows,
        cycle_length=READERS,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return examples.batch(length).enumerate().map(shuffle)


def _rows(files: tf.Tensor) -> tf.data.Dataset:
    """Return the rows of shards.

    Args:
      files: string [1 or 2], or [1 or 2, shards]: Examples, and their features.

    Returns:
      tuples of one string scalar per file.
    """
    return tf.data.Dataset.zip(tuple(map(tf.data.TFRecordDataset, tf.unstack(files))))


def _in_order(run: tuple, order: tf.Tensor) -> tf.data.Dataset:
    """Return the rows of a run in the given order.

    COPIED_TOGETHER Examples are gathered at a time, so the run itself is not copied.
    """
    order = tf.data.Dataset.from_tensor_slices(order)
    return order.batch(COPIED_TOGETHER).map(
        lambda chosen: tuple(tf.gather(each, chosen) for each in run)
    )


def _paths(records: str | Path, manifest: Manifest, split: str) -> list[str]:
    return [storage.join(records, shard.name) for shard in manifest.split(split).shards]


def _files(
    records: str | Path, manifest: Manifest, split: str, features: Features | None
) -> list[list[list[str]]]:
    """Return the files of every view and shard: the shard, and with `features` its vectors."""
    paths, shards = _paths(records, manifest, split), manifest.split(split).shards
    if features is None:
        return [[[path] for path in paths]]
    views = features.views if split == "train" else features.views[:1]  # only photos themselves
    return [[[path, view[shard.name]] for path, shard in zip(paths, shards)] for view in views]


def _to_batches(
    rows: tf.data.Dataset,
    manifest: Manifest,
    data: DataConfig,
    share: Share,
    features: Features | None,
    training: bool,
) -> tf.data.Dataset:
    num_values = manifest.schema.num_values
    names = ["image/encoded", "labels", "product_id"] + ["image/index"] * (not training)

    def read(serialized: tf.Tensor, *vector: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = example.parse(serialized, names)
        found = {
            "labels": example.decode_labels(parsed["labels"], num_values),
            "product_id": parsed["product_id"],
        }
        if features is None:
            encoded = parsed["image/encoded"]
            found["pixels"] = pixels.from_stored(encoded, data.image_size, data.square)
        else:
            found["features"] = tf.reshape(tf.io.decode_raw(vector[0], tf.float16), [features.size])
        return found if training else {**found, "image_index": parsed["image/index"]}

    rows = rows.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = rows.batch(data.batch_size // share.replicas, drop_remainder=training)
    return batches.prefetch(tf.data.AUTOTUNE)
