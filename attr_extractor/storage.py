"""Files on a disk or in a bucket, reached in one way.

A path with a scheme, such as `gs://bucket/photos`, goes through TensorFlow's file system, any
other to the disk. A file that others rely on is written under a temporary name and renamed.
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

TEMPORARY = ".tmp"  # ends the name of a file that is being written


def is_remote(path: str | Path) -> bool:
    """Whether a path carries a scheme.

    Raises:
      InputError: the scheme is http or https: nothing is fetched from the web.
    """
    scheme, found, _ = str(path).partition("://")
    if found and scheme.lower() in ("http", "https"):
        raise InputError(f"{path}: a web address; nothing is fetched over {scheme.lower()}")
    return bool(found)


def join(folder: str | Path, name: str) -> str:
    """The path of a file below a folder."""
    return f"{str(folder).rstrip('/')}/{name}" if is_remote(folder) else str(Path(folder) / name)


def open_read(path: str | Path) -> BinaryIO:
    """A file opened for reading bytes; raises InputError where it cannot be."""
    try:
        if is_remote(path):
            return io.BytesIO(read(path))
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def read(path: str | Path) -> bytes:
    """All bytes of a file.

    Raises:
      OSError: as `open` raises it, FileNotFoundError for a file that does not exist, on either
        file system.
    """
    if not is_remote(path):
        return Path(path).read_bytes()
    with _as_os_errors(path), _gfile().GFile(str(path), "rb") as file:
        return cast(bytes, file.read())


@contextmanager
def whole(path: str | Path, workers: bool = False) -> Iterator[str]:
    """Gives a temporary name to write to, renamed to `path` at the end: whole or not there.

    Args:
      workers: whether several may write the same file: one whose build was killed is at it still,
        or a cluster tries it twice. Each then has a temporary name of its own.

    Raises:
      InputError: it cannot be written, a full disk among the reasons.
    """
    temporary = f"{path}.{uuid.uuid4().hex[:8]}{TEMPORARY}" if workers else f"{path}{TEMPORARY}"
    if exists(temporary):
        remove(temporary)  # not every file system starts anew where a file is written again
    try:
        with writable(path):
            yield temporary
            if is_remote(path):
                _gfile().rename(temporary, str(path), overwrite=True)
                return
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())  # or a power cut leaves a name without content
            os.replace(temporary, path)
    except InputError:
        if exists(temporary):
            remove(temporary)
        raise


@contextmanager
def writable(path: str | Path) -> Iterator[None]:
    """Tells in one line why a file or folder cannot be written; raises InputError."""
    try:
        with _as_os_errors(path):
            yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def write(path: str | Path, data: bytes, workers: bool = False) -> None:
    """Writes all bytes of a file, whole or not at all; arguments and errors as of `whole`."""
    with whole(path, workers) as temporary, open_write(temporary) as file:
        file.write(data)


def exists(path: str | Path) -> bool:
    """Whether there is a file or folder."""
    return bool(_gfile().exists(str(path))) if is_remote(path) else Path(path).exists()


def size(path: str | Path) -> int:
    """Bytes of a file; raises FileNotFoundError where there is none."""
    if not is_remote(path):
        return Path(path).stat().st_size
    with _as_os_errors(path):
        return int(_gfile().stat(str(path)).length)


def names(folder: str | Path) -> list[str]:
    """Sorted names of what is in a folder; none where it does not exist.

    Raises:
      InputError: it is a file, or may not be read.
    """
    if not exists(folder):
        return []
    try:
        with _as_os_errors(folder):
            found = _gfile().listdir(str(folder)) if is_remote(folder) else os.listdir(folder)
    except OSError as error:
        raise InputError(f"{folder}: not a folder to read: {error.strerror or error}") from error
    return sorted(name.rstrip("/") for name in found)


def make_folder(path: str | Path) -> None:
    """Makes a folder where there is none; raises InputError where it cannot be made."""
    try:
        with _as_os_errors(path):
            _gfile().makedirs(str(path)) if is_remote(path) else os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made: {error.strerror or error}") from error


def remove(path: str | Path) -> None:
    """Removes a file, or a folder with all that is in it."""
    if is_remote(path):
        (_gfile().rmtree if _gfile().isdir(str(path)) else _gfile().remove)(str(path))
    elif Path(path).is_dir():
        shutil.rmtree(path)
    else:
        os.remove(path)


def open_write(path: str) -> Any:
    """Open a file to write bytes; inside `whole` or `writable`, which tell what fails."""
    return _gfile().GFile(path, "wb") if is_remote(path) else open(path, "wb")


@contextmanager
def _as_os_errors(path: str | Path) -> Iterator[None]:
    """Turns what TensorFlow's file system raises, its record writer too, into OSError."""
    try:
        yield
    except Exception as error:
        tf = sys.modules.get("tensorflow")
        if tf is None or not isinstance(error, tf.errors.OpError):
            raise
        if isinstance(error, tf.errors.DataLossError):  # of what is read meanwhile
            raise
        if isinstance(error, tf.errors.NotFoundError):
            raise FileNotFoundError(errno.ENOENT, "does not exist", str(path)) from error
        raise OSError(errno.EIO, error.message.splitlines()[0], str(path)) from error


def _gfile() -> Any:
    import tensorflow as tf  # only where a path has a scheme

    return tf.io.gfile
