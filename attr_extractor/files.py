"""JSON, array and Parquet files: written whole or not at all, read with one line if broken."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from attr_extractor import storage
from attr_extractor.errors import InputError, require_file

if TYPE_CHECKING:
    import pyarrow as pa


def read_json(path: str | Path, what: str) -> Any:
    """The content of a JSON file; raises InputError where it is missing or not JSON."""
    if not storage.is_remote(path):
        require_file(path, what)
    with storage.open_read(path) as file:
        try:
            return json.loads(file.read())
        except (ValueError, OSError) as error:
            raise InputError(f"{path}: {what}: not a JSON file: {error}") from error


def write_json(path: str | Path, content: Any) -> None:
    """Writes JSON under a temporary name and renames it."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    storage.write(path, (text + "\n").encode())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file; raises InputError where it is not one."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not a readable weights file: {error}") from error


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an npz file under a temporary name and renames it."""
    with storage.whole(path) as temporary, open(temporary, "wb") as file:
        content: dict[str, Any] = {**arrays}  # NumPy 2 has a bool among its keywords
        np.savez(file, **content)


def read_table(path: str | Path, columns: list[str] | None = None) -> pa.Table:
    """The rows of a Parquet file; raises InputError where it is missing or not one."""
    import pyarrow as pa  # not needed to train or to serve
    import pyarrow.parquet as pq

    with storage.open_read(path) as file:
        try:
            # no file of Python's: Arrow's threads would let go of it as late as when the
            # interpreter ends, and a program that ends at once would be aborted
            source = (
                pa.BufferReader(file.read()) if storage.is_remote(path) else pa.OSFile(str(path))
            )
            return pq.read_table(source, columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: not a readable Parquet file: {error}") from error


def write_table(path: str | Path, table: pa.Table) -> None:
    """Writes a Parquet file under a temporary name of its own and renames it."""
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    storage.write(path, out.getvalue(), workers=True)


def digest(*paths: str | Path) -> str:
    """The XXH3 digest of the files' bytes, one after the other; 32 hex digits."""
    hashed = xxhash.xxh3_128()
    for path in paths:
        with storage.open_read(path) as file:
            while block := file.read(2**20):
                hashed.update(block)
    return hashed.hexdigest()
