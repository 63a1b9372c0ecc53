"""Finish a build: count the contents of its shards, then write the lists and the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attr_extractor import storage
from attr_extractor.catalogue import photos
from attr_extractor.catalogue.csv_rows import write_csv
from attr_extractor.catalogue.splits import SPLITS
from attr_extractor.errors import InputError
from attr_extractor.records import index, near_duplicates, report
from attr_extractor.records.existing import WORK, Existing, is_ours
from attr_extractor.records.manifest import Manifest, Shard, Split, count_labels
from attr_extractor.records.near_duplicates import NearDuplicate
from attr_extractor.records.plan import BuildOptions
from attr_extractor.records.rows import Reject, Rows
from attr_extractor.schema import Schema


def finish(
    records: str,
    schema: Schema,
    options: BuildOptions,
    there: Existing,
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
    old, new = (
        {s: {n: index.require_facts(records, n, schema) for n in names.get(s, [])} for s in SPLITS}
        for names in (_shards_of(there), new_shards)
    )
    tried = [reject for found in new.values() for f in found.values() for reject in f.rejects]
    # an addition drops shards in which no photo could be used
    new = {
        split: {name: f for name, f in found.items() if f.records or not there.addition}
        for split, found in new.items()
    }
    facts = {split: {**old[split], **new[split]} for split in SPLITS}
    _remove_strangers(records, [name for found in facts.values() for name in found])
    listed = {split: index.read(records, facts[split]) for split in SPLITS}

    # earlier rejects count only for products in the records; all other products were tried again
    earlier = [reject for found in old.values() for f in found.values() for reject in f.rejects]
    products = pa.array([product for product, *_ in earlier], pa.string())
    earlier = [reject for reject, held in zip(earlier, there.holds(products).to_pylist()) if held]
    of_photos = _photo_rejects(rows, [*earlier, *tried])
    rejects = sorted([*rows.rejects, *rejects, *of_photos])
    write_csv(storage.join(records, "rejects.csv"), Reject._fields, rejects)

    products = pa.concat_tables([table.select(["product_id"]) for table in listed.values()])
    held = pc.is_in(rows.texts["product_id"], value_set=pc.unique(products["product_id"]))
    before = there.holds(rows.texts["product_id"])
    numbers = rows.texts["number"]
    rejected = np.setdiff1d([row for row, *_ in rejects if row], numbers.filter(held).to_numpy())
    counts = {
        "read": rows.read,
        "written": int(pc.sum(pc.and_not(held, before)).as_py() or 0),
        "already there": int(pc.sum(before).as_py() or 0),
        "rejected": len(rejected),
    }
    if counts["read"] != sum(counts.values()) - counts["read"]:
        raise AssertionError(f"rows do not add up: {counts}")
    if not len(products):
        raise InputError(f"no row could be used; see {storage.join(records, 'rejects.csv')}")
    similar = _near_duplicates(listed)
    near_duplicates.write(records, similar)
    manifest = Manifest(
        schema_name=schema.name,
        fingerprint=schema.fingerprint,
        schema_yaml=schema.to_yaml(),
        image_policy={"short_side": options.image_size, "jpeg_quality": photos.JPEG_QUALITY},
        build=options.model_dump(mode="json"),
        additions=there.addition if any(new.values()) else max(0, there.addition - 1),
        rows=counts,
        photos={"written": len(products), "rejected": len(of_photos)},
        label_issues=dict(rows.findings.issues.most_common()),
        near_duplicates=dict(Counter(found.split for found in similar)),
        splits={s: split_of(schema, facts[s]) for s in SPLITS},
    )
    page = report.render(schema, manifest, rows.findings, listed, rejects, similar, records)
    storage.write(storage.join(records, report.FILE), page.encode())
    # removed first, so that an interruption here cannot leave stale digests behind
    if storage.exists(storage.join(records, f"{WORK}/digests")):
        storage.remove(storage.join(records, f"{WORK}/digests"))
    manifest.write(records)
    storage.remove(storage.join(records, WORK))
    return manifest


def write_label_issues(records: str, scratch: Path) -> None:
    """Copy label_issues.csv from the scratch folder, where reading the table wrote it."""
    storage.write(
        storage.join(records, "label_issues.csv"), (scratch / "label_issues.csv").read_bytes()
    )


def _photo_rejects(rows: Rows, found: Sequence[list[str]]) -> list[Reject]:
    """Return the rejected photos with the number of their current row; 0 if there is none."""
    products = pa.array([product for product, *_ in found], pa.string())
    where = pc.index_in(products, value_set=rows.texts["product_id"])
    numbers = rows.texts["number"].take(where).fill_null(0).to_pylist()
    return [Reject(number, *reject) for number, reject in zip(numbers, found)]


def _near_duplicates(listed: Mapping[str, pa.Table]) -> list[NearDuplicate]:
    hashes = {
        split: np.frombuffer(b"".join(photos["perceptual_hash"].to_pylist()), np.uint8).reshape(
            len(photos), near_duplicates.HASH_BYTES
        )
        for split, photos in listed.items()
    }
    training, found = listed["train"], []
    for split in SPLITS[1:]:
        nearest, distance = near_duplicates.find(hashes[split], hashes["train"])
        near = np.flatnonzero(nearest >= 0)
        columns = ["product_id", "image_index", "image"]
        of_split = listed[split].select(columns).take(near).to_pylist()
        similar = training.select(columns).take(nearest[near]).to_pylist()
        for photo, bits, other in zip(of_split, distance[near].tolist(), similar):
            where = (photo["product_id"], photo["image_index"], photo["image"])
            found.append(NearDuplicate(split, *where, bits, other["product_id"], other["image"]))
    return found


def _shards_of(there: Existing) -> dict[str, list[str]]:
    """Return the file names of shards from earlier builds, by split."""
    if there.manifest is None:
        return {split: [] for split in SPLITS}
    return {split: [s.name for s in there.manifest.splits[split].shards] for split in SPLITS}


def _remove_strangers(records: str, shards: list[str]) -> None:
    """Remove shards and index files that an interrupted build with another plan left."""
    keep = {WORK, *shards, *(f"{name.rsplit('.', 1)[0]}.parquet" for name in shards)}
    for folder in (records, storage.join(records, index.FOLDER)):
        for name in storage.names(folder):
            ends = (".tfrecord", ".parquet", storage.TEMPORARY)
            if name.endswith(ends) and name not in keep and is_ours(name):
                storage.remove(storage.join(folder, name))


def split_of(schema: Schema, facts: Mapping[str, index.ShardFacts]) -> Split:
    """Return the manifest entry of a split, from the facts of its shards by file name."""
    present = np.zeros(schema.num_values, np.int64)
    states = np.zeros([len(schema.attributes), 3], np.int64)
    for fact in facts.values():
        present += fact.present
        states += fact.states
    return Split(
        shards=[Shard(name=n, records=f.records, bytes=f.bytes) for n, f in facts.items()],
        products=sum(f.products for f in facts.values()),
        photos=sum(f.records for f in facts.values()),
        labels=count_labels(schema, present, states),
    )
