"""JSON, npz and Parquet files: written atomically; reading an invalid one raises InputError."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from attr_extractor import storage
from attr_extractor.errors import InputError, parsing, require_file

if TYPE_CHECKING:
    import pyarrow as pa

_HALF_A_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")  # also matches a whole pair, which is valid


def read_json(path: str | Path, what: str) -> Any:
    """Return the content of a JSON file; raise InputError if it is missing or not JSON."""
    if not storage.is_remote(path):
        require_file(path, what)
    with storage.open_read(path) as file, parsing(f"{path}: {what} cannot be read"):
        text = file.read()
    return parse_json(text, f"{path}: {what}")


def parse_json(text: bytes, origin: str) -> Any:
    """Parse JSON that can be written again: no NaN, no infinity, no half of a surrogate pair.

    Raises:
      InputError: if the text is not such JSON; the message names `origin`.
    """
    with parsing(f"{origin}: not a JSON file"):
        content = json.loads(text, parse_constant=_finite, parse_float=_finite)
        if _HALF_A_PAIR.search(text):
            json.dumps(content, ensure_ascii=False).encode()
    return content


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text} is not a finite number")
    return float(text)


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON atomically."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    storage.write(path, (text + "\n").encode())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file, all numbers finite; raise InputError if it is invalid."""
    with parsing(f"{path}: not a readable weights file"):
        content = np.load(path, allow_pickle=False)
    if not isinstance(content, np.lib.npyio.NpzFile):
        raise InputError(f"{path}: not a readable weights file: an .npy file; .npz is required")
    with content, parsing(f"{path}: not a readable weights file"):
        arrays = {name: content[name] for name in content.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            raise InputError(f"{path}: not a readable weights file: {name!r} is not numeric")
        if not np.isfinite(array).all():
            raise InputError(f"{path}: {name!r} contains NaN or infinity")
    return arrays


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an npz file atomically."""
    with storage.whole(path) as temporary, open(temporary, "wb") as file:
        content: dict[str, Any] = {**arrays}  # NumPy 2 types one keyword of savez as bool
        np.savez(file, **content)


def read_table(
    path: str | Path, columns: list[str] | None = None, optional: Collection[str] = ()
) -> pa.Table:
    """Return the rows of a Parquet file.

    Args:
      columns: the columns to read; by default all.
      optional: those of them that the file need not have.

    Raises:
      InputError: if the file is missing or invalid.
    """
    import pyarrow as pa  # not needed for training or serving
    import pyarrow.parquet as pq

    with storage.open_read(path) as file, parsing(f"{path}: not a readable Parquet file"):
        # not a Python file: Arrow's threads may release it as late as interpreter shutdown,
        # which aborts a program that exits immediately
        source = pa.BufferReader(file.read()) if storage.is_remote(path) else pa.OSFile(str(path))
        if columns and optional:
            held = pq.read_schema(source).names
            columns = [name for name in columns if name in held or name not in optional]
        table = pq.read_table(source, columns=columns)
        table.validate(full=True)  # detects invalid UTF-8, for example
        return table


def write_table(path: str | Path, table: pa.Table) -> None:
    """Write a Parquet file atomically; several workers may write it concurrently."""
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    storage.write(path, out.getvalue(), workers=True)


def digest(*paths: str | Path) -> str:
    """Return the XXH3 digest of the concatenated bytes of the files as 32 hex digits."""
    hashed = xxhash.xxh3_128()
    for path in paths:
        with storage.open_read(path) as file:
            while block := file.read(2**20):
                hashed.update(block)
    return hashed.hexdigest()
