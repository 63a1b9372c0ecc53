"""The reference side of a comparison: manifest, index and a sample of stored photos."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attr_extractor import storage
from attr_extractor.catalogue.csv_rows import read_csv
from attr_extractor.enrichment.drift import sampling
from attr_extractor.enrichment.drift.delivery import Unknown
from attr_extractor.enrichment.drift.label_counts import LabelCounts
from attr_extractor.errors import InputError
from attr_extractor.labels import UNKNOWN_VALUE
from attr_extractor.records import example, index, tfrecord
from attr_extractor.records.manifest import Manifest
from attr_extractor.records.rows import ISSUES

TRAIN = "train"
_COLUMNS = ["product_id", "image_index", "raw_height", "raw_width", "raw_bytes", "format"]


@dataclass
class Reference:
    """Facts about the training photos, from the index."""

    counts: LabelCounts
    formats: list[str] = field(default_factory=list)  # of one photo per product
    sizes: np.ndarray = field(default_factory=lambda: np.zeros([0, 3]))  # height, width, bytes
    known: int = 0  # sampled products of the delivery that are in training


def read(records: str | Path, manifest: Manifest, sample: Sequence[str], seed: int) -> Reference:
    """Read the index of the training split, shard by shard.

    Args:
      sample: sampled products of the delivery.
    """
    formats: list[str] = []
    sizes = [np.zeros([0, 3])]
    squares, known = 0, 0
    for shard in manifest.split(TRAIN).shards:
        photos = index.read_photos(str(records), [shard.name], _COLUMNS)
        # all photos of a product are in one shard
        of_product = pc.value_counts(photos["product_id"]).field("counts").to_numpy()
        squares += int((of_product**2).sum())
        known += int(pc.sum(pc.is_in(pa.array(sample, pa.string()), photos["product_id"])).as_py())
        products, numbers = (photos[name].to_pylist() for name in _COLUMNS[:2])
        kept = photos.take(pa.array(sampling.one_each(products, numbers, seed)))
        formats += kept["format"].to_pylist()
        sizes.append(np.stack([kept[name].to_numpy() for name in _COLUMNS[2:5]], axis=1))
    counts = LabelCounts.of_split(manifest, TRAIN, squares)
    return Reference(counts, formats, np.concatenate(sizes), known)


def unknown_values(records: str | Path, manifest: Manifest) -> dict[str, Unknown]:
    """Return the unknown values listed in label_issues.csv, by attribute.

    Raises:
      InputError: if the file is invalid.
    """
    found = {name: Unknown() for name in manifest.schema.names}
    path = storage.join(records, "label_issues.csv")
    with storage.open_read(path) as file:
        lines = read_csv(io.TextIOWrapper(file, "utf-8", newline=""))
        try:
            if tuple(next(lines, ())) != ISSUES:
                raise ValueError(f"its columns are not {','.join(ISSUES)}")
            for _row, _product, attribute, cell, issue, nearest in lines:
                if attribute not in found:
                    raise ValueError(f"{attribute!r} is not an attribute")
                if issue == UNKNOWN_VALUE:
                    found[attribute].add(cell, nearest)
        except (ValueError, csv.Error) as error:  # ValueError: UTF-8, or a truncated row
            raise InputError(
                f"{path}: line {lines.line_num}: {error}; build the records again"
            ) from error
    return found


def photos(
    records: str | Path, manifest: Manifest, split: str, sample: int, seed: int
) -> list[tuple[str, bytes]]:
    """Return a sample of products of a split, with one stored photo each.

    Products are sampled in the same way as those of the delivery.

    Raises:
      InputError: if the split is empty, or a shard is damaged.
    """
    chosen = sampling.Smallest(sample, seed)
    names = [shard.name for shard in manifest.split(split).shards]
    for name in names:
        listed = index.read_photos(str(records), [name], _COLUMNS[:2])
        products, numbers = (listed[column].to_pylist() for column in _COLUMNS[:2])
        for position in sampling.one_each(products, numbers, seed):
            chosen.offer(products[position], (name, position))
    wanted = {place: product for product, place in chosen.chosen()}
    found = []
    for name in names:
        path = storage.join(records, name)
        for position, record in enumerate(tfrecord.read_records(path)):
            product = wanted.get((name, position))
            if product is None:
                continue
            if record.broken:
                raise InputError(f"{path}, record {position}: {record.broken}")
            found.append((product, example.photo(record.data)))
    return found
