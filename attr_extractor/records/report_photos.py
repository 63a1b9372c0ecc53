"""Validation report: example photos of values, duplicate photos, file sizes, disk and hours.

One thumbnail is shared by all values that its photo shows, so that 1,900 values fit into a few
megabytes.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf
from PIL import Image

from attr_extractor import labels
from attr_extractor.config import DataConfig, TrainConfig
from attr_extractor.errors import InputError
from attr_extractor.records import dataset, example
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.web.pages import data_url

PHOTOS_PER_VALUE = 3
SIDE = 72  # pixels of a thumbnail's longer side
QUALITY = 70  # of its JPEG
MOST_BYTES = 3_000_000  # of all thumbnails in the page
# Examples are taken from at most this many photos, training first: about 1 GiB of shards, read in
# a few seconds. A million photos would be 15 GiB, possibly in a bucket.
MOST_READ = 65_536
_BATCH = 256  # records read per call

GROUPS = 12  # of identical photos that are listed
PIXELS = (32, 64, 128, 224, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192)  # 224: in the paper
KIBIBYTES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
ASPECT_RATIOS = (0.5, 0.67, 0.8, 0.95, 1.05, 1.2, 1.4, 1.6, 2.0, 3.0)  # height over width
MOST_SIZES = 6  # most frequent sizes that are listed
STEP_SECONDS = (0.1, 0.5, 1, 2)  # for which training hours are listed


@dataclass
class SamplePhotos:
    """Example photos of values, by number of the photo in the records."""

    thumbnails: dict[int, str] = field(default_factory=dict)  # data URLs
    names: dict[int, str] = field(default_factory=dict)  # product and image
    of_value: dict[int, list[int]] = field(default_factory=dict)  # photo numbers by value
    read: int = 0  # photos that were read


def sample_photos(
    schema: Schema, manifest: Manifest, photos: Mapping[str, pa.Table], records: str
) -> SamplePhotos:
    """Choose up to PHOTOS_PER_VALUE photos of every value, the rarest values first.

    Args:
      photos: the index of each split, in the order of its records.
    """
    samples, wanted = SamplePhotos(), _wanted(manifest)
    candidates: dict[int, list[int]] = {value: [] for value in np.flatnonzero(wanted).tolist()}
    thumbnails: dict[int, str] = {}
    seen: set[bytes] = set()  # skip identical photos
    for number, (codes, encoded, row) in enumerate(_photos(manifest, photos, records)):
        samples.read = number + 1
        values = np.flatnonzero((codes == labels.PRESENT) & (wanted > 0)).tolist()
        if values and row["digest"] not in seen:
            seen.add(row["digest"])
            thumbnails[number] = thumbnail(encoded, SIDE, QUALITY)
            samples.names[number] = f"{row['product_id']}: {row['image']}"
            for value in values:
                candidates[value].append(number)
                wanted[value] -= 1
        if not wanted.any():
            break
    size = 0
    by_rarity = np.argsort(manifest.present("train"), kind="stable").tolist()
    for place in range(PHOTOS_PER_VALUE):
        for value in by_rarity:
            numbers = candidates.get(value, [])
            if place >= len(numbers):
                continue
            number = numbers[place]
            if number not in samples.thumbnails:
                if size + len(thumbnails[number]) > MOST_BYTES:
                    continue
                size += len(thumbnails[number])
                samples.thumbnails[number] = thumbnails[number]
            samples.of_value.setdefault(value, []).append(number)
    return samples


def _wanted(manifest: Manifest) -> np.ndarray:
    """Return int64 [V], the number of photos to choose per value."""
    present = sum((manifest.present(split) for split in manifest.splits), np.int64(0))
    return np.minimum(present, PHOTOS_PER_VALUE)


def _photos(
    manifest: Manifest, photos: Mapping[str, pa.Table], records: str
) -> Iterator[tuple[np.ndarray, bytes, dict[str, Any]]]:
    """Yield int8 [V], JPEG and index row of the first MOST_READ photos, training first."""
    left = MOST_READ
    for split, held in manifest.splits.items():
        shards = [shard.name for shard in held.shards]
        if not shards or left <= 0:
            continue
        index = photos[split].select(["digest", "product_id", "image"]).slice(0, left)
        examples = dataset.examples(records, shards).take(left).batch(_BATCH).map(_parse)
        rows = (row for batch in index.to_batches(_BATCH) for row in batch.to_pylist())
        left -= len(index)
        with dataset.readable(records):
            for codes, encoded in examples.as_numpy_iterator():
                for code, photo in zip(codes, encoded):
                    row = next(rows, None)
                    if row is None:
                        raise InputError(f"{records}: the index has no row for a photo of {split}")
                    yield np.frombuffer(code, np.int8), photo, row


def _parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    names = ("labels", "image/encoded")
    features = tf.io.parse_example(serialized, {name: example.FEATURES[name] for name in names})
    return features["labels"], features["image/encoded"]


def thumbnail(encoded: bytes, side: int, quality: int) -> str:
    """Return a stored photo as a data URL, with sides of at most `side` pixels."""
    with Image.open(io.BytesIO(encoded)) as image:
        image.draft("RGB", (side, side))
        image.thumbnail((side, side))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality, optimize=True)
    return data_url(out.getvalue())


class SharedPhoto(NamedTuple):
    """A byte-identical photo of several products."""

    products: list[str]
    labels: int  # number of distinct labels among the products
    split: str
    image: str


class IdenticalPhotos(NamedTuple):
    """Photos of a build that several products share, byte for byte."""

    photos: int
    products: int  # that share a photo with another product
    different_labels: int  # photos whose products have different labels
    largest: list[SharedPhoto]  # the first GROUPS


def identical_photos(photos: Mapping[str, pa.Table]) -> IdenticalPhotos:
    """Find photos that several products share.

    Args:
      photos: the index of each split; identical photos share a split.
    """
    totals, largest = np.zeros(3, np.int64), []
    for split, of_split in photos.items():
        digest, product, labels_digest = (
            of_split[name].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
            for name in ("digest", "product_id", "labels_digest")
        )
        if not len(digest):
            continue
        products = _count_distinct(digest, product)  # per photo
        shared = products > 1
        different = shared & (_count_distinct(digest, labels_digest) > 1)
        totals += shared.sum(), len(np.unique(product[shared[digest]])), different.sum()
        for photo in np.argsort(-products, kind="stable")[:GROUPS].tolist():
            if shared[photo]:
                rows = of_split.take(pa.array(np.flatnonzero(digest == photo)))
                names = sorted(set(rows["product_id"].to_pylist()))
                distinct = len(set(rows["labels_digest"].to_pylist()))
                largest.append(SharedPhoto(names, distinct, split, min(rows["image"].to_pylist())))
    largest.sort(key=lambda photo: (-len(photo.products), photo.products, photo.image))
    shared_photos, sharing_products, different_labels = totals.tolist()
    return IdenticalPhotos(shared_photos, sharing_products, different_labels, largest[:GROUPS])


def _count_distinct(keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the number of distinct values for each key; both are codes from 0 on."""
    pairs = np.unique(keys * (values.max() + 1) + values)
    return np.bincount(pairs // (values.max() + 1), minlength=keys.max() + 1)


class Histogram(NamedTuple):
    """Counts between consecutive edges; an edge without a label is infinity."""

    title: str
    counts: list[int]
    edges: list[str]


@dataclass(frozen=True)
class Sizes:
    """Formats, sizes and aspect ratios of the sellers' files, upright."""

    photos: int
    small: int  # photos below the stored size, which are not enlarged
    histograms: list[Histogram]
    formats: list[tuple[str, int]]
    color_profiles: list[tuple[str, int]]  # other than sRGB, the most frequent ones
    most_frequent: list[tuple[int, int, int]]  # width, height, photos


def sizes(photos: Mapping[str, pa.Table], manifest: Manifest) -> Sizes:
    """Return the sizes of the sellers' files.

    Args:
      photos: the index of each split.
    """
    columns = ["raw_height", "raw_width", "raw_bytes", "format", "color_profile"]
    all_photos = pa.concat_tables([table.select(columns) for table in photos.values()])
    formats = Counter(all_photos["format"].to_pylist())
    profiles: Counter[str] = Counter(filter(None, all_photos["color_profile"].to_pylist()))
    height, width, raw_bytes = (all_photos[name].to_numpy() for name in columns[:3])
    short_side = np.minimum(height, width)
    both, counts = np.unique(np.stack([width, height]), axis=1, return_counts=True)
    often = np.argsort(-counts, kind="stable")[:MOST_SIZES]
    return Sizes(
        photos=len(all_photos),
        small=int((short_side < manifest.image_policy["short_side"]).sum()),
        histograms=[
            _histogram("Short side, pixels", short_side, PIXELS),
            _histogram("File size, KiB", raw_bytes / 1024, KIBIBYTES),
            _histogram("Height over width", height / width, ASPECT_RATIOS),
        ],
        formats=sorted(formats.items(), key=lambda item: (-item[1], item[0])),
        color_profiles=profiles.most_common(MOST_SIZES),
        most_frequent=list(zip(*both[:, often].tolist(), counts[often].tolist())),
    )


def _histogram(title: str, values: np.ndarray, edges: Sequence[float]) -> Histogram:
    """Return the histogram between 0, `edges` and infinity, without its empty ends."""
    counts = np.bincount(np.digitize(values, edges), minlength=len(edges) + 1)
    filled = np.flatnonzero(counts)
    first, last = int(filled[0]), int(filled[-1])
    names = ["0", *(f"{edge:g}" for edge in edges), ""]
    return Histogram(title, counts[first : last + 1].tolist(), names[first : last + 2])


@dataclass(frozen=True)
class Cost:
    """Disk space of the records, and training hours by the seconds of a step."""

    shard_bytes: int
    raw_bytes: int  # of the sellers' files
    photos: int
    training_photos: int
    batch_size: int
    epochs: int
    hours: list[tuple[float, float]]  # seconds per step, hours


def cost(photos: Mapping[str, pa.Table], manifest: Manifest) -> Cost:
    """Return the size of the shards, and the training hours with the default options.

    Args:
      photos: the index of each split.
    """
    training, epochs = manifest.splits["train"].photos, TrainConfig().epochs
    batch_size = DataConfig().batch_size
    return Cost(
        shard_bytes=sum(s.bytes for split in manifest.splits.values() for s in split.shards),
        raw_bytes=sum(int(table["raw_bytes"].to_numpy().sum()) for table in photos.values()),
        photos=manifest.photos["written"],
        training_photos=training,
        batch_size=batch_size,
        epochs=epochs,
        hours=[(s, training_hours(training, batch_size, epochs, s)) for s in STEP_SECONDS],
    )


def training_hours(photos: int, batch_size: int, epochs: int, seconds_per_step: float) -> float:
    """Return the hours of a training run; an epoch drops its incomplete last batch."""
    return photos // batch_size * epochs * seconds_per_step / 3600
