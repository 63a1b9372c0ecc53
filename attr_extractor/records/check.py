"""Verify finished records against their manifest, within each shard and across shards.

All problems of all shards are reported; one damaged shard does not stop the check. Nothing is
written.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from attr_extractor import storage
from attr_extractor.errors import InputError
from attr_extractor.records import check_shard, index, near_duplicates
from attr_extractor.records.check_shard import Problems, ShardContents
from attr_extractor.records.folder import WORK, unfinished
from attr_extractor.records.manifest import FILE, Manifest, Shard
from attr_extractor.records.runner import Local
from attr_extractor.schema import Schema


@dataclass
class Report:
    """Problems found in a records folder, and a summary of its contents."""

    problems: list[Problems]  # only files with at least one
    contents: str  # a table

    def __str__(self) -> str:
        count = sum(problems.count for problems in self.problems)
        end = f"{count:,} problem{'s' * (count > 1)}" if count else "no problem"
        return "\n".join([*map(str, self.problems), self.contents, end])


def check(records: str | Path, num_workers: int = 1) -> Report:
    """Verify every byte of finished records, and the files next to the shards.

    Args:
      num_workers: number of processes; 1: run in this process.

    Raises:
      InputError: if the folder has no finished records or no readable manifest, or if a worker
        process was killed.
    """
    records = str(records)
    manifest = _load_manifest(records)
    entries = [(name, s) for name, split in manifest.splits.items() for s in split.shards]
    check_one = functools.partial(_check_shard, records, manifest.schema)
    shards = list(tqdm(_map(check_one, entries, num_workers), total=len(entries), unit="shard"))
    by_split = {
        name: [shard for (split, _), shard in zip(entries, shards) if split == name]
        for name in manifest.splits
    }
    problems = [
        _against_manifest(records, manifest, by_split),
        *(shard.problems for shard in shards),
        *_unlisted_files(records, [entry.name for _, entry in entries]),
        _duplicates({e.name: (split, shard.photos) for (split, e), shard in zip(entries, shards)}),
    ]
    return Report([p for p in problems if p.count], _contents(manifest.schema, by_split))


def _load_manifest(records: str) -> Manifest:
    """Load the manifest without checking shards; Manifest.read stops at the first damaged one."""
    if not storage.exists(storage.join(records, FILE)):
        unfinished(records)
    return Manifest.load(records)


def _check_shard(records: str, schema: Schema, split_and_entry: tuple[str, Shard]) -> ShardContents:
    return check_shard.check(records, *split_and_entry, schema)


def _map(
    check_one: Callable[[tuple[str, Shard]], ShardContents],
    entries: list[tuple[str, Shard]],
    num_workers: int,
) -> Iterator[ShardContents]:
    if num_workers == 1:
        yield from map(check_one, entries)
        return
    with Local(num_workers) as workers:
        yield from workers.map(check_one, entries, "checking shards")


def _against_manifest(
    records: str, manifest: Manifest, by_split: Mapping[str, Sequence[ShardContents]]
) -> Problems:
    """Compare the totals in the manifest with the sums over the shards."""
    problems = Problems(FILE)
    if manifest.fingerprint != manifest.schema.fingerprint:
        problems.add(
            f"its fingerprint is {manifest.fingerprint}, but the fingerprint of its schema is "
            f"{manifest.schema.fingerprint}"
        )
    named = Counter(shard.name for split in manifest.splits.values() for shard in split.shards)
    for name in (name for name, times in named.items() if times > 1):
        problems.add(f"it lists {name} {named[name]} times")
    for name, split in manifest.splits.items():
        if all(shard.complete for shard in by_split[name]):
            size = sum(shard.bytes for shard in split.shards)
            expected = check_shard.counts_by_name(split.photos, size, split.products, split.labels)
            counted = {**dict.fromkeys(expected, 0), **_sum(by_split[name])}
            problems.compare(f"the split {name}", expected, counted)
    rows = dict(manifest.rows)
    read, photos = rows.pop("read", 0), sum(split.photos for split in manifest.splits.values())
    expected = {"rows read": read, "photos written": manifest.photos.get("written", 0)}
    problems.compare(
        "the manifest", expected, {"rows read": sum(rows.values()), "photos written": photos}
    )
    try:
        similar = Counter(near.split for near in near_duplicates.read(records) or [])
    except InputError as error:
        problems.add(str(error))
    else:
        for name in manifest.splits:
            what = f"near duplicates of {name}"
            expected = {what: manifest.near_duplicates.get(name, 0)}
            problems.compare("the manifest", expected, {what: similar[name]})
    return problems


def _sum(shards: Sequence[ShardContents]) -> Counter[str]:
    total: Counter[str] = Counter()
    for shard in shards:
        total.update(shard.counts)
    return total


def _unlisted_files(records: str, shards: Sequence[str]) -> Iterator[Problems]:
    """Yield the problems of build files that the manifest does not list."""
    for folder, suffix in (("", ".tfrecord"), (f"{index.FOLDER}/", ".parquet")):
        known = {f"{name.rsplit('.', 1)[0]}{suffix}" for name in shards}
        for name in storage.names(storage.join(records, folder)):
            problems = Problems(folder + name)
            if name == WORK:
                problems.add("an unfinished build; rerun the build command to resume it")
            elif name.endswith((suffix, storage.TEMPORARY)) and name not in known:
                problems.add(f"not listed in {FILE}")
            yield problems


def _duplicates(shards: Mapping[str, tuple[str, pa.Table]]) -> Problems:
    """Find photos and groups in two splits, and photos that occur twice, from the index.

    Args:
      shards: split and photos by shard name.
    """
    problems = Problems("two records")
    names = list(shards)
    splits = [split for split, _ in shards.values()]
    tables = [table for _, table in shards.values()]
    if not sum(map(len, tables)):
        return problems
    photos = pa.concat_tables(tables).combine_chunks()
    shard_of = np.repeat(np.arange(len(shards)), [len(table) for table in tables])
    number = np.concatenate([np.arange(len(table)) for table in tables])
    _, split = np.unique(np.array(splits)[shard_of], return_inverse=True)

    def place(i: int) -> str:
        product = photos["product_id"][i].as_py()
        return f"record {number[i]} of {names[shard_of[i]]} (product {product!r})"

    for column, what in {"digest": "byte-identical photos", "group": "photos of one group"}.items():
        for i, j in zip(*_first_and_last(_codes(photos[column]), split)):
            if split[i] != split[j]:
                problems.add(f"{place(i)} and {place(j)} are {what} in two splits")
    index_of_photo = photos["image_index"].to_numpy()
    keys = _codes(photos["product_id"]) * (index_of_photo.max() + 1) + index_of_photo
    for i, j in zip(*_first_and_last(keys, split)):
        if i != j:
            problems.add(f"{place(i)} and {place(j)} are the same photo of the same product")
    return problems


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Return int64 codes: the position of each element among the distinct values."""
    return column.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)


def _first_and_last(keys: np.ndarray, split: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of each distinct key with the lowest and the highest split."""
    order = np.lexsort([split, keys])
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    return order[starts], order[np.append(starts[1:], len(order)) - 1]


def _contents(schema: Schema, by_split: Mapping[str, Sequence[ShardContents]]) -> str:
    """Format a table per split: shards, products, photos, MiB, photos with known labels."""
    sums = {name: _sum(shards) for name, shards in by_split.items()}
    for name, shards in by_split.items():
        sums[name]["shards"] = len(shards)
    sums["all"] = sum(sums.values(), Counter())
    rows = [["", *sums]]
    for key, title in {"shards": "shards", "products": "products", "records": "photos"}.items():
        rows.append([title, *(f"{total[key]:,}" for total in sums.values())])
    rows.append(["MiB", *(f"{total['bytes'] / 2**20:,.1f}" for total in sums.values())])
    for name in schema.names:
        known = [
            total[f"{name} answered"] + total[f"{name} not applicable"] for total in sums.values()
        ]
        photos = [max(1, total["records"]) for total in sums.values()]
        rows.append(
            [f"{name} known", *(f"{k:,} ({100 * k / n:.1f} %)" for k, n in zip(known, photos))]
        )
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))])
        for row in rows
    )
