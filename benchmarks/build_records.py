"""Benchmark of building records: photos per second relative to Pillow, memory at a million rows.

Photos and tables are synthetic, so that the benchmark is reproducible. The programs run in turn,
round after round, and a ratio compares two passes of the same round, because timings are noisy.
"""

from __future__ import annotations

import io
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from attr_extractor.catalogue import photos
from attr_extractor.catalogue.csv_rows import write_csv
from attr_extractor.records import builder, plan
from attr_extractor.records.runner import Local, Work
from attr_extractor.schema import Attribute, Schema

HEIGHT, WIDTH = 1088, 832  # pixels; as JPEG about 200 kB
DISTINCT_PHOTOS = 300  # the others are hard links to these
SHARED_PHOTOS = 1000  # shared by all rows of a synthetic table


def measure_photos(count: int, rounds: int = 3, num_workers: int = 2) -> dict[str, float]:
    """Measure the builder against one process that decodes, resizes and encodes with Pillow.

    The Pillow process uses draft mode and `reducing_gap`, as the builder does, and reads each photo
    once. The builder reads each photo twice, hashes it, and writes shards and index. The start of
    the worker processes, which takes seconds, is not measured.

    Args:
      count: number of photos of WIDTH x HEIGHT pixels.

    Returns:
      Photos per second of both, and the ratio: medians over the rounds.
    """
    schema = Schema(name="b", category="kind", attributes=[Attribute(name="kind", values=["a"])])
    # many tasks per worker, as in a large catalogue, so that no worker is idle at the end
    options = plan.BuildOptions(image_size=256, shards=40 * num_workers)
    with tempfile.TemporaryDirectory() as name, Local(num_workers) as workers:
        folder = Path(name)
        drawn = list(_draw(folder / "images", min(count, DISTINCT_PHOTOS)))
        paths = [drawn[i % len(drawn)].with_name(f"{i:06d}.jpg") for i in range(count)]
        for i, path in enumerate(paths[len(drawn) :]):
            os.link(drawn[i % len(drawn)], path)
        rows = [[path.stem, f"images/{path.name}", "a"] for path in paths]
        catalogue = _write(folder / "catalogue.csv", ["product_id", "image", "kind"], rows)
        few = _write(folder / "few.csv", ["product_id", "image", "kind"], rows[: 4 * num_workers])
        builder.build(few, schema, folder / "few", options=options, runner=workers)
        seconds = []
        for turn in range(rounds):
            start = time.perf_counter()
            _with_pillow(paths, options.image_size)
            between = time.perf_counter()
            builder.build(catalogue, schema, folder / f"{turn}", options=options, runner=workers)
            seconds.append((between - start, time.perf_counter() - between))
    pillow, ours = np.array(seconds).T
    return {
        "Pillow, one process, photos/s": count / float(np.median(pillow)),
        f"this builder, {num_workers} processes, photos/s": count / float(np.median(ours)),
        "builder / Pillow": float(np.median(pillow / ours)),
    }


def measure_table(schema: Schema, rows: int) -> dict[str, float]:
    """Measure reading, checking and splitting a synthetic table, up to the task of each shard.

    Returns:
      Seconds, and the peak memory of this process in GiB, including TensorFlow.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        list(_draw(folder / "images", SHARED_PHOTOS, scale=8))
        header = ["product_id", "image", *schema.names]
        catalogue = _write(folder / "catalogue.csv", header, _rows(schema, rows))
        start = time.perf_counter()
        records = str(folder / "records")
        builder.prepare(catalogue, schema, records, None, plan.BuildOptions(), _Here())
        seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    return {"rows": rows, "seconds": seconds, "rows/s": rows / seconds, "peak memory, GiB": peak}


class _Here:
    """A runner that works in this process."""

    def run(self, work: Work, tasks: Sequence[str], name: str) -> None:
        for task in tqdm(tasks, desc=name):
            work(task)


def _with_pillow(paths: Sequence[Path], image_size: int) -> None:
    for path in paths:
        with Image.open(path) as image:
            image.draft("RGB", (image_size, image_size))
            scale = image_size / min(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            small = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
            small.save(io.BytesIO(), "JPEG", quality=photos.JPEG_QUALITY)


def _draw(folder: Path, count: int, scale: int = 1) -> Iterator[Path]:
    """Write photos of blurred shapes with grain, which compress like real photos."""
    folder.mkdir()
    size = (WIDTH // scale, HEIGHT // scale)
    for i in tqdm(range(count), desc="drawing photos"):
        draw = np.random.default_rng(i)
        shapes = Image.fromarray(draw.integers(0, 256, [12, 9, 3], np.uint8))
        pixels = np.asarray(shapes.resize(size, Image.Resampling.BICUBIC), np.float32)
        grain = draw.normal(0, 6, [*pixels.shape[:2], 1])
        path = folder / f"{i:06d}.jpg"
        image = Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))
        image.save(path, quality=88)
        yield path


def _rows(schema: Schema, count: int) -> Iterator[list[str]]:
    """Yield rows with 60 % of the cells filled, one in a thousand with an unknown value."""
    draw = np.random.default_rng(0)
    categories = schema[schema.category].values
    values = [
        [
            [v for v, allowed in zip(a.values, schema.allowed[c, schema.slices[a.name]]) if allowed]
            for a in schema.attributes
        ]
        for c in range(len(categories))
    ]
    for i in tqdm(range(count), desc="writing a table"):
        category = int(draw.integers(len(categories)))
        row = [f"product-{i:07d}", f"images/{draw.integers(SHARED_PHOTOS):06d}.jpg"]
        for attribute, known, chance, which in zip(
            schema.attributes, values[category], *draw.random([2, len(schema.attributes)]).tolist()
        ):
            if attribute.name == schema.category:
                row.append(categories[category])
            elif chance > 0.999:
                row.append("never heard of")
            else:
                row.append(known[int(which * len(known))] if known and chance < 0.6 else "")
        yield row


def _write(path: Path, header: Sequence[str], rows: Iterator[list[str]] | list[list[str]]) -> Path:
    write_csv(path, header, rows)
    return path
