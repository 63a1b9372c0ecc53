"""Shards in a bucket, read from a bounded cache on the disk: downloaded before they are needed.

TensorFlow's own file systems reach no bucket of S3, so a shard is downloaded whole. While a group
of shards is read, the next group is downloaded. The cache has at most SHARE of the free disk; the
shards that were not used for the longest time are removed. A shard that is still being read stays
on the disk until it is closed. Paths on the disk are used as they are.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from attr_extractor import storage
from attr_extractor.errors import InputError, TemporaryError

SHARE = 0.5  # of the free disk
_THREADS = 8
_CALLS_KEPT = 4  # their shards may not be open yet; more than the datasets read at a time


@dataclass
class Counts:
    """What a cache has asked of the bucket."""

    downloads: int = 0
    bytes: int = 0
    waited_for: int = 0  # downloads that were not finished when the shard was needed


class _Key(NamedTuple):
    path: str
    version: str  # a relabelled shard has another


class Cache:
    """Shards on the disk.

    Args:
      limit: bytes; by default SHARE of the free disk.
    """

    def __init__(self, limit: int | None = None):
        self.counts = Counts()
        self.error: InputError | None = None  # why the last `stage` failed
        self._folder = tempfile.mkdtemp(prefix="attr-extractor-shards-")
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        self._limit = int(shutil.disk_usage(self._folder).free * SHARE) if limit is None else limit
        self._files: OrderedDict[_Key, Future[str]] = OrderedDict()  # the last used is last
        self._sizes: dict[_Key, int] = {}
        self._lock = threading.Lock()
        self._recent: deque[Sequence[str]] = deque(maxlen=_CALLS_KEPT)  # paths of the last calls
        self._downloads = ThreadPoolExecutor(_THREADS, "shards")
        self._versions = ThreadPoolExecutor(_THREADS, "versions of shards")

    def stage(self, paths: Sequence[str], ahead: Sequence[str] = ()) -> list[str]:
        """Return the files of shards, and start to download those that are needed next.

        Raises:
          InputError: if a shard is missing, or the shards do not fit into the cache.
          TemporaryError: if the store does not answer.
        """
        with self._lock:
            self._recent.append(paths)
        wanted = list(self._versions.map(self._start, paths))
        for path in ahead:
            self._versions.submit(self._start, path, is_ahead=True)
        self.counts.waited_for += sum(not file.done() for file in wanted if file)
        return [file.result() for file in wanted if file]

    def _start(self, path: str, is_ahead: bool = False) -> Future[str] | None:
        """Return the file of a shard, which may still be downloading; None if it can wait."""
        try:
            size, version = storage.size_and_version(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        key = _Key(path, version)
        with self._lock:
            if key not in self._files:
                if not self._make_room(size):
                    if is_ahead:
                        return None
                    raise InputError(
                        f"{path}: the shards that are read at once do not fit into the cache of "
                        f"{self._limit / 2**30:.1f} GiB in {self._folder}; name a folder of a "
                        "larger disk in TMPDIR"
                    )
                self._sizes[key] = size
                self.counts.downloads += 1
                self.counts.bytes += size
                file = os.path.join(self._folder, f"{self.counts.downloads}.tfrecord")
                self._files[key] = self._downloads.submit(_download, path, file)
            self._files.move_to_end(key)
            return self._files[key]

    def _make_room(self, size: int) -> bool:
        """Remove shards of earlier calls until there is room; return whether there is."""
        kept = {path for paths in self._recent for path in paths}
        old = [key for key, file in self._files.items() if key.path not in kept and file.done()]
        while sum(self._sizes.values()) + size > self._limit:
            if not old:
                return False
            key = old.pop(0)
            file = self._files.pop(key)
            del self._sizes[key]
            if file.exception() is None:
                os.remove(file.result())
        return True


@functools.lru_cache(maxsize=1)
def cache() -> Cache:
    """Return the cache of this process."""
    return Cache()


def local(path: str) -> str:
    """Return the file of a shard on the disk; raises as `Cache.stage` does."""
    return cache().stage([path])[0] if storage.is_remote(path) else path


def staged(files: tf.Tensor, ahead: tf.Tensor) -> tf.Tensor:
    """Return the files of shards in a bucket, in a graph of tf.data.

    Args:
      files: string, any shape.
      ahead: string, any shape; the files that are needed next.
    """

    def stage(files: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        cached = cache()
        names = [name.decode() for name in files.ravel()]
        try:
            found = cached.stage(names, [name.decode() for name in ahead.ravel()])
        except InputError as error:  # the graph ends with TensorFlow's error of a missing file
            cached.error, found = error, ["a shard that cannot be read"] * len(names)
        return np.array([name.encode() for name in found], object).reshape(files.shape)

    found = tf.numpy_function(stage, [files, ahead], tf.string)
    return tf.ensure_shape(found, files.shape)


def raise_error() -> None:
    """Raise the InputError that ended a dataset, if there is one."""
    cached = cache()
    error, cached.error = cached.error, None
    if error is not None:
        raise error


def _download(path: str, file: str) -> str:
    try:
        storage.download(path, file)
    except OSError as error:
        raise _unreadable(path, error) from error
    return file


def _unreadable(path: str, error: OSError) -> InputError:
    """Return the error of a shard; its manifest was read before, so the store may be back soon."""
    is_bad = isinstance(error, (FileNotFoundError, PermissionError))
    kind = InputError if is_bad else TemporaryError
    return kind(f"{path}: cannot be read: {error.strerror or error}")
