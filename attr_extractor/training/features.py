"""Features of a frozen trunk, computed once per photo and read instead of the photo in training.

<records>/features/<digest>/<shard>-<photos>-view-<i>.tfrecord   a vector per photo, float16 [F]

The folder's digest covers all that determines the vectors: the trunk and its weights, preprocessing
and augmentation; a file's digest covers the shard's photos. So a run computes only what no earlier
run has: an interrupted pass resumes at the first missing file, and new labels change nothing.
A vector is the positions of the last map, [N, D] (`features: positions`) or their mean [D]
(`pooled`), and the pooled earlier maps (`model.fuse_stages`). View 0 is the photo itself; further
views (`feature_views`) are augmented. Photos are not mixed.
"""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import xxhash
from tqdm import tqdm

from attr_extractor import made_from, ownership, storage
from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.model import augmentation, network
from attr_extractor.model.network import Network
from attr_extractor.records import dataset, index, staging
from attr_extractor.records.dataset import Features
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema

FOLDER = "features"
BATCH = 32  # photos; float32 sums depend on it, so it is not the config's


@dataclass(frozen=True)
class Frozen:
    """The stored features of a frozen trunk."""

    files: Features
    shapes: list[list[int]]  # of one photo's tensors, whose concatenation is its vector
    arrays: dict[str, np.ndarray]  # `network.layer_arrays` of the whole network

    def head(self, schema: Schema, config: Config, precision: str = "float32") -> Network:
        """Return the layers after the trunk, with their weights in `arrays`; see `build_head`."""
        built = network.build_head(schema, config, self.shapes, precision)
        arrays = {name: self.arrays[name] for name in network.layer_arrays(built.trained)}
        network.set_layer_arrays(built.trained, arrays, "the whole network")
        return built


class Part(NamedTuple):
    """The features of a shard in one view, a file."""

    view: int
    shard: str
    path: str


@dataclass(frozen=True)
class Plan:
    """The files of features for some records, and those that are not stored yet."""

    folder: str
    files: Features
    shapes: list[list[int]]  # of one photo's tensors
    missing: list[Part]
    photos: dict[str, int]  # by shard

    @property
    def bytes_missing(self) -> int:
        """Bytes of the files that are not stored yet."""
        return sum(self.photos[part.shard] for part in self.missing) * _row_bytes(self.files.size)


def compute(records: str | Path, manifest: Manifest, config: Config, whole: Network) -> Frozen:
    """Compute the features of all photos that are not stored yet.

    Args:
      whole: its trunk computes the features, in float32.

    Raises:
      InputError: if a shard is damaged, or the disk has too little free space.
      TemporaryError: if another program is computing the same features.
    """
    planned = plan(records, manifest, config, whole)
    if planned.missing:
        announce(planned, config)
        with ownership.folder(planned.folder, "the folder of features"):
            require_room(planned)
            write(records, manifest, config, whole, planned.missing)
    arrays = network.layer_arrays(whole.trained)
    return Frozen(planned.files, planned.shapes, arrays)


def plan(records: str | Path, manifest: Manifest, config: Config, whole: Network) -> Plan:
    """Return the files of features, and which of them are missing."""
    shapes = [[int(size) for size in tensor.shape[1:]] for tensor in _tensors(whole, config)]
    size = sum(math.prod(shape) for shape in shapes)
    folder = folder_of(records, config, whole)
    stems = _stems(records, manifest)
    training = {shard.name for shard in manifest.splits["train"].shards}
    views = [
        {
            shard: storage.join(folder, _file(stem, view))
            for shard, stem in stems.items()
            if view == 0 or shard in training
        }
        for view in range(config.train.feature_views)
    ]
    photos = {s.name: s.records for split in manifest.splits.values() for s in split.shards}
    missing = [
        Part(view, shard, path)
        for view, files in enumerate(views)
        for shard, path in files.items()
        # a shorter file would silently shorten the epochs
        if not storage.exists(path) or storage.size(path) != photos[shard] * _row_bytes(size)
    ]
    return Plan(folder, Features(views, size), shapes, missing, photos)


def folder_of(records: str | Path, config: Config, whole: Network) -> str:
    """Return the folder of the features that a network computes."""
    return storage.join(records, f"{FOLDER}/{_digest(whole, config)}")


def announce(planned: Plan, config: Config) -> None:
    """Print how much will be computed, and where."""
    count = sum(planned.photos[part.shard] for part in planned.missing)
    print(
        f"features: {count:,} photos x {planned.files.size:,} numbers in float16 "
        f"(views of a training photo: {config.train.feature_views}): "
        f"{planned.bytes_missing / 2**30:.2f} GiB in {planned.folder}"
    )


def write(
    records: str | Path, manifest: Manifest, config: Config, whole: Network, parts: Sequence[Part]
) -> None:
    """Compute and write the given files, each as a whole.

    Raises:
      InputError: if a shard is damaged.
    """
    photos = {s.name: s.records for split in manifest.splits.values() for s in split.shards}
    count = sum(photos[part.shard] for part in parts)
    forward = _forward(whole, _tensors(whole, config), config)
    data = config.data.model_copy(update={"batch_size": BATCH})
    with tqdm(total=count, unit="photo", desc="features") as bar, dataset.readable(records):
        for view, shard, path in parts:
            batches = dataset.shard_batches(records, manifest, data, shard)
            with storage.whole(path, workers=True) as temporary:
                _write(temporary, forward(batches, view, shard), bar)


def copy_to_subset(
    records: str | Path, manifest: Manifest, subset: str | Path, part: Manifest
) -> None:
    """Copy the stored features of the photos that `records.subset.write_subset` kept."""
    columns = ["product_id", "image_index"]
    stems, copied_stems = _stems(records, manifest), _stems(subset, part)
    for name in storage.names(storage.join(records, FOLDER)):
        source, target = (storage.join(f, f"{FOLDER}/{name}") for f in (records, subset))
        storage.make_folder(target)
        for shard, stem in copied_stems.items():
            kept, photos = (
                index.read_photos(str(folder), [shard], columns).to_pylist()
                for folder in (subset, records)
            )
            keys = {tuple(photo.values()) for photo in kept}
            for view in itertools.count():
                path = storage.join(source, _file(stems[shard], view))
                copy = storage.join(target, _file(stem, view))
                if not storage.exists(path):
                    break
                if storage.exists(copy):  # by an interrupted call
                    continue
                with (
                    dataset.readable(records),
                    storage.whole(copy) as temporary,
                    tf.io.TFRecordWriter(temporary) as writer,
                ):
                    vectors = tf.data.TFRecordDataset(staging.local(path)).as_numpy_iterator()
                    for photo, vector in zip(photos, vectors):
                        if tuple(photo.values()) in keys:
                            writer.write(vector)


def _stems(records: str | Path, manifest: Manifest) -> dict[str, str]:
    """Return the start of the file names of each shard's features, with its photos' digest."""
    shards = [shard.name for split in manifest.splits.values() for shard in split.shards]
    digests = [index.photos_digest(str(records), manifest, [shard]) for shard in shards]
    return {shard: f"{Path(shard).stem}-{d[:16]}" for shard, d in zip(shards, digests)}


def _file(stem: str, view: int) -> str:
    return f"{stem}-view-{view}.tfrecord"


def _tensors(whole: Network, config: Config) -> list[Any]:
    """Return the symbolic features to store: [B, N, D] or [B, 1, D], then [B, D_i] each."""
    positions, *earlier = whole.features
    if config.train.features == "pooled":
        mean = keras.layers.GlobalAveragePooling1D(keepdims=True, dtype="float32")
        positions = mean(positions)
    return [positions, *earlier]


def _digest(whole: Network, config: Config) -> str:
    """Return 16 hex digits over all that determines the vectors besides the photos."""
    arrays = {
        f"{i}/{k}": array
        for i, layer in enumerate(whole.trunk)
        for k, array in enumerate(layer.get_weights())
    }
    model, train, data = config.model, config.train, config.data
    settings: list[Any] = [made_from.weights_digest(arrays), model.trunk, model.style, model.pixels]
    settings += [train.features, model.fuse_stages, data.image_size, data.square]
    if train.feature_views > 1:
        settings += [config.augmentation.model_dump(exclude={"mixup", "cutmix"}), train.seed]
    return str(xxhash.xxh3_64(repr(settings).encode()).hexdigest())


def _forward(whole: Network, tensors: list[Any], config: Config) -> Any:
    """Return a function from the batches, view and name of a shard to vectors [B, F]."""
    model = keras.Model(whole.logits.input, tensors)

    def vectors(photos: tf.Tensor) -> tf.Tensor:
        parts = tf.nest.flatten(model(photos, training=False))
        flat = [tf.reshape(part, [tf.shape(part)[0], -1]) for part in parts]
        joined = tf.concat([tf.cast(part, tf.float32) for part in flat], axis=1)  # [B, F]
        return tf.cast(tf.clip_by_value(joined, tf.float16.min, tf.float16.max), tf.float16)

    of_photos = tf.function(vectors, reduce_retracing=True)
    of_moved = tf.function(
        # not compiled, whatever `train.xla` is: XLA rounds differently
        lambda photos, seed: vectors(
            augmentation.augment(photos, config.augmentation, seed, compiled=False)
        ),
        reduce_retracing=True,
    )

    def forward(batches: tf.data.Dataset, view: int, shard: str) -> Iterator[np.ndarray]:
        of_shard = xxhash.xxh3_64_intdigest(shard.encode()) >> 1
        for number, batch in enumerate(batches):
            if view == 0:
                yield of_photos(batch["pixels"]).numpy()
                continue
            seed = tf.constant([config.train.seed, of_shard], tf.int64)
            for key in (view, number):
                seed = tf.random.experimental.stateless_fold_in(seed, key)
            yield of_moved(batch["pixels"], seed).numpy()

    return forward


def _write(path: str, batches: Iterator[np.ndarray], bar: Any) -> None:
    with tf.io.TFRecordWriter(path) as writer:
        for vectors in batches:
            for vector in vectors:
                writer.write(vector.tobytes())
            bar.update(len(vectors))


def _row_bytes(size: int) -> int:
    return 2 * size + 16  # a record's frame has 16


def require_room(planned: Plan) -> None:
    """Raise InputError if the disk of the folder has too little free space."""
    folder, needed = planned.folder, planned.bytes_missing
    if storage.is_remote(folder):
        return
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: {free / 2**30:.2f} GiB free, but the features need {needed / 2**30:.2f}; "
            "free some space, or set train.features=pooled or a smaller data.image_size"
        )
