"""Build TFRecord shards, their index, manifest.json and the reject lists from a seller's table.

The table is read and checked first. Every photo's bytes are then hashed, because identical photos
share a split. Each task then writes one shard. An interrupted build is resumed by rerunning the
command. On finished records the same command adds the rows that are missing, in new shards.
Invariant: rows read = written + already there + rejected.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from attr_extractor import ownership, storage
from attr_extractor.catalogue import raw_files, splits
from attr_extractor.records import digests, finish, index, plan, shard
from attr_extractor.records import rows as table_rows
from attr_extractor.records.existing import WORK, Existing, look, scratch
from attr_extractor.records.manifest import Manifest
from attr_extractor.records.rows import Reject, Rows
from attr_extractor.records.runner import Local, Runner
from attr_extractor.schema import Schema

LINKS_SPLITS = "links products of two splits of these records, which would leak between them"


def build(
    catalogue: str | Path,
    schema: Schema,
    output_dir: str | Path,
    image_root: str | Path | None = None,
    options: plan.BuildOptions | None = None,
    runner: Runner | None = None,
) -> Manifest:
    """Build the records of a catalogue, resume a build, or add new rows to finished records.

    Args:
      image_root: the folder that image paths are relative to; by default the folder of the table.
      runner: by default two processes on this machine.

    Raises:
      InputError: if the table, an option or the output folder is invalid, if no row is usable, or
        if the disk is full.
      TemporaryError: if another program is writing to the output folder.
    """
    if runner is None:
        with Local(num_workers=2) as local:
            return build(catalogue, schema, output_dir, image_root, options, local)
    options, records = options or plan.BuildOptions(), str(output_dir)
    with ownership.folder(records, "the output folder"):
        prepared = prepare(catalogue, schema, records, image_root, options, runner)
        runner.run(shard.write, prepared.tasks, "writing shards")
        there, rows, rejects = prepared.there, prepared.rows, prepared.rejects
        return finish.finish(records, schema, options, there, rows, rejects, prepared.shards)


@dataclass(frozen=True)
class Prepared:
    """A build in which every row has a split and a shard, before any photo is decoded."""

    there: Existing
    rows: Rows
    rejects: list[Reject]  # usable rows that were not assigned to a shard
    shards: dict[str, list[str]]  # file names of this build's shards by split
    tasks: list[str]  # task files of the shards still to be written


def prepare(
    catalogue: str | Path,
    schema: Schema,
    records: str,
    image_root: str | Path | None,
    options: plan.BuildOptions,
    runner: Runner,
) -> Prepared:
    """Read and check the table, hash the photos, and write a task file for every shard."""
    root, there = raw_files.image_root_of(catalogue, image_root), look(records, schema, options)
    work = storage.join(records, WORK)
    for folder in (storage.join(work, "digests"), storage.join(work, "tasks")):
        storage.make_folder(folder)
    storage.make_folder(storage.join(records, index.FOLDER))
    with scratch(records) as here:
        rows = table_rows.read(
            catalogue,
            schema,
            here,
            options.group_column,
            options.split_column,
            options.box_columns,
        )
        finish.write_label_issues(records, here)
        new = np.flatnonzero(~there.holds(rows.texts["product_id"]).to_numpy())
        texts = rows.texts.take(new)
        photos = table_rows.photos_of(texts)
        photos = _with_digests(photos, root, storage.join(work, "digests"), runner)
        split, rejects = _place(texts, photos, schema, options, there)
        products = texts["product_id"].combine_chunks()
        counts = np.bincount(photos["owner"].to_numpy(), minlength=len(texts))
        shards = list(plan.shards(products, counts, split, options, there.addition))
        tasks = []
        for _, name, members in tqdm(shards, unit="shard", desc="planning shards"):
            listed = _listed(texts, rows.labels(new[members]), photos, members, schema)
            path = storage.join(work, f"tasks/{name}.parquet")
            task = shard.Task(
                records, name, root, options.image_size, schema.fingerprint, schema.sizes
            )
            if shard.plan(path, task, listed):
                tasks.append(path)
    names = {split: [name for s, name, _ in shards if s == split] for split in splits.SPLITS}
    return Prepared(there, rows, rejects, names, tasks)


def _with_digests(photos: pa.Table, image_root: str, folder: str, runner: Runner) -> pa.Table:
    """Add the column `digest`; a photo shared by several products is read once."""
    paths = photos["image"].combine_chunks().dictionary_encode()
    found = digests.of_photos(paths.dictionary, image_root, folder, runner)
    return photos.append_column("digest", found.take(paths.indices))


def _place(
    texts: pa.Table, photos: pa.Table, schema: Schema, options: plan.BuildOptions, there: Existing
) -> tuple[np.ndarray, list[Reject]]:
    """Assign a split to every new product.

    Returns:
      int8 [R], the position in SPLITS or NO_SPLIT; and the rejects with their reasons.
    """
    split = plan.place(texts, photos, options, there.photos)
    rejects = table_rows.rejects_of(texts, split == plan.NO_SPLIT, LINKS_SPLITS)
    products, category = texts["product_id"].combine_chunks(), texts["category"].to_numpy()
    counted = _training_products(there, schema)
    over = plan.over_cap(products, category, split, options, counted)
    reason = f"beyond the cap of {options.cap_per_category} training products per category"
    rejects += table_rows.rejects_of(texts, over, reason)
    return np.where(over, plan.NO_SPLIT, split), rejects


def _listed(
    texts: pa.Table, labels: np.ndarray, photos: pa.Table, members: np.ndarray, schema: Schema
) -> pa.Table:
    """Return the photos of some products in the columns of a shard task.

    Args:
      texts: rows of all new products.
      labels: int8 [n, V], labels of the members.
      photos: photos of all new products, sorted by `owner`.
      members: int64 [n], positions in `texts`.
    """
    owner = photos["owner"].to_numpy()
    first, last = np.searchsorted(owner, members), np.searchsorted(owner, members + 1)
    taken = photos.take(np.concatenate([np.arange(a, b) for a, b in zip(first, last)]))
    member = np.repeat(np.arange(len(members)), last - first)
    of_photo = texts.take(members[member])
    codes = pa.array([row.tobytes() for row in labels], pa.binary())
    columns = {
        "product_id": of_photo["product_id"],
        "group": of_photo["group"],
        "category": table_rows.category_names(schema, of_photo["category"]),
        "labels": codes.take(pa.array(member)),
        **{name: taken[name] for name in ("image", "image_index", "box", "digest")},
    }
    return pa.table([columns[name] for name in shard.COLUMNS.names], shard.COLUMNS)


def _training_products(there: Existing, schema: Schema) -> Counter[int]:
    """Count the training products in the records by position of the category."""
    train = there.photos.filter(pc.equal(there.photos["split"], splits.SPLITS.index("train")))
    products = train.select(["product_id", "category"]).to_pandas().drop_duplicates("product_id")
    position = {value: c for c, value in enumerate(schema[schema.category].values)}
    known = [category for category in products["category"] if category]
    return Counter(position[category] for category in known)
