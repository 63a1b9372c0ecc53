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
from attr_extractor.records import example, pixels, staging, words
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
      `product_id` string [B]; B is the batch size divided by the share's replicas. If the schema
      has text columns, also `text` int32 [B, W, P]: see `words.pieces`. If the records have soft
      labels, also `targets` float32 [B, V]: see `example.targets`.
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
    is_remote = storage.is_remote(records)
    views = tf.constant(_files(records, manifest, "train", features))  # [views, shards, 1 or 2]
    photos = tf.constant([shard.records for shard in manifest.split("train").shards], tf.int64)
    # groups of equal size, because a small group would be shuffled less well
    group_size = math.ceil(len(photos) / math.ceil(len(photos) / READERS))

    def ordered(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Return an epoch's seed, shards in their order, and the files of all shards."""
        epoch_seed = tf.stack([tf.constant(seed, tf.int64), number])
        order = tf.random.experimental.stateless_shuffle(tf.range(len(photos)), seed=epoch_seed)
        return epoch_seed, order, views[number % len(views)]

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        epoch_seed, order, files = ordered(number)
        ends = tf.cumsum(tf.gather(photos, order))  # positions in the epoch, by shard
        start = tf.where(number == first_epoch, tf.constant(first_step, tf.int64), 0)
        wanted = (start * data.batch_size, steps * data.batch_size)

        def staged(number_of_group: tf.Tensor, of_group: tf.Tensor) -> tf.Tensor:
            """Return the files of a group, while those of the next group are downloaded."""
            _, next_order, next_files = ordered(number + 1)
            in_order = tf.concat([tf.gather(files, order), tf.gather(next_files, next_order)], 0)
            end = tf.minimum((number_of_group + 1) * group_size, len(photos))
            return staging.staged(of_group, in_order[end : end + group_size])

        def runs(number_of_group: tf.Tensor, group: tuple) -> tf.data.Dataset:
            shards, ends = group
            of_group = tf.gather(files, shards)
            if is_remote:
                of_group = staged(number_of_group, of_group)
            at = ends[0] - photos[shards[0]]
            return _runs(of_group, data.shuffle_buffer, epoch_seed, at, wanted)

        groups = tf.data.Dataset.from_tensor_slices((order, ends)).batch(group_size).enumerate()
        return groups.filter(lambda _, group: group[1][-1] > wanted[0]).flat_map(runs)

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
    photos = _in_turn(records, _files(records, manifest, split, features)[0])
    # without a known cardinality Keras 3 treats the end of the data as a mistake
    photos = photos.apply(tf.data.experimental.assert_cardinality(manifest.split(split).photos))
    photos = photos.skip(start).shard(share.parts, share.part)
    return _to_batches(photos, manifest, data, share, features, training=False)


def shard_batches(
    records: str | Path, manifest: Manifest, data: DataConfig, shard: str
) -> tf.data.Dataset:
    """Return every photo of a shard once, in its order; dicts as in `evaluation_batches`."""
    photos = examples(records, [shard])
    return _to_batches(photos, manifest, data, WHOLE, None, training=False)


def label_batches(
    records: str | Path,
    manifest: Manifest,
    split: str,
    batch_size: int = 1024,
    shards: Sequence[str] | None = None,
) -> tf.data.Dataset:
    """Return the labels of every photo of a split, in the order of the shards; decode no photo.

    Args:
      shards: file names of shards to read; by default all of the split.

    Returns:
      Dicts of `labels` int8 [B, V], `product_id` and `text` string [B], `image_index` int64 [B].
    """

    def read(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        features = example.parse(serialized, ["labels", "product_id", "image/index", "text"])
        return {
            "labels": example.decode_labels(features["labels"], manifest.schema.num_values),
            "product_id": features["product_id"],
            "image_index": features["image/index"],
            "text": features["text"],
        }

    if shards is None:
        shards = [shard.name for shard in manifest.split(split).shards]
    photos = examples(records, shards)
    return photos.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).batch(
        batch_size
    )


def examples(records: str | Path, shards: Sequence[str]) -> tf.data.Dataset:
    """Return the serialized Examples of shards, given by file name, as tuples of one string."""
    return _in_turn(records, [[storage.join(records, shard)] for shard in shards])


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
    except tf.errors.OpError:
        staging.raise_error()
        raise


def indexed_examples(path: str, products: Sequence[str]) -> Iterator[tf.train.Example]:
    """Yield the Examples of a shard.

    Args:
      products: product of every Example, according to the index of the shard.

    Raises:
      InputError: if the shard is damaged, or its Examples do not match the rows of its index.
    """
    number = 0
    with readable(path):
        for serialized in tf.data.TFRecordDataset(staging.local(path)).as_numpy_iterator():
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


def _in_turn(records: str | Path, shards: Sequence[Sequence[str]]) -> tf.data.Dataset:
    """Return the rows of all shards, one shard after the other; `shards` are files of each."""
    files = tf.constant(shards)  # [shards, 1 or 2]
    if not storage.is_remote(records):
        return _rows(tf.transpose(files))

    def rows(i: tf.Tensor) -> tf.data.Dataset:
        return _rows(staging.staged(files[i], files[i + 1 : i + 2]))

    return tf.data.Dataset.range(len(shards)).flat_map(rows)


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


def _files(
    records: str | Path, manifest: Manifest, split: str, features: Features | None
) -> list[list[list[str]]]:
    """Return the files of every view and shard: the shard, and with `features` its vectors."""
    shards = manifest.split(split).shards
    paths = [storage.join(records, shard.name) for shard in shards]
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
    has_text = bool(manifest.schema.text)
    names += ["text"] * has_text
    soft = example.SOFT if training and manifest.has_soft_labels("train") else ()

    def read(serialized: tf.Tensor, *vector: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = example.parse(serialized, [*names, *soft])
        found = {
            "labels": example.decode_labels(parsed["labels"], num_values),
            "product_id": parsed["product_id"],
        }
        if features is None:
            encoded = parsed["image/encoded"]
            found["pixels"] = pixels.from_stored(encoded, data.image_size, data.square)
        else:
            found["features"] = tf.reshape(tf.io.decode_raw(vector[0], tf.float16), [features.size])
        if has_text:
            found["text"] = parsed["text"]
        if soft:
            values, probabilities = (parsed[name] for name in soft)
            found["targets"] = example.targets(
                found["labels"], values, probabilities, manifest.schema.sizes
            )
        return found if training else {**found, "image_index": parsed["image/index"]}

    def with_pieces(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {**batch, "text": words.pieces(batch["text"])}

    rows = rows.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = rows.batch(data.batch_size // share.replicas, drop_remainder=training)
    if has_text:
        batches = batches.map(with_pieces, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches.prefetch(tf.data.AUTOTUNE)
