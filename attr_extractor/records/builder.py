"""Build TFRecord shards, their index, manifest.json and the reject lists from a seller's table.

The table is read and checked first. Every photo's bytes are then hashed, because identical photos
share a split. Each task then writes one shard. Last, the lists and the manifest are written. An
interrupted build is resumed by rerunning the command. On finished records the same command adds the
rows that are missing, in new shards.
Invariant: rows read = written + already there + rejected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from attr_extractor import ownership, storage
from attr_extractor.catalogue.csv_rows import write_csv
from attr_extractor.catalogue.photos import JPEG_QUALITY
from attr_extractor.catalogue.raw_files import image_root_of
from attr_extractor.catalogue.splits import SPLITS
from attr_extractor.errors import InputError
from attr_extractor.records import index, near_duplicates, plan, report, tasks
from attr_extractor.records import rows as table_rows
from attr_extractor.records.folder import (
    WORK,
    Existing,
    existing_records,
    remove_stale_files,
    scratch,
)
from attr_extractor.records.manifest import Manifest
from attr_extractor.records.near_duplicates import NearDuplicate
from attr_extractor.records.plan import BuildOptions
from attr_extractor.records.rows import Reject, Rows
from attr_extractor.records.runner import Local, Runner
from attr_extractor.schema import Schema

Summaries = Dict[str, Dict[str, index.ShardSummary]]  # by split and file name of the shard
LINKS_SPLITS = "links products of two splits of these records, which would leak between them"


def build(
    catalogue: str | Path,
    schema: Schema,
    output_dir: str | Path,
    image_root: str | Path | None = None,
    options: BuildOptions | None = None,
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
    options, records = options or BuildOptions(), str(output_dir)
    with ownership.folder(records, "the output folder"):
        prepared = prepare(catalogue, schema, records, image_root, options, runner)
        runner.run(tasks.write_shard, prepared.task_files, "writing shards")
        existing, rows, rejects = prepared.existing, prepared.rows, prepared.rejects
        return finish(records, schema, options, existing, rows, rejects, prepared.shards)


@dataclass(frozen=True)
class Prepared:
    """A build in which every row has a split and a shard, before any photo is decoded."""

    existing: Existing
    rows: Rows
    rejects: list[Reject]  # usable rows that were not assigned to a shard
    shards: dict[str, list[str]]  # file names of this build's shards by split
    task_files: list[str]  # of the shards still to be written


def prepare(
    catalogue: str | Path,
    schema: Schema,
    records: str,
    image_root: str | Path | None,
    options: BuildOptions,
    runner: Runner,
) -> Prepared:
    """Read and check the table, hash the photos, and write a task file for every shard."""
    root = image_root_of(catalogue, image_root)
    existing = existing_records(records, schema, options)
    work = storage.join(records, WORK)
    for folder in (storage.join(work, "digests"), storage.join(work, "tasks")):
        storage.make_folder(folder)
    storage.make_folder(storage.join(records, index.FOLDER))
    with scratch(records) as scratch_folder:
        rows = table_rows.read_rows(
            catalogue,
            schema,
            scratch_folder,
            options.group_column,
            options.split_column,
            options.box_columns,
        )
        write_label_issues(records, scratch_folder)
        new = np.flatnonzero(~existing.holds(rows.texts["product_id"]).to_numpy())
        texts = rows.texts.take(new)
        photos = table_rows.photos_of(texts)
        photos = _with_digests(photos, root, storage.join(work, "digests"), runner)
        split, rejects = _place(texts, photos, schema, options, existing)
        products = texts["product_id"].combine_chunks()
        counts = np.bincount(photos["owner"].to_numpy(), minlength=len(texts))
        shards = list(plan.shards(products, counts, split, options, existing.addition))
        task_files = []
        for _, name, members in tqdm(shards, unit="shard", desc="planning shards"):
            listed = _listed(texts, rows.labels(new[members]), photos, members, schema)
            path = storage.join(work, f"tasks/{name}.parquet")
            task = tasks.ShardTask(
                records, name, root, options.image_size, schema.fingerprint, schema.sizes
            )
            if tasks.plan_shard(path, task, listed):
                task_files.append(path)
    names = {split: [name for s, name, _ in shards if s == split] for split in SPLITS}
    return Prepared(existing, rows, rejects, names, task_files)


def _with_digests(photos: pa.Table, image_root: str, folder: str, runner: Runner) -> pa.Table:
    """Add the column `digest`; a photo shared by several products is read once."""
    paths = photos["image"].combine_chunks().dictionary_encode()
    digests = tasks.hash_photos(paths.dictionary, image_root, folder, runner)
    return photos.append_column("digest", digests.take(paths.indices))


def _place(
    texts: pa.Table, photos: pa.Table, schema: Schema, options: BuildOptions, existing: Existing
) -> tuple[np.ndarray, list[Reject]]:
    """Assign a split to every new product.

    Returns:
      int8 [R], the position in SPLITS or NO_SPLIT; and the rejects with their reasons.
    """
    split = plan.place(texts, photos, options, existing.photos)
    rejects = table_rows.rejects_of(texts, split == plan.NO_SPLIT, LINKS_SPLITS)
    products, category = texts["product_id"].combine_chunks(), texts["category"].to_numpy()
    counted = _training_products(existing, schema)
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
        "text": of_photo["text"],
        **{name: taken[name] for name in ("image", "image_index", "box", "digest")},
    }
    return pa.table([columns[name] for name in tasks.COLUMNS.names], tasks.COLUMNS)


def _training_products(existing: Existing, schema: Schema) -> Counter[int]:
    """Count the training products in the records by position of the category."""
    train = existing.photos.filter(pc.equal(existing.photos["split"], SPLITS.index("train")))
    products = train.select(["product_id", "category"]).to_pandas().drop_duplicates("product_id")
    position = {value: c for c, value in enumerate(schema[schema.category].values)}
    known = [category for category in products["category"] if category]
    return Counter(position[category] for category in known)


def finish(
    records: str,
    schema: Schema,
    options: BuildOptions,
    existing: Existing,
    rows: Rows,
    rejects: Sequence[Reject],
    new_shards: Mapping[str, Sequence[str]],
) -> Manifest:
    """Write the lists and the manifest, which makes the build valid, and remove its work folder.

    Args:
      rejects: usable rows that were not assigned to a shard.
      new_shards: file names of this build's shards by split.

    Raises:
      InputError: if no row could be used.
    """
    old = _summaries(records, schema, _shards_of(existing))
    new = _summaries(records, schema, new_shards)
    # earlier rejects count only for products in the records; all other products were tried again
    earlier = _rejected_photos(old)
    products = pa.array([product for product, *_ in earlier], pa.string())
    earlier = [
        reject for reject, held in zip(earlier, existing.holds(products).to_pylist()) if held
    ]
    photo_rejects = _with_row_numbers(rows, [*earlier, *_rejected_photos(new)])
    # an addition drops shards in which no photo could be used
    new = {
        split: {name: s for name, s in shards.items() if s.records or not existing.addition}
        for split, shards in new.items()
    }
    shards = {split: {**old[split], **new[split]} for split in SPLITS}
    remove_stale_files(records, [name for of_split in shards.values() for name in of_split])
    photos = {split: index.read_photos(records, shards[split]) for split in SPLITS}

    rejects = sorted([*rows.rejects, *rejects, *photo_rejects])
    write_csv(storage.join(records, "rejects.csv"), Reject._fields, rejects)
    row_counts = _count_rows(rows, rejects, photos, existing)
    num_photos = sum(map(len, photos.values()))
    if not num_photos:
        raise InputError(f"no row could be used; see {storage.join(records, 'rejects.csv')}")
    similar = _find_near_duplicates(photos)
    near_duplicates.write(records, similar)
    manifest = Manifest(
        schema_name=schema.name,
        fingerprint=schema.fingerprint,
        schema_yaml=schema.to_yaml(),
        image_policy={"short_side": options.image_size, "jpeg_quality": JPEG_QUALITY},
        build=options.model_dump(mode="json"),
        additions=existing.addition if any(new.values()) else max(0, existing.addition - 1),
        rows=row_counts,
        photos={"written": num_photos, "rejected": len(photo_rejects)},
        label_issues=dict(rows.findings.issues.most_common()),
        near_duplicates=dict(Counter(near.split for near in similar)),
        splits={split: index.sum_shards(schema, shards[split]) for split in SPLITS},
        **_soft_labels(existing, schema),
    )
    page = report.render(schema, manifest, rows.findings, photos, rejects, similar, records)
    storage.write(storage.join(records, report.FILE), page.encode())
    # removed first, so that an interruption here cannot leave stale digests behind
    storage.remove_folder(storage.join(records, f"{WORK}/digests"))
    manifest.write(records)
    storage.remove_folder(storage.join(records, WORK))
    return manifest


def _soft_labels(existing: Existing, schema: Schema) -> dict[str, Any]:
    """Return the manifest's keys of soft labels in the existing records; a new schema has none."""
    before = existing.manifest
    if before is None or before.fingerprint != schema.fingerprint:
        return {}
    return {"sources": before.sources, "soft_digest": before.soft_digest}


def write_label_issues(records: str, scratch_folder: Path) -> None:
    """Copy label_issues.csv from the scratch folder, where reading the table wrote it."""
    content = (scratch_folder / "label_issues.csv").read_bytes()
    storage.write(storage.join(records, "label_issues.csv"), content)


def _shards_of(existing: Existing) -> dict[str, list[str]]:
    """Return the file names of shards from earlier builds, by split."""
    if existing.manifest is None:
        return {}
    return {split: [s.name for s in of.shards] for split, of in existing.manifest.splits.items()}


def _summaries(records: str, schema: Schema, shards: Mapping[str, Sequence[str]]) -> Summaries:
    """Return the summaries of shards given by split."""
    return {
        split: {
            name: index.require_summary(records, name, schema) for name in shards.get(split, [])
        }
        for split in SPLITS
    }


def _rejected_photos(shards: Summaries) -> list[list[str]]:
    """Return product, image and reason of the rejected photos."""
    return [reject for split in shards.values() for s in split.values() for reject in s.rejects]


def _with_row_numbers(rows: Rows, photo_rejects: Sequence[list[str]]) -> list[Reject]:
    """Return the rejected photos with the number of their current row; 0 if there is none."""
    products = pa.array([product for product, *_ in photo_rejects], pa.string())
    where = pc.index_in(products, value_set=rows.texts["product_id"])
    numbers = rows.texts["number"].take(where).fill_null(0).to_pylist()
    return [Reject(number, *reject) for number, reject in zip(numbers, photo_rejects)]


def _count_rows(
    rows: Rows, rejects: Sequence[Reject], photos: Mapping[str, pa.Table], existing: Existing
) -> dict[str, int]:
    """Return the rows read, written, already there and rejected; the last three add up to read."""
    products = pa.concat_tables([table.select(["product_id"]) for table in photos.values()])
    held = pc.is_in(rows.texts["product_id"], value_set=pc.unique(products["product_id"]))
    before = existing.holds(rows.texts["product_id"])
    rejected = np.setdiff1d(
        [reject.row for reject in rejects if reject.row],
        rows.texts["number"].filter(held).to_numpy(),
    )
    counts = {
        "read": rows.read,
        "written": int(pc.sum(pc.and_not(held, before)).as_py() or 0),
        "already there": int(pc.sum(before).as_py() or 0),
        "rejected": len(rejected),
    }
    if counts["read"] != sum(counts.values()) - counts["read"]:
        raise AssertionError(f"rows do not add up: {counts}")
    return counts


def _find_near_duplicates(photos: Mapping[str, pa.Table]) -> list[NearDuplicate]:
    """Return the validation and test photos that resemble a training photo."""
    training, similar = photos["train"], []
    for split in SPLITS[1:]:
        nearest, distance = near_duplicates.find(
            index.hashes(photos[split]), index.hashes(training)
        )
        near = np.flatnonzero(nearest >= 0)
        columns = ["product_id", "image_index", "image"]
        of_split = photos[split].select(columns).take(near).to_pylist()
        of_training = training.select(columns).take(nearest[near]).to_pylist()
        for photo, bits, other in zip(of_split, distance[near].tolist(), of_training):
            similar.append(
                NearDuplicate(
                    split,
                    photo["product_id"],
                    photo["image_index"],
                    photo["image"],
                    bits,
                    other["product_id"],
                    other["image"],
                )
            )
    return similar
