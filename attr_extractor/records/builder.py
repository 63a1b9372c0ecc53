"""A seller's table -> shards, manifest.json, rejects.csv and label_issues.csv.

Two passes over the photos: the first hashes their bytes, because identical photos share a split;
the second writes whole shards, each by one process. Two builds of one table are equal byte for
byte. Rows read = rows written + rows rejected, always.
"""

from __future__ import annotations

import csv
import functools
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from attr_extractor.catalogue import photos, splits, table
from attr_extractor.errors import InputError, require_folder, require_new_folder
from attr_extractor.records import plan, shard
from attr_extractor.records.manifest import Manifest, Shard, Split, count_labels
from attr_extractor.schema import Schema

REJECTS = ("row", "product_id", "image", "reason")
LABEL_ISSUES = ("row", "product_id", "attribute", "cell", "issue", "nearest")
PHOTOS_PER_CALL = 64  # hashed by a worker in one go


def build(
    catalogue: str | Path,
    schema: Schema,
    output_dir: str | Path,
    image_root: str | Path | None = None,
    options: plan.Options | None = None,
    num_workers: int = 2,
) -> Manifest:
    """Builds the records of a catalogue into a new folder; see this module's first lines.

    Args:
      image_root: the folder that image paths start from; by default the table's.

    Raises:
      InputError: the table, an option or the output folder cannot be used, or no row could be.
    """
    options = options or plan.Options()
    rows = table.read_catalogue(catalogue, schema)
    root = require_folder(image_root or Path(catalogue).parent, "the image root")
    products, rejects = plan.usable(rows)
    folder = require_new_folder(output_dir, "the output folder")

    # spawned, not forked: a process that has loaded TensorFlow must not be forked
    with ProcessPoolExecutor(max(1, num_workers), mp_context=get_context("spawn")) as pool:
        split = plan.place(products, _digests(products, root, pool), options)
        products, capped = plan.cap(products, split, schema, options)
        named = list(plan.shards(products, split, options))
        tasks = [
            shard.Task(folder / name, members, root, options.image_size, schema)
            for _, name, members in named
        ]
        results = []
        with tqdm(total=len(products), unit="row", desc="writing shards") as progress:
            for task, result in zip(tasks, pool.map(shard.write, tasks)):
                results.append(result)
                progress.update(len(task.products))

    rejects += capped + [reject for result in results for reject in result.rejects]
    _write_csv(folder / "rejects.csv", REJECTS, rejects)
    issues = [issue for result in results for issue in result.issues]
    _write_csv(folder / "label_issues.csv", LABEL_ISSUES, issues)

    written = sum(result.products for result in results)
    written_rows = {row for result in results for row in result.rows}
    rejected = len({row for row, *_ in rejects} - written_rows)
    if len(rows) != written + rejected:
        raise AssertionError(f"{len(rows)} rows read, {written} written, {rejected} rejected")
    if not written:
        raise InputError(f"{catalogue}: no row could be used; {folder / 'rejects.csv'} says why")
    manifest = Manifest(
        schema_name=schema.name,
        fingerprint=schema.fingerprint,
        schema_yaml=schema.to_yaml(),
        image_policy={"short_side": options.image_size, "jpeg_quality": photos.JPEG_QUALITY},
        build=asdict(options),
        rows={"read": len(rows), "written": written, "rejected": rejected},
        photos={
            "written": sum(result.records for result in results),
            "rejected": sum(len(result.rejects) for result in results),
        },
        label_issues=dict(Counter(issue[4] for issue in issues).most_common()),
        splits={
            name: _split(schema, [r for (s, _, _), r in zip(named, results) if s == name])
            for name in splits.SPLITS
        },
    )
    manifest.write(folder)
    return manifest


def _digests(products: pd.DataFrame, root: Path, pool: Executor) -> dict[str, str]:
    """Content digest of every image path in the table, each file read once."""
    paths = sorted({path for cell in products[table.IMAGE] for path in table.image_paths(cell)})
    digests = pool.map(functools.partial(plan.digest, root), paths, chunksize=PHOTOS_PER_CALL)
    return dict(zip(paths, tqdm(digests, total=len(paths), unit="photo", desc="hashing photos")))


def _split(schema: Schema, results: list[shard.Result]) -> Split:
    present = np.zeros(schema.num_values, np.int64)
    states = np.zeros([len(schema.attributes), 3], np.int64)
    for result in results:
        present += result.present
        states += result.states
    return Split(
        shards=[Shard(name=r.name, records=r.records, bytes=r.bytes) for r in results],
        products=sum(r.products for r in results),
        photos=sum(r.records for r in results),
        labels=count_labels(schema, present, states),
    )


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(sorted(rows))
