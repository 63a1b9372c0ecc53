"""Uniform access to files on a disk or in a bucket.

A path with a scheme, such as `gs://bucket/photos`, goes through TensorFlow's file system, any
other to the disk. A file that other programs read is written under a temporary name and renamed.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from attr_extractor.errors import InputError

TEMPORARY = ".tmp"  # suffix of a file that is being written


def is_remote(path: str | Path) -> bool:
    """Return whether a path has a scheme.

    Raises:
      InputError: if the scheme is http or https: nothing is downloaded from the web.
    """
    scheme, separator, _ = str(path).partition("://")
    if separator and scheme.lower() in ("http", "https"):
        raise InputError(f"{path}: a web address; nothing is fetched over {scheme.lower()}")
    return bool(separator)


def join(folder: str | Path, name: str) -> str:
    """Return the path of a file below a folder."""
    return f"{str(folder).rstrip('/')}/{name}" if is_remote(folder) else str(Path(folder) / name)


def open_read(path: str | Path) -> BinaryIO:
    """Open a file for reading bytes; raise InputError if that fails."""
    try:
        if is_remote(path):
            return io.BytesIO(read(path))
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def read(path: str | Path) -> bytes:
    """Return all bytes of a file.

    Raises:
      OSError: like `open`, on either file system; FileNotFoundError if the file does not exist.
    """
    if not is_remote(path):
        return Path(path).read_bytes()
    with _as_os_errors(path), _gfile().GFile(str(path), "rb") as file:
        return cast(bytes, file.read())


@contextmanager
def whole(path: str | Path, workers: bool = False) -> Iterator[str]:
    """Yield a temporary name to write to; rename it to `path` at the end, atomically.

    Args:
      workers: whether several workers may write the same file, for example because one outlives
        its killed build or a cluster retries a task. Each then uses its own temporary name.

    Raises:
      InputError: if it cannot be written, for example because the disk is full.
    """
    temporary = f"{path}.{uuid.uuid4().hex[:8]}{TEMPORARY}" if workers else f"{path}{TEMPORARY}"
    if exists(temporary):
        remove(temporary)  # not every file system truncates a file that is written again
    try:
        with writable(path):
            yield temporary
            if is_remote(path):
                _gfile().rename(temporary, str(path), overwrite=True)
                return
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())  # otherwise a power cut can leave an empty file
            os.replace(temporary, path)
    except InputError:
        if exists(temporary):
            remove(temporary)
        raise


@contextmanager
def writable(path: str | Path) -> Iterator[None]:
    """Convert errors of writing a file or folder into a one-line InputError."""
    try:
        with _as_os_errors(path):
            yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def write(path: str | Path, data: bytes, workers: bool = False) -> None:
    """Write all bytes of a file atomically; see `whole` for arguments and errors."""
    with whole(path, workers) as temporary, open_write(temporary) as file:
        file.write(data)


def exists(path: str | Path) -> bool:
    """Return whether a file or folder exists."""
    return bool(_gfile().exists(str(path))) if is_remote(path) else Path(path).exists()


def size(path: str | Path) -> int:
    """Return the size of a file in bytes; raise FileNotFoundError if it does not exist."""
    if not is_remote(path):
        return Path(path).stat().st_size
    with _as_os_errors(path):
        return int(_gfile().stat(str(path)).length)


def names(folder: str | Path) -> list[str]:
    """Return the sorted names in a folder, an empty list if it does not exist.

    Raises:
      InputError: if it is a file or unreadable.
    """
    if not exists(folder):
        return []
    try:
        with _as_os_errors(folder):
            listed = _gfile().listdir(str(folder)) if is_remote(folder) else os.listdir(folder)
    except OSError as error:
        raise InputError(f"{folder}: not a readable folder: {error.strerror or error}") from error
    return sorted(name.rstrip("/") for name in listed)


def make_folder(path: str | Path) -> None:
    """Create a folder if it does not exist; raise InputError if that fails."""
    try:
        with _as_os_errors(path):
            _gfile().makedirs(str(path)) if is_remote(path) else os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be created: {error.strerror or error}") from error


def remove(path: str | Path) -> None:
    """Remove a file, or a folder with its contents."""
    if is_remote(path):
        (_gfile().rmtree if _gfile().isdir(str(path)) else _gfile().remove)(str(path))
    elif Path(path).is_dir():
        shutil.rmtree(path)
    else:
        os.remove(path)


def open_write(path: str) -> Any:
    """Open a file for writing bytes; use inside `whole` or `writable`, which convert errors."""
    return _gfile().GFile(path, "wb") if is_remote(path) else open(path, "wb")


@contextmanager
def _as_os_errors(path: str | Path) -> Iterator[None]:
    """Convert errors of TensorFlow's file system and record writer into OSError."""
    try:
        yield
    except Exception as error:
        tf = sys.modules.get("tensorflow")
        if tf is None or not isinstance(error, tf.errors.OpError):
            raise
        if isinstance(error, tf.errors.DataLossError):  # from a file that is read inside the block
            raise
        if isinstance(error, tf.errors.NotFoundError):
            raise FileNotFoundError(errno.ENOENT, "does not exist", str(path)) from error
        raise OSError(errno.EIO, error.message.splitlines()[0], str(path)) from error


def _gfile() -> Any:
    import tensorflow as tf  # only needed for a path with a scheme

    return tf.io.gfile
