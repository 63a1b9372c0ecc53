"""The output folder of a build: its contents before the build, its work folder, stale files.

Before a build, the folder is empty, or has an unfinished build or finished records.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attr_extractor import files, ownership, storage, yaml_files
from attr_extractor.catalogue.splits import SPLITS
from attr_extractor.errors import InputError
from attr_extractor.records import index
from attr_extractor.records.manifest import FILE, Manifest
from attr_extractor.records.plan import BuildOptions
from attr_extractor.schema import Schema

WORK = "work"  # folder of an unfinished build
RELABEL, ADD_SOURCES = FILE, "add-sources.json"  # in WORK, while shards are rewritten
_REWRITES = {RELABEL: "a --relabel", ADD_SOURCES: "add-sources"}
COLUMNS = ["product_id", "group", "category", "digest", "labels_digest"]
LISTS = ("rejects.csv", "label_issues.csv", "near_duplicates.csv", "report.html")
_OURS = re.compile(
    rf"{WORK}|{index.FOLDER}|({'|'.join(SPLITS)})-[a-z0-9-]+\.(tfrecord|parquet)"
    rf"|{'|'.join([*LISTS, FILE])}"
)
_TEMPORARY = re.compile(rf"(\.[0-9a-f]{{8}})?{re.escape(storage.TEMPORARY)}$")


def is_ours(name: str) -> bool:
    """Return whether a build writes files or folders of this name, temporary names included."""
    return ownership.is_lock(name) or bool(_OURS.fullmatch(_TEMPORARY.sub("", name)))


@dataclass(frozen=True)
class Existing:
    """Finished records in a folder; if `manifest` is None, there are none."""

    manifest: Manifest | None
    photos: pa.Table  # rows of the index, and `split`, the position in SPLITS

    @property
    def addition(self) -> int:
        """The number of the next build; 0 for the first."""
        return self.manifest.additions + 1 if self.manifest else 0

    def holds(self, products: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """Return whether each product is in the records."""
        return pc.is_in(products, value_set=pc.unique(self.photos["product_id"]))


def existing_records(records: str, schema: Schema, options: BuildOptions) -> Existing:
    """Return the existing records in the output folder of a build with these options.

    Raises:
      InputError: if the folder contains other files, or records built with another schema or
        options.
    """
    if not storage.exists(storage.join(records, FILE)):
        unfinished(records)
        for name in storage.names(records):
            if not is_ours(name):
                raise InputError(
                    f"{records}: the output folder contains {name!r}, which no build has written; "
                    "use a new folder"
                )
        return Existing(None, _with_split(index.read_photos(records, [], COLUMNS), 0))
    manifest = Manifest.read(records)
    if manifest.fingerprint != schema.fingerprint:
        raise InputError(
            f"{records}: these records were built with another schema (fingerprint "
            f"{manifest.fingerprint}, now {schema.fingerprint}); run with --relabel to update "
            "the labels, or build into a new folder"
        )
    if manifest.schema.text != schema.text:
        raise InputError(
            f"{records}: these records have the text of the columns {manifest.schema.text}, the "
            f"schema names {schema.text}; run with --relabel to replace it"
        )
    for name, value in options.model_dump(mode="json").items():
        if manifest.build.get(name) != value:
            raise InputError(
                f"{records}: these records were built with --{name} {manifest.build.get(name)}, "
                f"not {value}: rows can only be added with the same options"
            )
    return Existing(manifest, photos_of(records, manifest))


def photos_of(records: str, manifest: Manifest) -> pa.Table:
    """Return the index rows of the photos in finished records; see `Existing`."""
    tables = []
    for position, split in enumerate(SPLITS):
        shards = [shard.name for shard in manifest.splits[split].shards]
        tables.append(_with_split(index.read_photos(records, shards, COLUMNS), position))
    return pa.concat_tables(tables).combine_chunks()


def begin_rewrite(records: str, manifest: Manifest, marker: str) -> None:
    """Hide the records from other programs until their manifest is written again.

    Args:
      manifest: of the records, for the program that resumes.
      marker: RELABEL or ADD_SOURCES.
    """
    for other in _REWRITES.keys() - {marker}:
        stale = storage.join(records, f"{WORK}/{other}")
        if storage.exists(stale):  # of a program that changed no shard
            storage.remove(stale)
    content = manifest.model_dump(mode="json")
    files.write_json(storage.join(records, f"{WORK}/{marker}"), content)
    if storage.exists(storage.join(records, FILE)):
        storage.remove(storage.join(records, FILE))


def unfinished(records: str, resumes: str = "") -> Manifest | None:
    """Return the manifest of records that an interrupted program was rewriting, or None.

    Args:
      resumes: RELABEL or ADD_SOURCES, the program that resumes its own work.

    Raises:
      InputError: if another program was interrupted.
    """
    for marker, program in _REWRITES.items():
        path = storage.join(records, f"{WORK}/{marker}")
        if not storage.exists(path):
            continue
        if marker != resumes:
            raise InputError(f"{records}: {program} was interrupted here; run it again first")
        manifest = yaml_files.validate(Manifest, files.read_json(path, "the manifest"), path)
        manifest.require_usable(path)
        return manifest
    return None


def remove_stale_files(records: str, shards: list[str]) -> None:
    """Remove shards and index files that an interrupted build with another plan left."""
    keep = {WORK, *shards, *(f"{name.rsplit('.', 1)[0]}.parquet" for name in shards)}
    for folder in (records, storage.join(records, index.FOLDER)):
        for name in storage.names(folder):
            ends = (".tfrecord", ".parquet", storage.TEMPORARY)
            if name.endswith(ends) and name not in keep and is_ours(name):
                storage.remove(storage.join(folder, name))


@contextlib.contextmanager
def scratch(records: str) -> Iterator[Path]:
    """Create a local temporary folder for a build, inside the records if they are local."""
    local = None if storage.is_remote(records) else storage.join(records, WORK)
    with tempfile.TemporaryDirectory(dir=local) as folder:
        yield Path(folder)


def _with_split(photos: pa.Table, split: int) -> pa.Table:
    return photos.append_column("split", pa.array(np.full(len(photos), split, np.int8)))
