"""Uniform access to files on a disk or in a bucket.

A path with a scheme, such as `gs://bucket/photos` or `s3://bucket/photos`, goes through fsspec, any
other to the disk. A file appears whole or not at all: on a disk it is written under a temporary
name and renamed, in a bucket it is one put. Buckets have no folders, only keys that start alike.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import fsspec

from attr_extractor.errors import InputError

TEMPORARY = ".tmp"  # suffix of a file that is being written
_PATIENCE = 60.0  # seconds without a byte, after which a request is repeated
_EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs"}  # of this package, by scheme


class Object(NamedTuple):
    """A file in a bucket."""

    size: int  # bytes
    version: str  # changes with the content; also if the same content is written again


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


def parent(path: str | Path) -> str:
    """Return the path of the folder of a file."""
    return str(path).rstrip("/").rpartition("/")[0] if is_remote(path) else str(Path(path).parent)


def file_name(path: str | Path) -> str:
    """Return the last part of a path."""
    return str(path).rstrip("/").rpartition("/")[2] if is_remote(path) else Path(path).name


def resolve(path: str | Path) -> str:
    """Return the full path of a file or folder; an address in a bucket is one already."""
    return str(path).rstrip("/") if is_remote(path) else str(Path(path).resolve())


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
      OSError: like `open`, in either place; FileNotFoundError if the file does not exist.
    """
    if not is_remote(path):
        return Path(path).read_bytes()
    fs, key = file_system(path)
    with calls_of(path):
        return cast(bytes, fs.cat_file(key))


@contextmanager
def whole(path: str | Path, workers: bool = False) -> Iterator[str]:
    """Yield a temporary file on the disk to write to; at the end it becomes `path`, atomically.

    Args:
      workers: whether several workers may write the same file, for example because one outlives
        its killed build or a cluster retries a task. Each then uses its own temporary name.

    Raises:
      InputError: if it cannot be written, for example because the disk is full.
    """
    if is_remote(path):
        with tempfile.TemporaryDirectory() as scratch, writable(path):
            temporary = os.path.join(scratch, file_name(path))
            yield temporary
            upload(temporary, path)
        return
    temporary = f"{path}.{uuid.uuid4().hex[:8]}{TEMPORARY}" if workers else f"{path}{TEMPORARY}"
    if exists(temporary):
        remove(temporary)
    try:
        with writable(path):
            yield temporary
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
    if is_remote(path):
        fs, key = file_system(path)
        with writable(path), calls_of(path):
            fs.pipe_file(key, data)
        return
    with whole(path, workers) as temporary, open(temporary, "wb") as file:
        file.write(data)


def upload(file: str | Path, path: str | Path) -> None:
    """Copy a file on the disk into a bucket; raise OSError if that fails."""
    fs, key = file_system(path)
    with calls_of(path):
        fs.put_file(str(file), key)


def download(path: str | Path, file: str | Path) -> None:
    """Copy a file in a bucket to the disk; raise OSError if that fails."""
    fs, key = file_system(path)
    with calls_of(path):
        fs.get_file(key, str(file))


def exists(path: str | Path) -> bool:
    """Return whether a file exists, or a folder; in a bucket a folder exists if it has a file.

    Raises:
      InputError: if the bucket cannot be read.
    """
    if not is_remote(path):
        return Path(path).exists()
    try:
        _info(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    return True


def size(path: str | Path) -> int:
    """Return the size of a file in bytes; raise FileNotFoundError if it does not exist."""
    return int(_info(path)["size"]) if is_remote(path) else Path(path).stat().st_size


def size_and_version(path: str | Path) -> Object:
    """Return the size and version of a file in a bucket; raise FileNotFoundError without one."""
    info = _info(path)
    return Object(info["size"], _version(info))


def names(folder: str | Path) -> list[str]:
    """Return the sorted names in a folder, an empty list if it does not exist.

    Raises:
      InputError: if it is a file or unreadable.
    """
    if not exists(folder):
        return []
    try:
        listed = _list(folder) if is_remote(folder) else os.listdir(folder)
    except OSError as error:
        raise InputError(f"{folder}: not a readable folder: {error.strerror or error}") from error
    return sorted(listed)


def objects(folder: str | Path) -> dict[str, Object]:
    """Return all files below a folder in a bucket, by their path below it.

    Raises:
      InputError: if the bucket cannot be read.
    """
    fs, key = file_system(folder)
    try:
        with calls_of(folder):
            found = fs.find(key, detail=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror or error}") from error
    start = len(key) + 1
    return {
        name[start:]: Object(info["size"], _version(info))
        for name, info in sorted(found.items())
        if len(name) > start and not name.endswith("/")  # not the mark of an empty folder
    }


def require_new_file(path: str | Path, flag: str) -> None:
    """Raise InputError unless a file is new and, on a disk, its folder exists.

    Args:
      flag: names the file in the error.
    """
    if exists(path):
        raise InputError(f"{path}: exists already; name a new file or remove it")
    if not is_remote(path) and not Path(path).parent.is_dir():
        raise InputError(f"{Path(path).parent}: the folder of {flag} does not exist")


def make_folder(path: str | Path) -> None:
    """Create a folder if it does not exist; raise InputError if that fails."""
    if is_remote(path):
        return
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be created: {error.strerror or error}") from error


def remove(path: str | Path) -> None:
    """Remove a file, or a folder with its contents."""
    if is_remote(path):
        fs, key = file_system(path)
        with calls_of(path):
            for name in fs.find(key) or [key]:
                fs.rm_file(name)
    elif Path(path).is_dir():
        shutil.rmtree(path)
    else:
        os.remove(path)


def remove_folder(path: str | Path) -> None:
    """Remove a folder with its contents if it exists; in a bucket an empty folder does not."""
    if exists(path):
        remove(path)


def file_system(path: str | Path) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system of an address, without a cache of listings, and its key there.

    Raises:
      InputError: if the address is ambiguous, or no installed package serves its scheme.
    """
    scheme, _, rest = str(path).partition("://")
    if not {"", ".", ".."}.isdisjoint(rest.rstrip("/").split("/")):
        raise InputError(f"{path}: write the address without '//', '/./' and '/../' in it")
    try:
        of_scheme = _import(scheme)
    except ImportError as error:
        needs = _EXTRAS.get(scheme)
        install = f"pip install 'attr-extractor[{needs}]'" if needs else error
        raise InputError(f"{path}: a package to read {scheme}:// is missing: {install}") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    options = {**_options(scheme), **of_scheme._get_kwargs_from_urls(str(path))}
    key = of_scheme._strip_protocol(str(path)).rstrip("/")
    return of_scheme(use_listings_cache=False, **options), key


@functools.cache
def _import(scheme: str) -> type[fsspec.AbstractFileSystem]:
    return fsspec.get_filesystem_class(scheme)


def _options(scheme: str) -> dict[str, Any]:
    """Return the options of a file system that its package does not set well."""
    if scheme == "s3":
        # otherwise a read asks for the size first, and a large file is read in parts, which may be
        # those of two versions
        return {"max_concurrency": 1}
    if scheme not in ("gs", "gcs"):
        return {}
    import aiohttp  # of gcsfs, which by default waits forever for a server that stopped

    return {"requests_timeout": aiohttp.ClientTimeout(sock_connect=_PATIENCE, sock_read=_PATIENCE)}


@contextmanager
def calls_of(path: str | Path) -> Iterator[None]:
    """Convert errors of a bucket's library into OSError; wrap only calls of the library."""
    try:
        yield
    except FileNotFoundError as error:  # its text may be an address of the service
        raise FileNotFoundError(errno.ENOENT, "no such file or bucket", str(path)) from error
    except OSError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise OSError(errno.EIO, reason, str(path)) from error


def _info(path: str | Path) -> dict[str, Any]:
    fs, key = file_system(path)
    with calls_of(path):
        return cast("dict[str, Any]", fs.info(key))


def _list(folder: str | Path) -> list[str]:
    fs, key = file_system(folder)
    with calls_of(folder):
        listed = [name.rstrip("/") for name in fs.ls(key, detail=False)]
    if listed == [key] and fs.isfile(key):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    return [name[len(key) + 1 :] for name in listed if name != key]


def _version(info: dict[str, Any]) -> str:
    """Return what distinguishes the versions of an object."""
    if "generation" in info:  # Google's
        return str(info["generation"])
    return " ".join(str(info.get(name, "")) for name in ("ETag", "LastModified", "created"))


@contextmanager
def _as_os_errors(path: str | Path) -> Iterator[None]:
    """Convert errors of TensorFlow's record writer into OSError."""
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
