"""The index beside every shard: one Parquet row per photo, and what the shard holds in numbers.

A shard counts as written once its index is there, because the index is written after it. The
index knows what the shard was made of, so a build that starts again sees what is done already,
and later rows find their place by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import List

import numpy as np
import pyarrow as pa

from attr_extractor import files, storage
from attr_extractor.errors import InputError
from attr_extractor.records.near_duplicates import HASH_BYTES

FOLDER = "index"
DIGEST = pa.binary(16)  # of a photo's raw bytes

COLUMNS = pa.schema(
    [
        ("product_id", pa.string()),
        ("group", pa.string()),
        ("category", pa.string()),  # "" where missing
        ("image", pa.string()),  # path below the image root
        ("image_index", pa.int64()),  # which photo of the product, from 0
        ("digest", DIGEST),
        ("perceptual_hash", pa.binary(HASH_BYTES)),
        ("labels_digest", pa.binary(8)),  # of the int8[V] in the record
        ("height", pa.int32()),  # stored photo, pixels
        ("width", pa.int32()),
        ("raw_height", pa.int32()),  # the seller's photo, upright
        ("raw_width", pa.int32()),
        ("raw_bytes", pa.int64()),
        ("format", pa.string()),  # what the raw bytes are, whatever the name says
    ]
)
_KEY = b"attr_extractor"  # in the Parquet file's metadata


@dataclass(frozen=True)
class Facts:
    """What a shard was made of, and what came of it."""

    made_of: str  # digest of the task that wrote the shard
    fingerprint: str  # of the schema of its labels
    records: int
    bytes: int
    products: int
    present: List[int]  # [V] photos with each value
    states: List[List[int]]  # [T][3] photos answered, not applicable, missing
    rejects: List[List[str]]  # product, image, reason of photos that could not be used


def path(records: str, shard: str) -> str:
    """Where the index of a shard is; `shard` is its file name."""
    return storage.join(records, f"{FOLDER}/{shard.rsplit('.', 1)[0]}.parquet")


def write(records: str, shard: str, photos: pa.Table, facts: Facts) -> None:
    """Writes the index of a shard, whole or not at all."""
    metadata = {_KEY: json.dumps(asdict(facts), ensure_ascii=False).encode()}
    table = photos.select(COLUMNS.names).cast(COLUMNS).replace_schema_metadata(metadata)
    files.write_table(path(records, shard), table)


def read_facts(records: str, shard: str) -> Facts | None:
    """The facts of a shard; None where it was not finished.

    Raises:
      InputError: the index is damaged, or a Parquet file of another kind.
    """
    where = path(records, shard)
    if not storage.exists(where):
        return None
    metadata = files.read_table(where, []).schema.metadata or {}
    try:
        return Facts(**json.loads(metadata[_KEY]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where} is not one that a build has written") from error


def require_facts(records: str, shard: str) -> Facts:
    """The facts of a shard that must be there; raises InputError where they are not."""
    facts = read_facts(records, shard)
    if facts is None:
        raise InputError(f"{path(records, shard)}: the index is missing; build the records again")
    return facts


def read(records: str, shards: Iterable[str], columns: list[str] | None = None) -> pa.Table:
    """The photos of several shards, in the order of their records; all columns by default."""
    names = columns or COLUMNS.names
    tables = [files.read_table(path(records, shard), names) for shard in shards]
    tables.append(COLUMNS.empty_table().select(names))
    return pa.concat_tables([table.replace_schema_metadata() for table in tables]).combine_chunks()


def hashes(photos: pa.Table) -> np.ndarray:
    """uint8 [N, HASH_BYTES]: the perceptual hashes of photos that `read` gave."""
    column = photos["perceptual_hash"].combine_chunks()
    data = np.frombuffer(column.buffers()[1] or b"", np.uint8)
    return data.reshape(-1, HASH_BYTES)[column.offset : column.offset + len(column)]
