"""Write one shard atomically from its task file: a TFRecord file of photos and its index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, List

import numpy as np
import pyarrow as pa
import tensorflow as tf

from attr_extractor import files, labels, storage
from attr_extractor.catalogue import photos
from attr_extractor.records import digests, example, index, near_duplicates, rows

COLUMNS = pa.schema(  # of a task: one row per photo, in record order
    [
        ("product_id", pa.string()),
        ("group", pa.string()),
        ("category", pa.string()),
        ("image", pa.string()),
        ("image_index", pa.int64()),
        ("box", rows.BOX),  # four cells, or none
        ("digest", index.DIGEST),
        ("labels", pa.binary()),  # int8[V]
    ]
)
_KEY = b"attr_extractor"


@dataclass(frozen=True)
class Task:
    """Destination of a shard, and how its photos are stored."""

    records: str
    shard: str  # file name
    image_root: str
    image_size: int
    fingerprint: str
    sizes: List[int]  # number of values per attribute


def plan(path: str, task: Task, listed: pa.Table) -> bool:
    """Write the task file of a shard, or return False if the shard already exists.

    Args:
      path: path of the task file.
      listed: the shard's photos, COLUMNS.
    """
    listed = listed.cast(COLUMNS).combine_chunks()
    made_of = _digest(task, listed)
    facts = index.read_facts(task.records, task.shard)
    shard_path = storage.join(task.records, task.shard)
    if facts and facts.made_of == made_of and storage.exists(shard_path):
        return False
    metadata = {_KEY: json.dumps({"task": asdict(task), "made_of": made_of})}
    files.write_table(path, listed.replace_schema_metadata(metadata))
    return True


def write(task_path: str) -> None:
    """Write the shard of a task file, then its index.

    Raises:
      InputError: if the shard cannot be written, for example because the disk is full.
    """
    listed = files.read_table(task_path)
    content = json.loads(listed.schema.metadata[_KEY])
    task = Task(**content["task"])
    written: list[dict[str, Any]] = []
    codes: list[bytes] = []
    rejects: list[list[str]] = []
    path = storage.join(task.records, task.shard)
    with storage.whole(path, workers=True) as temporary, tf.io.TFRecordWriter(temporary) as writer:
        for row in listed.to_pylist():
            try:
                data = photos.read_raw(task.image_root, row["image"])
                if digests.of_bytes(data) != row["digest"]:
                    raise photos.PhotoError(photos.CHANGED)
                photo = photos.store(data, task.image_size, photos.parse_box(row["box"]))
            except photos.PhotoError as error:
                rejects.append([row["product_id"], row["image"], str(error)])
                continue
            record = {
                "image/encoded": photo.encoded,
                "image/height": photo.height,
                "image/width": photo.width,
                "image/index": row["image_index"],
                "product_id": row["product_id"].encode(),
                "labels": row["labels"],
            }
            writer.write(example.serialize(record))
            codes.append(row["labels"])
            digest = labels_digest(row["labels"])
            written.append({**row, **_facts(photo, data), "labels_digest": digest})
    facts = index.ShardFacts(
        made_of=content["made_of"],
        fingerprint=task.fingerprint,
        records=len(written),
        bytes=storage.size(path),
        products=len({row["product_id"] for row in written}),
        rejects=rejects,
        **counts(codes, task.sizes),
    )
    table = pa.Table.from_pylist(written, index.COLUMNS)
    index.write(task.records, task.shard, table, facts)


def labels_digest(codes: bytes) -> bytes:
    """Return the 8-byte digest of a photo's labels, int8[V] as bytes."""
    return hashlib.blake2b(codes, digest_size=8).digest()


def counts(codes: Sequence[bytes], sizes: Sequence[int]) -> dict[str, list]:
    """Count `present` and `states` of a shard.

    Args:
      codes: labels of every photo, int8[V] as bytes.
      sizes: number of values per attribute.
    """
    table = np.frombuffer(b"".join(codes), np.int8).reshape(len(codes), sum(sizes))
    return {
        "present": (table == labels.PRESENT).sum(axis=0).tolist(),
        "states": labels.states(table, sizes).sum(axis=0).tolist(),
    }


def _facts(photo: photos.StoredPhoto, data: bytes) -> dict[str, Any]:
    """Return the index columns of a photo."""
    names = ("height", "width", "raw_height", "raw_width", "format")
    return {
        **{name: getattr(photo, name) for name in names},
        "raw_bytes": len(data),
        "perceptual_hash": near_duplicates.perceptual_hash(photo.pixels),
    }


def _digest(task: Task, listed: pa.Table) -> str:
    """Return the digest of a shard's inputs: its photos, their labels and how they are stored."""
    policy = [task.image_size, photos.JPEG_QUALITY, task.fingerprint]
    digest = hashlib.blake2b(json.dumps(policy).encode(), digest_size=16)
    for column in listed.columns:
        for value in column.to_pylist():
            part = value if isinstance(value, bytes) else str(value).encode()
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
