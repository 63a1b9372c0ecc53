"""The reference of a comparison: manifest, index and a sample of stored photos of the records."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attr_extractor import storage
from attr_extractor.catalogue.csv_rows import read_csv
from attr_extractor.enrichment.drift import sampling
from attr_extractor.enrichment.drift.label_counts import LabelCounts, UnknownValues
from attr_extractor.errors import InputError
from attr_extractor.labels import UNKNOWN_VALUE
from attr_extractor.records import example, index, tfrecord
from attr_extractor.records.manifest import Manifest
from attr_extractor.records.rows import ISSUES

TRAIN = "train"
_COLUMNS = ["product_id", "image_index", "raw_height", "raw_width", "raw_bytes", "format"]


@dataclass(frozen=True)
class TrainingSplit:
    """Labels of the training photos, and the original file of one photo per product."""

    counts: LabelCounts
    formats: list[str]
    sizes: np.ndarray  # float64 [N, 3]: height, width, bytes
    in_sample: int  # training products among the sampled products of the delivery


def read_training_split(
    records: str | Path, manifest: Manifest, sample: Sequence[str], seed: int
) -> TrainingSplit:
    """Read the index of the training split, shard by shard.

    Args:
      sample: sampled products of the delivery.
    """
    formats: list[str] = []
    sizes = [np.zeros([0, 3])]
    squares, in_sample = 0, 0
    for shard in manifest.split(TRAIN).shards:
        photos = index.read_photos(str(records), [shard.name], _COLUMNS)
        # all photos of a product are in one shard
        of_product = pc.value_counts(photos["product_id"]).field("counts").to_numpy()
        squares += int((of_product**2).sum())
        known = pc.is_in(pa.array(sample, pa.string()), photos["product_id"])
        in_sample += int(pc.sum(known).as_py())
        products, numbers = (photos[name].to_pylist() for name in _COLUMNS[:2])
        kept = photos.take(pa.array(sampling.one_photo_each(products, numbers, seed)))
        formats += kept["format"].to_pylist()
        sizes.append(np.stack([kept[name].to_numpy() for name in _COLUMNS[2:5]], axis=1))
    counts = LabelCounts.of_split(manifest, TRAIN, squares)
    return TrainingSplit(counts, formats, np.concatenate(sizes), in_sample)


def read_unknown_values(records: str | Path, manifest: Manifest) -> dict[str, UnknownValues]:
    """Return the unknown values listed in label_issues.csv, by attribute.

    Raises:
      InputError: if the file is invalid.
    """
    unknown = {name: UnknownValues() for name in manifest.schema.names}
    path = storage.join(records, "label_issues.csv")
    with storage.open_read(path) as file:
        lines = read_csv(io.TextIOWrapper(file, "utf-8", newline=""))
        try:
            if tuple(next(lines, ())) != ISSUES:
                raise ValueError(f"its columns are not {','.join(ISSUES)}")
            for _row, _product, attribute, cell, issue, nearest in lines:
                if attribute not in unknown:
                    raise ValueError(f"{attribute!r} is not an attribute")
                if issue == UNKNOWN_VALUE:
                    unknown[attribute].add(cell, nearest)
        except (ValueError, csv.Error) as error:  # ValueError: UTF-8, or a truncated row
            raise InputError(
                f"{path}: line {lines.line_num}: {error}; build the records again"
            ) from error
    return unknown


def read_stored_photos(
    records: str | Path, manifest: Manifest, split: str, sample: int, seed: int
) -> list[tuple[str, bytes]]:
    """Return a sample of products of a split, with one stored photo each.

    Products are sampled in the same way as those of the delivery.

    Raises:
      InputError: if the split is empty, or a shard is damaged.
    """
    sampled = sampling.ProductSample["tuple[str, int]"](sample, seed)
    names = [shard.name for shard in manifest.split(split).shards]
    for name in names:
        listed = index.read_photos(str(records), [name], _COLUMNS[:2])
        products, numbers = (listed[column].to_pylist() for column in _COLUMNS[:2])
        for position in sampling.one_photo_each(products, numbers, seed):
            sampled.offer(products[position], (name, position))
    product_at = {place: product for product, place in sampled.products()}
    photos = []
    for name in names:
        path = storage.join(records, name)
        for position, record in enumerate(tfrecord.read_records(path)):
            product = product_at.get((name, position))
            if product is None:
                continue
            if record.broken:
                raise InputError(f"{path}, record {position}: {record.broken}")
            photos.append((product, example.photo(record.data)))
    return photos
