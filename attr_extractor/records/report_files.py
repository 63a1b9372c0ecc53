"""Validation report: duplicate photos, file sizes and formats, disk space, training hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from attr_extractor.config import DataConfig, TrainConfig
from attr_extractor.html_page import Markup, bars, escape, histogram, table
from attr_extractor.records.manifest import Manifest
from attr_extractor.records.near_duplicates import HASH_BYTES, MAX_DISTANCE, NearDuplicate
from attr_extractor.records.report_labels import percent

GROUPS = 12  # of identical photos that are listed
PRODUCTS = 5  # listed per group
PAIRS = 25  # near duplicates that are listed
PIXELS = (32, 64, 128, 224, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192)  # 224: in the paper
KIBIBYTES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
SHAPES = (0.5, 0.67, 0.8, 0.95, 1.05, 1.2, 1.4, 1.6, 2.0, 3.0)  # height over width
MOST_SIZES = 6  # most frequent sizes that are listed

STYLE = """
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 0 2rem }
#steps input { width: 7rem } #steps label { display: inline-block; margin: .2rem 1rem .2rem 0 }
"""
SCRIPT = """
const form = document.getElementById('steps');
form.oninput = () => {
  const [batch, epochs, seconds] = all('input', form).map(input => parseFloat(input.value));
  const steps = Math.floor(form.dataset.photos / batch) * epochs;
  const hours = steps * seconds / 3600, known = [];
  if (isFinite(steps)) known.push(steps.toLocaleString('en') + ' steps');
  if (isFinite(hours)) known.push(hours.toLocaleString('en') + ' hours');
  form.querySelector('output').textContent = known.join(', ');
};
"""


class Group(NamedTuple):
    """A byte-identical photo shared by several products."""

    products: list[str]
    labels: int  # number of distinct labels among the products
    split: str
    image: str


class Identical(NamedTuple):
    """Photos of a build that several products share."""

    photos: int
    products: int  # that share a photo with another product
    differing: int  # photos whose products have different labels
    largest: list[Group]  # the first GROUPS


def identical(listed: Mapping[str, pa.Table]) -> Identical:
    """Find photos that several products share.

    Args:
      listed: the index of each split.
    """
    sums, groups = np.zeros(3, np.int64), []
    for split, photos in listed.items():  # identical photos share a split
        digest, product, labels = (
            photos[name].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
            for name in ("digest", "product_id", "labels_digest")
        )
        if not len(digest):
            continue
        products = _distinct(digest, product)  # per photo
        shared = products > 1
        differing = shared & (_distinct(digest, labels) > 1)
        sums += shared.sum(), len(np.unique(product[shared[digest]])), differing.sum()
        for photo in np.argsort(-products, kind="stable")[:GROUPS].tolist():
            if shared[photo]:
                rows = photos.take(pa.array(np.flatnonzero(digest == photo)))
                names = sorted(set(rows["product_id"].to_pylist()))
                different = len(set(rows["labels_digest"].to_pylist()))
                groups.append(Group(names, different, split, min(rows["image"].to_pylist())))
    largest = sorted(groups, key=lambda group: (-len(group.products), group.products, group.image))
    return Identical(int(sums[0]), int(sums[1]), int(sums[2]), largest[:GROUPS])


def _distinct(which: np.ndarray, what: np.ndarray) -> np.ndarray:
    """Return the number of distinct `what` for each `which`, from 0 on."""
    pairs = np.unique(which * (what.max() + 1) + what)
    return np.bincount(pairs // (what.max() + 1), minlength=which.max() + 1)


def duplicates(found: Identical, similar: Sequence[NearDuplicate]) -> Markup:
    """Render photos shared by several products, and held-out photos similar to a training photo."""
    parts: list[str] = []
    if found.photos:
        parts.append(
            f"<p>{found.photos:,} photos are shared, byte for byte, by {found.products:,} "
            f"products, which share a split. {found.differing:,} of these photos belong to "
            "products with different labels: if two products differ in an attribute, the same "
            "pixels have two labels.</p>"
        )
        rows = []
        for group in found.largest:
            named = ", ".join(f"<code>{escape(p)}</code>" for p in group.products[:PRODUCTS])
            named += ", ..." if len(group.products) > PRODUCTS else ""
            row = (len(group.products), group.labels, group.split, group.image)
            rows.append((*row, Markup(named)))
        head = ("Products", "Different labels", "Split", "Photo", "Product IDs")
        parts += ["<h3>Largest groups</h3>", table(head, rows, numbers="nn")]
    else:
        parts.append("<p>No photo is shared by two products.</p>")
    parts.append("<h3>Held-out photos that resemble a training photo</h3>")
    if similar:
        parts.append(
            f"<p>{len(similar):,} held-out photos differ from a training photo in at most "
            f"{MAX_DISTANCE} of {8 * HASH_BYTES} bits of their perceptual hash: the same photo "
            "re-encoded, or one design in two colours. Evaluation also reports the score without "
            "them. near_duplicates.csv lists all; the nearest are:</p>"
        )
        nearest = sorted(similar, key=lambda n: (n.distance, n))[:PAIRS]
        cells = [
            (n.split, n.product_id, n.image, n.distance, n.similar_product_id, n.similar_image)
            for n in nearest
        ]
        columns = ("Split", "Product", "Photo", "Bits", "Training product", "Training photo")
        parts.append(table(columns, cells, numbers="---n"))
    else:
        parts.append("<p>None.</p>")
    return Markup("".join(parts))


def sizes(listed: Mapping[str, pa.Table], manifest: Manifest) -> Markup:
    """Render formats, sizes and aspect ratios of the sellers' files."""
    columns = ["raw_height", "raw_width", "raw_bytes", "format"]
    photos = pa.concat_tables([table.select(columns) for table in listed.values()])
    formats = {row["values"]: row["counts"] for row in photos["format"].value_counts().to_pylist()}
    height, width, raw = (photos[name].to_numpy() for name in columns[:3])
    short, stored = np.minimum(height, width), manifest.image_policy["short_side"]
    of_size, counts = np.unique(width.astype(np.int64) << 32 | height, return_counts=True)
    often = np.argsort(-counts, kind="stable")[:MOST_SIZES]
    rows = [
        (f"{both >> 32} x {both & 0xFFFFFFFF}", count, percent(count, len(short)))
        for both, count in zip(of_size[often].tolist(), counts[often].tolist())
    ]
    small = int((short < stored).sum())
    charts = [
        ("Short side, pixels", _bins(short, PIXELS)),
        ("File size, KiB", _bins(raw / 1024, KIBIBYTES)),
        ("Height over width", _bins(height / width, SHAPES)),
    ]
    drawn = "".join(f"<div><h3>{t}</h3>{histogram(*bins, t)}</div>" for t, bins in charts)
    by_count = sorted(formats.items(), key=lambda item: (-item[1], item[0]))
    return Markup(
        f"<p>The sellers' original files, upright. {small:,} of {len(short):,} "
        f"({percent(small, len(short))}) have a short side below {stored} pixels; these "
        "photos are stored at their own size, not enlarged. A bar counts values that are at least "
        f"the number on its left and below the number on its right.</p><div class=two>{drawn}<div>"
        f"<h3>Format</h3>{bars(by_count)}<h3>Most frequent sizes</h3>"
        f"{table(('Width x height', 'Photos', 'Share'), rows, '', '-nn')}</div></div>"
    )


def _bins(values: np.ndarray, edges: Sequence[float]) -> tuple[list[int], list[str]]:
    """Return counts and edges of the bins between 0, `edges` and infinity; empty ends are cut."""
    counts = np.bincount(np.digitize(values, edges), minlength=len(edges) + 1)
    some = np.flatnonzero(counts)
    first, last = int(some[0]), int(some[-1])
    labels = ["0", *(f"{edge:g}" for edge in edges), ""]
    return counts[first : last + 1].tolist(), labels[first : last + 2]


def training_hours(photos: int, batch_size: int, epochs: int, seconds_per_step: float) -> float:
    """Return the hours of a training run; an epoch drops its incomplete last batch."""
    return photos // batch_size * epochs * seconds_per_step / 3600


def cost(listed: Mapping[str, pa.Table], manifest: Manifest) -> Markup:
    """Render the size of the shards, and training hours as a function of the measured step time."""
    total = sum(shard.bytes for split in manifest.splits.values() for shard in split.shards)
    raw = sum(int(table["raw_bytes"].to_numpy().sum()) for table in listed.values())
    photos, training = manifest.photos["written"], manifest.splits["train"].photos
    rows = [
        ("shards of these records", size(total)),
        ("sellers' files", size(raw)),
        ("per photo in a shard", size(total / photos)),
        ("shards of 1,000,000 such photos", size(1_000_000 * total / photos)),
    ]
    batch, epochs = DataConfig().batch_size, TrainConfig().epochs
    hours = [
        (f"{s:g}", f"{training_hours(training, batch, epochs, s):,.2f}") for s in (0.1, 0.5, 1, 2)
    ]
    return Markup(
        f"{table(('Disk', ''), rows, 'narrow', '-n')}<h3>Training hours</h3>"
        "<p>Hours = floor(training photos / batch size) x epochs x seconds per step / 3600, "
        "without validation and checkpoints. To measure the seconds per step, "
        "run <code>python tools/bench.py --what=step</code> with your config on the training "
        f"machine. Training photos: {training:,}.</p>"
        f"<form id=steps data-photos={training} onsubmit='return false'>"
        f"<label>Batch size <input type=number min=1 value={batch}></label>"
        f"<label>Epochs <input type=number min=1 value={epochs}></label>"
        "<label>Seconds per step <input type=number min=0 step=any placeholder=measured></label>"
        "<b><output></output></b></form>"
        f"<p class=muted>With the defaults, which are the paper's batch size of {batch} and "
        f"{epochs} epochs:</p>"
        f"{table(('Seconds per step', 'Hours'), hours, 'narrow', 'nn')}"
    )


def size(number: float) -> str:
    """Format a number of bytes, in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
