"""Replace the labels and texts of finished records, from a changed table or schema.

No photo is read or decoded. All shards are verified first; then each is copied with new labels.
During the copy the folder has no manifest, so that no training run can mix old and new labels. An
interrupted relabel is resumed by rerunning the command.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import List

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from attr_extractor import files, ownership, storage
from attr_extractor.errors import InputError
from attr_extractor.records import builder, dataset, example, index
from attr_extractor.records import rows as table_rows
from attr_extractor.records.folder import (
    RELABEL,
    WORK,
    Existing,
    begin_rewrite,
    photos_of,
    scratch,
    unfinished,
)
from attr_extractor.records.manifest import FILE, Manifest
from attr_extractor.records.plan import from_manifest
from attr_extractor.records.rows import Rows
from attr_extractor.records.runner import Runner
from attr_extractor.schema import Schema

NOT_THERE = "not in these records; a build without --relabel adds it"
_KEY = b"attr_extractor"


def relabel(catalogue: str | Path, schema: Schema, records: str | Path, runner: Runner) -> Manifest:
    """Write the current labels of a table and schema into finished records.

    A product that is no longer in the table keeps its labels if the schema has the same
    fingerprint.

    Raises:
      InputError: if there are no finished records, if the table is unreadable, or if the
        fingerprint of the schema changed and products of the records are missing from the table.
    """
    records = str(records)
    with ownership.folder(records, "the records"):
        finished = storage.exists(storage.join(records, FILE))
        manifest = None if finished else unfinished(records, resumes=RELABEL)
        manifest = manifest or Manifest.read(records)
        existing = Existing(manifest, photos_of(records, manifest))
        shards = [s.name for split in manifest.splits.values() for s in split.shards]
        work = storage.join(records, WORK)
        storage.make_folder(storage.join(work, "tasks"))
        with scratch(records) as folder:
            rows = table_rows.read_rows(catalogue, schema, folder)
            _require_all_products(rows, existing, schema, records)
            tasks = [task for name in shards for task in _plan_shard(records, name, rows, schema)]
            runner.run(require_readable, tasks, "reading shards")
            builder.write_label_issues(records, folder)
        if finished:
            begin_rewrite(records, manifest, RELABEL)
        runner.run(write_labels, tasks, "writing labels")

        texts = rows.texts
        rejects = table_rows.rejects_of(
            texts, ~existing.holds(texts["product_id"]).to_numpy(), NOT_THERE
        )
        options = from_manifest(manifest.build, storage.join(records, FILE))
        return builder.finish(records, schema, options, existing, rows, rejects, {})


@dataclass(frozen=True)
class RelabelTask:
    """A shard and the schema of its new labels."""

    records: str
    shard: str  # file name
    made_of: str  # digest of the new labels
    fingerprint: str
    sizes: List[int]  # number of values per attribute


def _task_of(listed: pa.Table) -> RelabelTask:
    """Return the task in the metadata of a task file."""
    return RelabelTask(**json.loads(listed.schema.metadata[_KEY]))


def require_readable(task_path: str) -> None:
    """Raise InputError if the shard of a task is damaged, before any records are changed."""
    listed = files.read_table(task_path)
    task = _task_of(listed)
    path = storage.join(task.records, task.shard)
    for _ in dataset.indexed_examples(path, listed["product_id"].to_pylist()):
        pass


def write_labels(task_path: str) -> None:
    """Copy the shard of a task with its new labels, then write its index.

    Raises:
      InputError: if the shard is damaged or cannot be written.
    """
    listed = files.read_table(task_path)
    task = _task_of(listed)
    records, name = task.records, task.shard
    before = index.require_summary(records, name)
    path = storage.join(records, name)
    codes: list[bytes] = []
    products, given, texts = (listed[c].to_pylist() for c in ("product_id", "labels", "text"))
    pairs = _soft_labels(listed, keeps=before.fingerprint == task.fingerprint)
    soft: list[list[int]] = []
    with (
        storage.whole(path, workers=True) as temporary,
        tf.io.TFRecordWriter(temporary) as writer,
    ):
        for i, record in enumerate(dataset.indexed_examples(path, products)):
            kept = record.features.feature["labels"].bytes_list
            if given[i] is not None:
                kept.value[0] = given[i]
                example.set_text(record, texts[i])
            if pairs is not None:
                example.set_soft(record, *pairs[i])
            codes.append(kept.value[0])
            soft.append(example.soft(record)[0])
            writer.write(record.SerializeToString(deterministic=True))
    summary = index.ShardSummary(
        made_of=task.made_of,
        fingerprint=task.fingerprint,
        records=len(codes),
        bytes=storage.size(path),
        products=before.products,
        rejects=before.rejects,
        **index.total_labels(codes, task.sizes, soft)._asdict(),
    )
    digests = pa.array([index.labels_digest(code) for code in codes], pa.binary(8))
    position = listed.schema.get_field_index("labels_digest")
    index.write_index(records, name, listed.set_column(position, "labels_digest", digests), summary)


def _soft_labels(listed: pa.Table, keeps: bool) -> list[tuple[list[int], list[float]]] | None:
    """Return the new soft labels of each photo; None if the records keep theirs."""
    if "soft_values" in listed.column_names:
        return list(
            zip(listed["soft_values"].to_pylist(), listed["soft_probabilities"].to_pylist())
        )
    # their positions belong to a schema
    return None if keeps else [([], [])] * len(listed)


def _plan_shard(records: str, name: str, rows: Rows, schema: Schema) -> list[str]:
    """Write the task file of a shard; return no task if the shard already has these labels."""
    photos = index.read_photos(records, [name])
    position = pc.index_in(photos["product_id"], value_set=rows.texts["product_id"])
    known = pc.is_valid(position)
    distinct, of_photo = np.unique(pc.drop_null(position).to_numpy(), return_inverse=True)
    labels = np.array([codes.tobytes() for codes in rows.labels(distinct)], object)[of_photo]
    category = table_rows.category_names(schema, rows.texts["category"].take(distinct[of_photo]))
    new_labels = pc.replace_with_mask(
        pa.nulls(len(photos), pa.binary()), known.combine_chunks(), pa.array(labels, pa.binary())
    )
    new_category = pc.replace_with_mask(
        photos["category"].combine_chunks(), known.combine_chunks(), category
    )
    place = photos.schema.get_field_index("category")
    texts = rows.texts["text"].take(position).fill_null("")
    listed = photos.set_column(place, "category", new_category).append_column("labels", new_labels)
    listed = listed.append_column("text", texts)
    digest = hashlib.blake2b(schema.fingerprint.encode(), digest_size=16)
    for code, text in zip(new_labels.to_pylist(), texts.to_pylist()):
        digest.update(code or b"kept")
        if text:
            digest.update(len(text).to_bytes(4, "big") + text.encode())
    made_of = f"relabelled {digest.hexdigest()}"
    summary = index.require_summary(records, name)
    if summary.made_of == made_of:
        return []
    lacking = photos["product_id"].filter(pc.is_null(new_labels))
    if len(lacking) and summary.fingerprint != schema.fingerprint:
        raise _missing_products_error(lacking, records)
    task = RelabelTask(records, name, made_of, schema.fingerprint, schema.sizes)
    path = storage.join(records, f"{WORK}/tasks/{name}.parquet")
    write_task(path, task, listed)
    return [path]


def write_task(path: str, task: RelabelTask, listed: pa.Table) -> None:
    """Write a task file.

    Args:
      listed: the photos of the shard, `index.COLUMNS`, with `labels` and `text`, null where the
        records keep theirs; `soft_values` and `soft_probabilities`, if there are any, replace the
        soft labels.
    """
    files.write_table(path, listed.replace_schema_metadata({_KEY: json.dumps(asdict(task))}))


def _require_all_products(rows: Rows, existing: Existing, schema: Schema, records: str) -> None:
    assert existing.manifest is not None
    if existing.manifest.fingerprint == schema.fingerprint:
        return
    products = pc.unique(existing.photos["product_id"])
    lacking = products.filter(pc.invert(pc.is_in(products, value_set=rows.texts["product_id"])))
    if len(lacking):
        raise _missing_products_error(lacking, records)


def _missing_products_error(products: pa.Array, records: str) -> InputError:
    return InputError(
        f"{records}: the schema has changed its meaning, and the table lacks {len(products):,} "
        f"products of these records, first {products[0].as_py()!r}: their labels cannot be "
        "carried over; use a table with all of them, or build new records"
    )
