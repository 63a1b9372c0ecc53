"""Digests that link artifacts: weights -> thresholds -> model.json -> cells, served answers.

Every file stores the digest of its source, and every reader verifies it. No TensorFlow.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from attr_extractor import files, storage, working_copy
from attr_extractor.errors import require_file

_SETTLED = 10**9  # nanoseconds since the last change of a file whose digest is kept
_IGNORED_KEYS = ("name", "parts", "digest")  # keys of model.json that do not affect the answers


def weights_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return 32 hex digits over the names, dtypes, shapes and values of a network's arrays."""
    hashed = xxhash.xxh3_128()
    for name in sorted(arrays):
        array = arrays[name]
        hashed.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        hashed.update(array.tobytes())
    return str(hashed.hexdigest())


def run_weights_digest(run_dir: str | Path) -> str:
    """Return the digest of a run's weights.npz; raise InputError if it is missing or unreadable.

    The file is read once while it is unchanged: its inode and the time of its last change are those
    of the last call. A file that changed within the last second is read again, because two changes
    may have the same time.
    """
    path = working_copy.file(storage.join(os.fspath(run_dir), "weights.npz"))
    require_file(path, "the run's weights (is it trained?)")
    status = path.stat()
    if time.time_ns() - status.st_ctime_ns < _SETTLED:
        return weights_digest(files.read_arrays(path))
    return _digest_of_unchanged(path, status.st_ino, status.st_size, status.st_ctime_ns)


@functools.lru_cache(maxsize=16)
def _digest_of_unchanged(path: Path, *_identity: int) -> str:
    return weights_digest(files.read_arrays(path))


def description_digest(content: Mapping[str, Any]) -> str:
    """Return 32 hex digits over the keys of model.json that decide the model's answers.

    Computed over the content as written, so a key that a later version adds changes no digest.
    """
    content = {name: value for name, value in content.items() if name not in _IGNORED_KEYS}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
