"""Validation report: photos per value, with a few example photos.

One thumbnail is shared by all values that its photo shows, so that 1,900 values fit into a few
megabytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from PIL import Image

from attr_extractor import labels, storage
from attr_extractor.errors import InputError
from attr_extractor.html_page import Markup, data_url, escape, search, table, track
from attr_extractor.records import dataset, example
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema

PHOTOS_PER_VALUE = 3
SIDE = 72  # pixels of a thumbnail's longer side
QUALITY = 70  # of its JPEG
MOST_BYTES = 3_000_000  # of all thumbnails in the page
# Examples are taken from at most this many photos, training first: about 1 GiB of shards, read in
# a few seconds. A million photos would be 15 GiB, possibly in a bucket.
MOST_READ = 65_536
OPEN_UP_TO = 12  # sections are expanded up to this number of attributes
_BATCH = 256  # records read per call

STYLE = """
.values td:first-child { width: 16rem } .values td:nth-child(2) { width: 15rem }
.values .track { height: .5rem; margin-top: .25rem } .values td:nth-child(2) { white-space: nowrap }
.photo { display: inline-block; width: 64px; height: 64px; margin: 0 3px 0 0; border-radius: .2rem;
  background: #fff center / contain no-repeat; border: 1px solid var(--line) }
@media (max-width: 40rem) { .photo { width: 46px; height: 46px } }
"""


@dataclass
class Samples:
    """Example photos of values."""

    thumbnails: dict[int, str] = field(default_factory=dict)  # data URL by photo number
    names: dict[int, str] = field(default_factory=dict)  # product and image
    of_value: dict[int, list[int]] = field(default_factory=dict)  # photo numbers by value
    read: int = 0  # photos that were read

    def style(self) -> str:
        """Return CSS that sets the image of each photo's class, so that each image occurs once."""
        return "\n".join(
            f".p{number}{{background-image:url({url})}}" for number, url in self.thumbnails.items()
        )


def choose(
    schema: Schema, manifest: Manifest, listed: Mapping[str, pa.Table], records: str
) -> Samples:
    """Choose up to PHOTOS_PER_VALUE photos of every value, the rarest values first.

    Args:
      listed: the index of each split, in the order of its records.
    """
    samples, wanted = Samples(), _wanted(manifest)
    found: dict[int, list[int]] = {value: [] for value in np.flatnonzero(wanted).tolist()}
    kept: dict[int, str] = {}
    seen: set[bytes] = set()  # skip identical photos
    for number, (codes, encoded, row) in enumerate(_photos(manifest, listed, records)):
        samples.read = number + 1
        values = np.flatnonzero((codes == labels.PRESENT) & (wanted > 0)).tolist()
        if values and row["digest"] not in seen:
            seen.add(row["digest"])
            kept[number] = thumbnail(encoded, SIDE, QUALITY)
            samples.names[number] = f"{row['product_id']}: {row['image']}"
            for value in values:
                found[value].append(number)
                wanted[value] -= 1
        if not wanted.any():
            break
    size = 0
    by_rarity = np.argsort(manifest.present("train"), kind="stable").tolist()
    for place in range(PHOTOS_PER_VALUE):
        for value in by_rarity:
            numbers = found.get(value, [])
            if place >= len(numbers):
                continue
            number = numbers[place]
            if number not in samples.thumbnails:
                if size + len(kept[number]) > MOST_BYTES:
                    continue
                size += len(kept[number])
                samples.thumbnails[number] = kept[number]
            samples.of_value.setdefault(value, []).append(number)
    return samples


def _wanted(manifest: Manifest) -> np.ndarray:
    """Return int64 [V], the number of photos to choose per value."""
    present = sum((manifest.present(split) for split in manifest.splits), np.int64(0))
    return np.minimum(present, PHOTOS_PER_VALUE)


def _photos(
    manifest: Manifest, listed: Mapping[str, pa.Table], records: str
) -> Iterator[tuple[np.ndarray, bytes, dict[str, Any]]]:
    """Yield int8 [V], JPEG and index row of the first MOST_READ photos, training first."""
    left = MOST_READ
    for split, held in manifest.splits.items():
        paths = [storage.join(records, shard.name) for shard in held.shards]
        if not paths or left <= 0:
            continue
        index = listed[split].select(["digest", "product_id", "image"]).slice(0, left)
        examples = tf.data.TFRecordDataset(paths).take(left).batch(_BATCH).map(_parse)
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
    found = tf.io.parse_example(serialized, {name: example.FEATURES[name] for name in names})
    return found["labels"], found["image/encoded"]


def thumbnail(encoded: bytes, side: int, quality: int) -> str:
    """Return a stored photo as a data URL, with sides of at most `side` pixels."""
    with Image.open(io.BytesIO(encoded)) as image:
        image.draft("RGB", (side, side))
        image.thumbnail((side, side))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality, optimize=True)
    return data_url(out.getvalue())


def values(schema: Schema, manifest: Manifest, standing: np.ndarray, samples: Samples) -> Markup:
    """Render every value of every attribute: photos per split, whether it can be learned, examples.

    Args:
      standing: object [V], "" or the reason why a value cannot be learned.
    """
    present = {split: manifest.present(split) for split in manifest.splits}
    train = present["train"]
    head = ("Value", "Photos", *(split.capitalize() for split in present), "")
    read = ""
    if samples.read == MOST_READ:
        read = f" Only the first {MOST_READ:,} photos are searched for examples."
    parts = [
        f"<p>Number of photos per value and split, and up to {PHOTOS_PER_VALUE} example photos. "
        f"Hover over a photo to see its product and file.{read}</p>",
        search("values", "Search values, e.g. never seen"),
    ]
    for attribute in schema.attributes:
        where = schema.slices[attribute.name]
        most = max(1, int(train[where].max()))
        rows: list[tuple[Any, ...]] = []
        for v, value in zip(range(where.start, where.stop), attribute.values):
            counts = [int(counts[v]) for counts in present.values()]
            note = Markup(f"<span class=wrong>{standing[v]}</span>") if standing[v] else ""
            photos = "".join(
                f"<i class='photo p{n}' role=img title='{escape(samples.names[n])}'></i>"
                for n in samples.of_value.get(v, [])
            )
            name = escape(value) + track([("", counts[0] / most)])
            rows.append((name, Markup(photos), *counts, note))
        rows.sort(key=lambda row: -row[2])
        rare = int((standing[where] != "").sum())
        summary = f"{len(rows):,} values" + (f", {rare:,} too rare" if rare else "")
        opened = " open" if len(schema.attributes) <= OPEN_UP_TO else ""
        parts.append(
            f"<details{opened}><summary>{escape(attribute.title())} "
            f"<span class=muted>{summary}</span></summary>"
            + table(head, rows, "sortable values", "--" + "n" * len(present))
            + "</details>"
        )
    return Markup("".join(parts))
