"""Records with a fraction of the training products, for learning curves.

A product is kept according to a hash of its group, so a smaller fraction is a subset of a larger
one, and all products of a group are kept or dropped together. Stored photos are copied, shard by
shard. The validation split is complete. There is no test split: use that of the full records.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import tensorflow as tf

from attr_extractor import storage
from attr_extractor.catalogue.splits import SPLITS, uniform
from attr_extractor.errors import InputError
from attr_extractor.records import dataset, example, index
from attr_extractor.records.manifest import FILE, Manifest


def write_subset(records: str | Path, fraction: float, output: str | Path) -> Manifest:
    """Write the subset, or resume writing it.

    Args:
      fraction: fraction of groups to keep, between 0 and 1, exclusive.

    Raises:
      InputError: if there are no finished records, the fraction is out of range, or the output
        folder contains something else.
    """
    if not 0 < fraction < 1:
        raise InputError(f"fraction {fraction:g}: must be above 0 and below 1")
    records, output = str(records), str(output)
    whole = Manifest.read(records)
    made_of = f"{fraction!r} of {whole.digest}"
    if storage.exists(storage.join(output, FILE)):
        manifest = Manifest.read(output)
        for held in manifest.splits["train"].shards:
            if index.require_summary(output, held.name).made_of != made_of:
                raise InputError(f"{output}: contains other records; use another folder")
        return manifest
    storage.make_folder(storage.join(output, index.FOLDER))
    summaries: dict[str, dict[str, index.ShardSummary]] = {split: {} for split in SPLITS}
    for split, share in (("train", fraction), ("validation", 1.0)):
        for held in whole.splits[split].shards:
            of_shard = _copy(whole, records, output, held.name, share, made_of)
            if of_shard.records:
                summaries[split][held.name] = of_shard
    splits = {split: index.sum_shards(whole.schema, summaries[split]) for split in SPLITS}
    if not splits["train"].photos:
        raise InputError(f"{records}: a fraction of {fraction:g} contains no training product")
    products, photos = (sum(getattr(s, k) for s in splits.values()) for k in ("products", "photos"))
    part = whole.model_copy(
        update={
            "rows": {"read": products, "written": products, "already there": 0, "rejected": 0},
            "photos": {"written": photos, "rejected": 0},
            "label_issues": {},
            "near_duplicates": {},
            "splits": splits,
            "sources": {},  # not known by product
        }
    )
    part.write(output)
    return Manifest.read(output)  # model_copy would keep the cached digest of the full records


def _copy(
    whole: Manifest, records: str, output: str, name: str, share: float, made_of: str
) -> index.ShardSummary:
    """Write the kept Examples of a shard and its index, unless that was done before."""
    existing = index.read_summary(output, name)
    if existing is not None and existing.made_of == made_of:
        return existing
    photos = index.read_photos(records, [name])
    products = photos["product_id"].to_pylist()
    kept = [uniform("part", group) < share for group in photos["group"].to_pylist()]
    codes: list[bytes] = []
    soft: list[list[int]] = []
    source, target = storage.join(records, name), storage.join(output, name)
    with (
        storage.whole(target) as temporary,
        tf.io.TFRecordWriter(temporary) as writer,
    ):
        for record, is_kept in zip(dataset.indexed_examples(source, products), kept):
            if is_kept:
                writer.write(record.SerializeToString(deterministic=True))
                codes.append(record.features.feature["labels"].bytes_list.value[0])
                soft.append(example.soft(record)[0])
    listed = photos.filter(pa.array(kept))
    summary = index.ShardSummary(
        made_of=made_of,
        fingerprint=whole.fingerprint,
        records=len(codes),
        bytes=storage.size(target),
        products=len(listed["product_id"].unique()),
        rejects=[],
        **index.total_labels(codes, whole.schema.sizes, soft)._asdict(),
    )
    index.write_index(output, name, listed, summary)
    return summary
