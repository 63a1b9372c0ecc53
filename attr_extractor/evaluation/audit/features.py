"""Inputs of an audit, on disk: pooled features and labels of every product in the records.

A product is one row: the mean of its photos' pooled features, because its labels apply to all its
photos. The files are memory-mapped, so a million products need disk space, not memory.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from tqdm import tqdm

from attr_extractor.errors import InputError
from attr_extractor.model import network
from attr_extractor.records import dataset, index
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import SEPARATOR
from attr_extractor.training import features as stored_features
from attr_extractor.training.run_dir import RunDir

_COLUMNS = ["product_id", "group", "image", "image_index"]


@dataclass(frozen=True)
class Products:
    """P products: memory-mapped features and labels, and the source of each product."""

    features: np.ndarray  # float16 [P, D]
    labels: np.ndarray  # int8 [P, V]
    sources: pa.Table  # P rows: product_id, group, split, image, image_index; photos joined by |


def collect_features(
    run: RunDir, records: str | Path, manifest: Manifest, scratch: Path
) -> Products:
    """Compute pooled features in one pass of the run's network over all splits.

    A run that was trained on features reads them instead of the photos.

    Args:
      scratch: a folder for the files, 2 D + V bytes per product.

    Raises:
      InputError: if a shard or an index is damaged, or the disk has too little free space.
    """
    photos = _index(records, manifest)
    encoded = photos["product_id"].combine_chunks().dictionary_encode()
    owner = encoded.indices.to_numpy()  # int32 [photos], in record order
    size = len(encoded.dictionary)
    share = 1.0 / np.bincount(owner, minlength=size)  # of each photo in its product's mean
    whole, stored = run.load_network(), None
    if run.config.train.features != "none":
        frozen = stored_features.compute(records, manifest, run.config, whole)
        whole, stored = frozen.head(run.schema, run.config), frozen.files
    logits = whole.logits
    pooled = keras.Model(logits.input, logits.get_layer(network.POOLED).output)
    forward = tf.function(lambda inputs: tf.cast(pooled(inputs, training=False), tf.float32))

    shapes = (size, int(pooled.output.shape[-1])), (size, manifest.schema.num_values)
    _require_room(scratch, 2 * shapes[0][0] * shapes[0][1] + shapes[1][0] * shapes[1][1])
    features = np.memmap(scratch / "features.float16", np.float16, "w+", shape=shapes[0])
    labels = np.memmap(scratch / "labels.int8", np.int8, "w+", shape=shapes[1])
    start, names = 0, photos["product_id"]
    with dataset.readable(records), tqdm(total=len(owner), unit="photo", desc="features") as bar:
        for split in _splits(manifest):
            batches = dataset.evaluation_batches(
                records, manifest, run.config.data, split, features=stored
            )
            for batch in batches:
                products = [product.decode() for product in batch["product_id"].numpy()]
                rows = owner[start : start + len(products)]
                if products != names.slice(start, len(products)).to_pylist():
                    raise InputError(
                        f"{records}: the shards of {split} contain other products than their "
                        "index; build the records again"
                    )
                values = forward(batch[whole.inputs]).numpy() * share[rows, np.newaxis]  # [B, D]
                largest = np.finfo(np.float16).max  # clipped: float16 must not overflow
                np.add.at(features, rows, np.clip(values, -largest, largest).astype(np.float16))
                labels[rows] = batch["labels"].numpy()
                start += len(products)
                bar.update(len(products))
    return Products(features, labels, _sources(photos, owner))


def _splits(manifest: Manifest) -> list[str]:
    return [name for name, split in manifest.splits.items() if split.photos]


def _index(records: str | Path, manifest: Manifest) -> pa.Table:
    """Return product_id, group, image, image_index and split of every photo, in record order."""
    tables = []
    for name in _splits(manifest):
        shards = [shard.name for shard in manifest.split(name).shards]
        photos = index.read_photos(str(records), shards, _COLUMNS)
        tables.append(photos.append_column("split", pa.array([name] * len(photos), pa.string())))
    return pa.concat_tables(tables)


def _sources(photos: pa.Table, owner: np.ndarray) -> pa.Table:
    """Return one row per product; `owner`, int32 [photos], is the row of each photo."""
    order = np.argsort(owner, kind="stable")  # groups the photos of a product
    offsets = np.searchsorted(owner[order], np.arange(owner.max() + 2)).astype(np.int32)
    sorted_photos = photos.take(order).combine_chunks()

    def joined(column: str) -> pa.Array:
        texts = sorted_photos[column].combine_chunks().cast(pa.string())
        return pc.binary_join(pa.ListArray.from_arrays(offsets, texts), SEPARATOR)

    return pa.table(
        {
            "product_id": sorted_photos["product_id"].take(offsets[:-1]),
            "group": sorted_photos["group"].take(offsets[:-1]),
            "split": sorted_photos["split"].take(offsets[:-1]),
            "image": joined("image"),
            "image_index": joined("image_index"),
        }
    )


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:  # writing to a memory-mapped file on a full disk kills the process
        raise InputError(
            f"{folder}: {free / 2**30:.1f} GiB free, but the features need "
            f"{needed / 2**30:.1f}; set TMPDIR to a larger folder"
        )
