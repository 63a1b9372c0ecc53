"""Copies on the disk of files and folders in a bucket, for code that needs them there.

TensorFlow writes checkpoints, logs and SavedModels to a disk only, and large arrays are mapped from
it. `folder` and `file` copy for reading, and refuse a folder whose upload is not finished. `owned`
copies for the folder's owner, and uploads what changes, in the order in which it was written: the
bucket goes through states that the disk had. Paths on a disk are used as they are.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import List, NamedTuple

from attr_extractor import files, lease, ownership, storage, yaml_files
from attr_extractor.errors import COPIES, InputError, TemporaryError
from attr_extractor.storage import Object

UPLOADING = ".uploading"  # in a folder while several files of it are uploaded
UPLOAD_EVERY = 30.0  # seconds
_DOWNLOADS = 8  # at once
_ATTEMPTS = 3  # to copy a folder that is being written


class _Stamp(NamedTuple):
    """What changes if a file on the disk changes."""

    time: int  # of the last change or renaming, nanoseconds
    size: int
    inode: int


class _Mark(yaml_files.Model):
    """Content of UPLOADING: files that an upload writes, by path below the folder."""

    changed: List[str]
    new: List[str]  # those of them that the bucket did not have


def folder(path: str | Path, without: str = "") -> Path:
    """Return a copy of a folder for reading; a missing folder has no files.

    In this process an unchanged folder is copied once.

    Args:
      without: if given, the folder within it whose files are not copied from a bucket.

    Raises:
      InputError: if the bucket cannot be read, the disk has too little room, or an upload of the
        folder was interrupted.
      TemporaryError: if the folder is being uploaded.
    """
    if not storage.is_remote(path):
        return Path(path)
    for _ in range(_ATTEMPTS):
        present = _leave_out(files_in(path), without)
        copied = _copied(str(path).rstrip("/"), tuple(present.items()))
        if _leave_out(files_in(path), without) == present:
            return copied
        shutil.rmtree(copied)
        _copied.cache_clear()
    raise TemporaryError(f"{path}: changes while it is read; try again later")


def file(path: str | Path) -> Path:
    """Return a copy of a file for reading; if it does not exist, the path of a missing file.

    Raises:
      InputError: if the bucket cannot be read, or the disk has too little room.
    """
    if not storage.is_remote(path):
        return Path(path)
    place, name = storage.parent(path), storage.file_name(path)
    try:
        found = {name: storage.size_and_version(path)}
    except FileNotFoundError:
        found = {}
    return _copied(place, tuple(found.items())) / name


@contextmanager
def owned(path: str | Path, what: str, only: str = "", without: str = "") -> Iterator[Path]:
    """Own a folder, see `ownership.folder`, and yield the folder on the disk to work in.

    It is uploaded in the background, and at the end, also after an error.

    Args:
      only: if given, the folder within it whose files are copied from a bucket; others are kept.
      without: if given, the folder within it whose files are not copied, and kept.
    """
    with owned_copy(path, what, only, without) as copy:
        yield copy.folder


@contextmanager
def owned_copy(
    path: str | Path, what: str, only: str = "", without: str = ""
) -> Iterator[OwnedCopy]:
    """Own a folder as `owned` does, and yield its copy, which can be uploaded at once."""
    if not storage.is_remote(path):
        with ownership.folder(path, what):
            yield OwnedCopy(Path(path))
        return
    lock = storage.join(path, ownership.LOCK)
    with (
        lease.held(lock, str(path), ownership.describe_process()) as held,
        tempfile.TemporaryDirectory(prefix=COPIES) as scratch,
    ):
        copy = _CopyOfBucket(str(path).rstrip("/"), held, Path(scratch))
        copy.download(only, without)
        with copy.uploaded():
            yield copy


@contextmanager
def new(path: str | Path, what: str) -> Iterator[Path]:
    """Own a folder as `owned` does; raise InputError if it is not empty."""
    with owned(path, what) as working:
        ownership.require_empty(working, what)
        yield working


class OwnedCopy:
    """A folder that this process owns; on a disk it is the folder itself."""

    def __init__(self, folder: Path):
        self.folder = folder

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Upload what changed, then nothing until the end of the block; raises as `owned`."""
        yield


class _CopyOfBucket(OwnedCopy):
    """The copy of a folder in a bucket whose lock this process holds."""

    def __init__(self, address: str, held: lease.Lease, scratch: Path):
        super().__init__(_place(scratch, address))
        self.address = address
        self._held = held
        self._one = threading.RLock()  # uploads at a time
        self._uploaded: dict[str, _Stamp] = {}  # by path below the folder
        self._mark: _Mark | None = None  # of an upload that did not end, or whose mark may remain

    def download(self, only: str, without: str) -> None:
        """Copy the files; undo an interrupted upload, as far as its files were new."""
        present = storage.objects(self.address)
        if UPLOADING in present:
            mark = storage.join(self.address, UPLOADING)
            new = _read_mark(mark).new
            with storage.writable(self.address):
                for name in [*(name for name in new if name in present), UPLOADING]:
                    storage.remove(storage.join(self.address, name))
                    del present[name]
        present = _leave_out(_content(present), without)
        if only:
            present = {n: found for n, found in present.items() if n.startswith(f"{only}/")}
        _download(self.address, present, self.folder)
        self._uploaded = self._stamps()

    @contextmanager
    def uploaded(self) -> Iterator[None]:
        """Upload in the background, and at the end of the block."""
        ends = threading.Event()
        thread = threading.Thread(target=self._upload_often, args=[ends], daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            ends.set()
            thread.join()
            try:
                self.upload()
            except InputError as error:  # does not replace the first error
                print(error, file=sys.stderr)
            raise
        ends.set()
        thread.join()
        self.upload()

    @contextmanager
    def settled(self) -> Iterator[None]:
        """See `OwnedCopy`."""
        with self._one:
            self.upload()
            yield

    def upload(self) -> None:
        """Upload what changed, in the order of the changes, and then remove what is gone.

        Raises:
          TemporaryError: if the lock was lost, or the bucket, in which the lock was written, does
            not take the files.
        """
        with self._one:
            try:
                self._upload()
            except TemporaryError:
                raise
            except InputError as error:
                raise TemporaryError(f"{error}; rerun the command to resume") from error

    def _upload(self) -> None:
        present = self._stamps()
        changed = [name for name, stamp in present.items() if self._uploaded.get(name) != stamp]
        gone = [name for name in self._uploaded if name not in present]
        if not changed and not gone and not self._mark:
            return
        self._held.require()
        if len(changed) != 1 or self._mark:  # one put is atomic
            self._write_mark(changed)
        for name in sorted(changed, key=lambda name: present[name]):
            self._held.require()
            if self._upload_file(name):
                self._uploaded[name] = present[name]
        if self._mark:
            self._remove(UPLOADING)
            self._mark = None
        for name in gone:
            self._remove(name)
            del self._uploaded[name]

    def _write_mark(self, changed: list[str]) -> None:
        """Write the mark of an upload; it includes that of one that failed before."""
        before = self._mark or _Mark(changed=[], new=[])
        new = [name for name in changed if name not in self._uploaded]
        self._mark = _Mark(
            changed=sorted({*changed, *before.changed}), new=sorted({*new, *before.new})
        )
        files.write_json(storage.join(self.address, UPLOADING), self._mark.model_dump())

    def _remove(self, name: str) -> None:
        self._held.require()
        path = storage.join(self.address, name)
        with storage.writable(path), contextlib.suppress(FileNotFoundError):
            storage.remove(path)

    def _upload_file(self, name: str) -> bool:
        """Upload a file; return False if it was removed since it was listed."""
        path = storage.join(self.address, name)
        with storage.writable(path):
            try:
                storage.upload(self.folder / name, path)
            except FileNotFoundError:
                if (self.folder / name).exists():
                    raise  # the bucket is missing
                return False
        return True

    def _upload_often(self, ends: threading.Event) -> None:
        while not ends.wait(UPLOAD_EVERY):
            try:
                self.upload()
            except InputError as error:  # tried again, at the latest at the end, which raises
                print(error, file=sys.stderr)

    def _stamps(self) -> dict[str, _Stamp]:
        """Return the stamp of every finished file, by path below the folder."""
        stamps = {}
        for place, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if not name.endswith(storage.TEMPORARY)]
            for name in names:
                path = Path(place, name)
                if not name.endswith(storage.TEMPORARY):
                    with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                        status = path.stat()
                        stamp = _Stamp(status.st_ctime_ns, status.st_size, status.st_ino)
                        stamps[path.relative_to(self.folder).as_posix()] = stamp
        return stamps


def files_in(path: str | Path) -> dict[str, Object]:
    """Return the files in a folder in a bucket; raises as `folder` does."""
    present = storage.objects(path)
    owner, start = storage.parent(path), f"{storage.file_name(path)}/"
    if UPLOADING in present:
        owner, start = str(path), ""
    elif not storage.is_remote(owner) or not storage.exists(storage.join(owner, UPLOADING)):
        return _content(present)
    path_of_mark = storage.join(owner, UPLOADING)
    try:
        mark = _read_mark(path_of_mark)
    except InputError:
        if storage.exists(path_of_mark):
            raise
        return files_in(path)  # the upload has ended
    if any(name.startswith(start) for name in mark.changed):
        lease.require_free(storage.join(owner, ownership.LOCK), str(path))
        raise InputError(
            f"{path}: its upload was interrupted; rerun the command that writes it to finish it"
        )
    return _content(present)


def _read_mark(path: str) -> _Mark:
    content = files.read_json(path, "the list of an interrupted upload")
    return yaml_files.validate(_Mark, content, path)


def _content(present: dict[str, Object]) -> dict[str, Object]:
    """Leave out the marks of this package."""
    return {
        name: found
        for name, found in present.items()
        if name != UPLOADING and not ownership.is_lock(name)
    }


def _leave_out(present: dict[str, Object], folder: str) -> dict[str, Object]:
    if not folder:
        return present
    return {name: found for name, found in present.items() if not name.startswith(f"{folder}/")}


@functools.cache
def _copied(address: str, present: tuple[tuple[str, Object], ...]) -> Path:
    """Return a folder with files of a folder in a bucket; it is removed with this process."""
    scratch = tempfile.mkdtemp(dir=_scratch())
    place = _place(Path(scratch), address)
    _download(address, dict(present), place)
    return place


@functools.lru_cache(maxsize=1)
def _scratch() -> str:
    made = tempfile.TemporaryDirectory(prefix=COPIES)
    _kept.append(made)
    return made.name


_kept: list[tempfile.TemporaryDirectory] = []  # removed at exit


def _place(scratch: Path, address: str) -> Path:
    """Return a new folder whose path ends with the address, because messages name it."""
    scheme, _, rest = address.partition("://")
    place = scratch / f"{scheme}:" / rest
    place.mkdir(parents=True)
    return place


def _download(address: str, present: dict[str, Object], place: Path) -> None:
    """Copy files into a folder."""
    needed, free = sum(found.size for found in present.values()), shutil.disk_usage(place).free
    if needed > free:
        raise InputError(
            f"{address}: {needed / 2**30:.1f} GiB, but the disk of {tempfile.gettempdir()} has "
            f"{free / 2**30:.1f} GiB free; name a folder of another disk in TMPDIR"
        )

    def copy(name: str) -> None:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        storage.download(storage.join(address, name), place / name)

    try:
        with ThreadPoolExecutor(_DOWNLOADS) as pool:
            for _ in pool.map(copy, present):
                pass
    except FileNotFoundError as error:
        raise TemporaryError(f"{address}: changes while it is read; try again later") from error
    except OSError as error:
        raise InputError(f"{address}: cannot be copied: {error.strerror or error}") from error
