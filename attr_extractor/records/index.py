"""The index of every shard: one Parquet row per photo, and the counts of the shard.

The index is written after its shard, so a shard counts as written once its index exists. The index
contains a digest of the shard's inputs, which lets a resumed build skip finished shards, and the
groups and digests that assign later rows to splits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, List, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash
from pydantic import Field

from attr_extractor import files, labels, storage, yaml_files
from attr_extractor.errors import InputError
from attr_extractor.records import manifest
from attr_extractor.records.near_duplicates import HASH_BYTES
from attr_extractor.schema import Schema, require_same

FOLDER = "index"
DIGEST = pa.binary(16)  # of a photo's raw bytes

COLUMNS = pa.schema(
    [
        ("product_id", pa.string()),
        ("group", pa.string()),
        ("category", pa.string()),  # "" if missing
        ("image", pa.string()),  # path below the image root
        ("image_index", pa.int64()),  # index of the photo within the product, from 0
        ("digest", DIGEST),
        ("perceptual_hash", pa.binary(HASH_BYTES)),
        ("labels_digest", pa.binary(8)),  # of the int8[V] in the record
        ("height", pa.int32()),  # stored photo, pixels
        ("width", pa.int32()),
        ("raw_height", pa.int32()),  # the seller's photo, upright
        ("raw_width", pa.int32()),
        ("raw_bytes", pa.int64()),
        ("format", pa.string()),  # detected from the raw bytes, not from the file name
        ("color_profile", pa.string()),  # "" if none or sRGB, or NOT_RECORDED
    ]
)
_ADDED = ("color_profile",)  # texts that older releases did not write
NOT_RECORDED = "not recorded"  # in their place
_KEY = b"attr_extractor"  # in the Parquet file's metadata


Three = Field(min_length=3, max_length=3)


class ShardSummary(yaml_files.Model):
    """Inputs and counts of a shard."""

    made_of: str  # digest of the task that wrote the shard
    fingerprint: str  # of the schema of its labels
    records: yaml_files.Count
    bytes: yaml_files.Count
    products: yaml_files.Count
    present: List[yaml_files.Count]  # [V] photos with each value
    # [T][3] photos answered, not applicable, missing
    states: List[Annotated[List[yaml_files.Count], Three]]
    soft: List[yaml_files.Count] = []  # [T] photos with soft labels; empty without any
    # product, image, reason of photos that could not be used
    rejects: List[Annotated[List[str], Three]]


def path(records: str, shard: str) -> str:
    """Return the path of a shard's index; `shard` is its file name."""
    return storage.join(records, f"{FOLDER}/{shard.rsplit('.', 1)[0]}.parquet")


def write_index(records: str, shard: str, photos: pa.Table, summary: ShardSummary) -> None:
    """Write the index of a shard atomically."""
    metadata = {_KEY: json.dumps(summary.model_dump(), ensure_ascii=False).encode()}
    table = photos.select(COLUMNS.names).cast(COLUMNS).replace_schema_metadata(metadata)
    files.write_table(path(records, shard), table)


def read_summary(records: str, shard: str, schema: Schema | None = None) -> ShardSummary | None:
    """Return the summary of a shard, or None if it was not finished.

    Args:
      schema: if given and the summary have its fingerprint, their counts must match its sizes.

    Raises:
      InputError: if the index is damaged, or is not an index.
    """
    where = path(records, shard)
    if not storage.exists(where):
        return None
    metadata = files.read_table(where, []).schema.metadata or {}
    content = files.parse_json(metadata.get(_KEY, b"null"), _strange(where))
    summary = yaml_files.validate(ShardSummary, content, _strange(where))
    if schema and summary.fingerprint == schema.fingerprint:
        counted = [len(summary.present), len(summary.states)]
        if counted != [schema.num_values, len(schema.names)]:
            raise InputError(f"{_strange(where)}: its label counts do not match the schema")
        if summary.soft and len(summary.soft) != len(schema.names):
            raise InputError(f"{_strange(where)}: its soft labels do not match the schema")
    return summary


def require_summary(records: str, shard: str, schema: Schema | None = None) -> ShardSummary:
    """Return the summary of a finished shard; see `read_summary`.

    Raises:
      InputError: if the summary are missing, unreadable, or have another schema than the given one.
    """
    summary, where = read_summary(records, shard, schema), path(records, shard)
    if summary is None:
        raise InputError(f"{where}: the index is missing; build the records again")
    if schema:
        require_same(summary.fingerprint, schema, where)
    return summary


def read_photos(records: str, shards: Iterable[str], columns: list[str] | None = None) -> pa.Table:
    """Return the photos of several shards, in the order of their records; by default all columns.

    Raises:
      InputError: if an index is missing, damaged, or not an index.
    """
    names = columns or COLUMNS.names
    tables = [COLUMNS.empty_table().select(names)]
    for where in (path(records, shard) for shard in shards):
        table = files.read_table(where, names, _ADDED).replace_schema_metadata()
        for added in set(names) - set(table.column_names):
            table = table.append_column(added, pa.array([NOT_RECORDED] * len(table), pa.string()))
        table = table.select(names)
        if table.schema != tables[0].schema or any(c.null_count for c in table.columns):
            raise InputError(f"{_strange(where)}: unexpected columns, or an empty cell")
        tables.append(table)
    return pa.concat_tables(tables).combine_chunks()


def photos_digest(records: str, of: manifest.Manifest, shards: Iterable[str]) -> str:
    """Return 32 hex digits over the stored photos of shards and their order, not their labels."""
    columns = ["product_id", "image_index", "digest", "height", "width"]
    policy = f"{of.image_policy} {of.build}"
    return table_digest(read_photos(records, shards, columns), policy)


def table_digest(table: pa.Table, text: str = "") -> str:
    """Return 32 hex digits over the contents of a table, and a text."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    hashed = xxhash.xxh3_128(text.encode())
    hashed.update(sink.getvalue())
    return str(hashed.hexdigest())


def _strange(where: str) -> str:
    return f"{where} is not an index written by a build"


def hashes(photos: pa.Table) -> np.ndarray:
    """Return uint8 [N, HASH_BYTES], the perceptual hashes of photos from `read_photos`."""
    column = photos["perceptual_hash"].combine_chunks()
    data = np.frombuffer(column.buffers()[1] or b"", np.uint8)
    return data.reshape(-1, HASH_BYTES)[column.offset : column.offset + len(column)]


def labels_digest(codes: bytes) -> bytes:
    """Return the 8-byte digest of a photo's labels, int8[V] as bytes."""
    return hashlib.blake2b(codes, digest_size=8).digest()


class LabelTotals(NamedTuple):
    """Photos of a shard by their labels; the fields of the same names of ShardSummary."""

    present: list[int]  # [V]
    states: list[list[int]]  # [T][3]
    soft: list[int]  # [T], empty if no photo has soft labels


def total_labels(
    codes: Sequence[bytes], sizes: Sequence[int], soft: Sequence[Sequence[int]] = ()
) -> LabelTotals:
    """Count the labels of a shard.

    Args:
      codes: labels of every photo, int8[V] as bytes.
      sizes: number of values per attribute.
      soft: positions in V of every photo's soft labels.
    """
    matrix = np.frombuffer(b"".join(codes), np.int8).reshape(len(codes), sum(sizes))
    states = labels.states(matrix, sizes)  # [R, T, 3]
    has_soft = np.zeros(states.shape[:2], bool)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    for photo, values in enumerate(soft):
        has_soft[photo, owner[list(values)]] = True
    counted = (has_soft & states[:, :, 2]).sum(axis=0)  # a label that is known replaces soft ones
    return LabelTotals(
        (matrix == labels.PRESENT).sum(axis=0).tolist(),
        states.sum(axis=0).tolist(),
        counted.tolist() if counted.any() else [],
    )


def sum_shards(schema: Schema, shards: Mapping[str, ShardSummary]) -> manifest.Split:
    """Return the manifest entry of a split.

    Args:
      shards: the summaries of its shards by file name.
    """
    present = np.zeros(schema.num_values, np.int64)
    states = np.zeros([len(schema.attributes), 3], np.int64)
    soft = np.zeros(len(schema.attributes), np.int64)
    for shard in shards.values():
        present += shard.present
        states += shard.states
        soft += shard.soft or 0
    return manifest.Split(
        shards=[
            manifest.Shard(name=name, records=shard.records, bytes=shard.bytes)
            for name, shard in shards.items()
        ],
        products=sum(shard.products for shard in shards.values()),
        photos=sum(shard.records for shard in shards.values()),
        labels=manifest.count_by_attribute(schema, present, states, soft),
    )
