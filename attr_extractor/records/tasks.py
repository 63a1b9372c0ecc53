"""Tasks of a build, run in worker processes: hash photos, and write shards.

A task is a file, and so is its result. A resumed build skips every task whose result exists.
Photos are hashed first, because identical photos share a split.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, List

import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import xxhash

from attr_extractor import files, storage
from attr_extractor.catalogue import photos, raw_files
from attr_extractor.records import example, index, near_duplicates, rows
from attr_extractor.records.runner import Runner

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
        ("text", pa.string()),
    ]
)
PHOTOS_PER_HASH_TASK = 512
TODO = ".todo.parquet"  # ends the name of a hash task
_HASHES = pa.schema([("path", pa.string()), ("digest", index.DIGEST)])
_KEY = b"attr_extractor"  # in the metadata of a task file


def photo_digest(data: bytes) -> bytes:
    """Return the 16-byte digest of a photo's raw bytes."""
    return xxhash.xxh3_128(data).digest()  # ten times faster than a SHA


def hash_photos(paths: pa.Array, image_root: str, folder: str, runner: Runner) -> pa.Array:
    """Return the digest of every photo, in the order of `paths`, which are distinct.

    An unreadable photo gets a digest of its path; the shard writer rejects it with a reason.

    Args:
      folder: the folder that holds the digests of this build.
    """
    # one subfolder per image root: a resumed build may use another root
    folder = storage.join(folder, photo_digest(image_root.encode()).hex()[:8])
    storage.make_folder(folder)
    known = _known_digests(folder)
    todo = paths.filter(pc.invert(pc.is_in(paths, value_set=known["path"])))
    first = max((int(name.split(".")[0]) for name in storage.names(folder)), default=-1) + 1
    tasks: list[str] = []
    for start in range(0, len(todo), PHOTOS_PER_HASH_TASK):
        part = pa.table({"path": todo.slice(start, PHOTOS_PER_HASH_TASK)})
        part = part.replace_schema_metadata({"image_root": image_root})
        tasks.append(storage.join(folder, f"{first + len(tasks):06d}{TODO}"))
        files.write_table(tasks[-1], part)
    runner.run(write_digests, tasks, "hashing photos")
    known = _known_digests(folder)
    digests = known["digest"].combine_chunks().take(pc.index_in(paths, value_set=known["path"]))
    unreadable = pc.is_null(digests)
    names = paths.filter(unreadable).to_pylist()
    by_path = [photo_digest(b"unreadable " + name.encode()) for name in names]
    return pc.replace_with_mask(digests, unreadable, pa.array(by_path, index.DIGEST))


def write_digests(task: str) -> None:
    """Write the digests of a task's readable photos next to the task file."""
    todo = files.read_table(task)
    image_root = todo.schema.metadata[b"image_root"].decode()
    raw_files.require_root(image_root)  # on another host a folder may be missing
    digests: dict[str, bytes] = {}
    for path in todo["path"].to_pylist():
        with contextlib.suppress(photos.PhotoError):  # the shard writer reports the reason
            digests[path] = photo_digest(photos.read_raw(image_root, path))
    done = pa.table([list(digests), list(digests.values())], schema=_HASHES)
    files.write_table(task.replace(TODO, ".parquet"), done)


def _known_digests(folder: str) -> pa.Table:
    tables = [_HASHES.empty_table()]
    for name in storage.names(folder):
        if name.endswith(".parquet") and not name.endswith(TODO):
            tables.append(files.read_table(storage.join(folder, name)))
    return pa.concat_tables(tables).combine_chunks()


@dataclass(frozen=True)
class ShardTask:
    """Destination of a shard, and how its photos are stored."""

    records: str
    shard: str  # file name
    image_root: str
    image_size: int
    fingerprint: str
    sizes: List[int]  # number of values per attribute


def plan_shard(path: str, task: ShardTask, listed: pa.Table) -> bool:
    """Write the task file of a shard, or return False if the shard already exists.

    Args:
      path: path of the task file.
      listed: the shard's photos, COLUMNS.
    """
    listed = listed.cast(COLUMNS).combine_chunks()
    made_of = _digest(task, listed)
    summary = index.read_summary(task.records, task.shard)
    shard_path = storage.join(task.records, task.shard)
    if summary and summary.made_of == made_of and storage.exists(shard_path):
        return False
    metadata = {_KEY: json.dumps({"task": asdict(task), "made_of": made_of})}
    files.write_table(path, listed.replace_schema_metadata(metadata))
    return True


def write_shard(task_path: str) -> None:
    """Write the shard of a task file, then its index.

    Raises:
      InputError: if the shard cannot be written, for example because the disk is full.
    """
    photos.silence_pillow()  # in a worker process
    listed = files.read_table(task_path)
    content = json.loads(listed.schema.metadata[_KEY])
    task = ShardTask(**content["task"])
    raw_files.require_root(task.image_root)
    written: list[dict[str, Any]] = []
    codes: list[bytes] = []
    rejects: list[list[str]] = []
    path = storage.join(task.records, task.shard)
    with storage.whole(path, workers=True) as temporary, tf.io.TFRecordWriter(temporary) as writer:
        for row in listed.to_pylist():
            try:
                data = photos.read_raw(task.image_root, row["image"])
                if photo_digest(data) != row["digest"]:
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
                "text": row["text"].encode(),
            }
            writer.write(example.serialize(record))
            codes.append(row["labels"])
            digest = index.labels_digest(row["labels"])
            written.append({**row, **_photo_columns(photo, data), "labels_digest": digest})
    summary = index.ShardSummary(
        made_of=content["made_of"],
        fingerprint=task.fingerprint,
        records=len(written),
        bytes=storage.size(path),
        products=len({row["product_id"] for row in written}),
        rejects=rejects,
        **index.total_labels(codes, task.sizes)._asdict(),
    )
    table = pa.Table.from_pylist(written, index.COLUMNS)
    index.write_index(task.records, task.shard, table, summary)


def _photo_columns(photo: photos.StoredPhoto, data: bytes) -> dict[str, Any]:
    """Return the index columns of a photo."""
    names = ("height", "width", "raw_height", "raw_width", "format", "color_profile")
    return {
        **{name: getattr(photo, name) for name in names},
        "raw_bytes": len(data),
        "perceptual_hash": near_duplicates.perceptual_hash(photo.pixels),
    }


def _digest(task: ShardTask, listed: pa.Table) -> str:
    """Return the digest of a shard's inputs: its photos, their labels and how they are stored."""
    policy = [task.image_size, photos.JPEG_QUALITY, task.fingerprint]
    digest = hashlib.blake2b(json.dumps(policy).encode(), digest_size=16)
    for column in listed.columns:
        for value in column.to_pylist():
            part = value if isinstance(value, bytes) else str(value).encode()
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
