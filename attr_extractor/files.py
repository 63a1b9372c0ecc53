"""JSON, array and Parquet files: written whole or not at all, read with one line if broken."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from attr_extractor import storage
from attr_extractor.errors import InputError, parsing, require_file

if TYPE_CHECKING:
    import pyarrow as pa

_HALF_A_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")  # or a whole one, which is fine


def read_json(path: str | Path, what: str) -> Any:
    """The content of a JSON file; raises InputError where it is missing or not JSON."""
    if not storage.is_remote(path):
        require_file(path, what)
    with storage.open_read(path) as file, parsing(f"{path}: {what} cannot be read"):
        text = file.read()
    return parse_json(text, f"{path}: {what}")


def parse_json(text: bytes, origin: str) -> Any:
    """Parse JSON that can be written again: no NaN, no infinity, no half of a surrogate pair.

    Raises:
      InputError: naming `origin`, where it is no such text.
    """
    with parsing(f"{origin}: not a JSON file"):
        content = json.loads(text, parse_constant=_finite, parse_float=_finite)
        if _HALF_A_PAIR.search(text):
            json.dumps(content, ensure_ascii=False).encode()
    return content


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text} is no number")
    return float(text)


def write_json(path: str | Path, content: Any) -> None:
    """Writes JSON under a temporary name and renames it."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    storage.write(path, (text + "\n").encode())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file, all of finite numbers; raises InputError where it is not one."""
    with parsing(f"{path}: not a readable weights file"):
        content = np.load(path, allow_pickle=False)
    if not isinstance(content, np.lib.npyio.NpzFile):
        raise InputError(f"{path}: not a readable weights file: an .npy file, .npz is needed")
    with content, parsing(f"{path}: not a readable weights file"):
        arrays = {name: content[name] for name in content.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            raise InputError(f"{path}: not a readable weights file: {name!r} holds no numbers")
        if not np.isfinite(array).all():
            raise InputError(f"{path}: {name!r} holds a NaN or an infinity")
    return arrays


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an npz file under a temporary name and renames it."""
    with storage.whole(path) as temporary, open(temporary, "wb") as file:
        content: dict[str, Any] = {**arrays}  # NumPy 2 has a bool among its keywords
        np.savez(file, **content)


def read_table(path: str | Path, columns: list[str] | None = None) -> pa.Table:
    """The rows of a Parquet file; raises InputError where it is missing or not one."""
    import pyarrow as pa  # not needed to train or to serve
    import pyarrow.parquet as pq

    with storage.open_read(path) as file, parsing(f"{path}: not a readable Parquet file"):
        # no file of Python's: Arrow's threads would let go of it as late as when the
        # interpreter ends, and a program that ends at once would be aborted
        source = pa.BufferReader(file.read()) if storage.is_remote(path) else pa.OSFile(str(path))
        table = pq.read_table(source, columns=columns)
        table.validate(full=True)  # broken UTF-8, say
        return table


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
