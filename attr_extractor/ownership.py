"""Exclusive ownership of an output: if two programs write to one path, the second one fails.

The owner holds an advisory lock (flock) on a lock file that names the owner: `.lock` in a folder,
`.NAME.lock` next to a file. The operating system releases the lock when the owner ends, for any
reason, so a lock file left by a killed program has no effect. In a bucket the lock is an object of
the same name and a number that the owner renews, see lease.py. Child processes of the owner write
on its behalf and take no lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attr_extractor import lease, storage
from attr_extractor.errors import InputError, TemporaryError, make_folder

LOCK = ".lock"  # lock file of an owned folder
_LONGEST_OWNER = 300  # maximum characters of the owner's description


@contextmanager
def folder(path: str | Path, what: str) -> Iterator[None]:
    """Own a folder, created if missing; remove it at exit if it was created and stayed empty.

    Args:
      what: names it in errors ("the run directory").

    Raises:
      InputError: if it cannot be created or written to.
      TemporaryError: if another program owns it; the message names the owner.
    """
    if storage.is_remote(path):
        with lease.held(storage.join(path, LOCK), str(path), describe_process()):
            yield
        return
    path = Path(path)
    if path.is_file():
        raise InputError(f"{path}: {what} is a file; name a folder")
    new = not path.exists()
    make_folder(path, what)
    try:
        with _owned(path / LOCK, path):
            yield
    finally:
        if new:
            with contextlib.suppress(OSError):  # not empty, or already removed
                path.rmdir()


@contextmanager
def new_folder(path: str | Path, what: str) -> Iterator[None]:
    """Own a folder as `folder` does; raise InputError if it is not empty."""
    with folder(path, what):
        require_empty(path, what)
        yield


@contextmanager
def file(path: str | Path, flag: str) -> Iterator[None]:
    """Own a file, whether it exists or not; `flag` names it in errors ("--output").

    Raises:
      InputError: if its folder is missing or not writable.
      TemporaryError: if another program owns it; the message names the owner.
    """
    if storage.is_remote(path):
        name = f".{storage.file_name(path)}{LOCK}"
        lock = storage.join(storage.parent(path), name)
        with lease.held(lock, str(path), describe_process()):
            yield
        return
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: {flag} is a folder; name a file")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: the folder of {flag} does not exist")
    with _owned(path.with_name(f".{path.name}{LOCK}"), path):
        yield


@contextmanager
def new_file(path: str | Path, flag: str) -> Iterator[None]:
    """Own a file as `file` does; raise InputError if it exists."""
    with file(path, flag):
        storage.require_new_file(path, flag)
        yield


def is_lock(name: str) -> bool:
    """Return whether a name in an owned folder is that of its lock."""
    return lease.is_lock(name, LOCK)


def require_empty(path: str | Path, what: str) -> None:
    """Raise InputError if an owned folder contains files."""
    if not all(map(is_lock, storage.names(path))):
        raise InputError(f"{path}: {what} exists already; name a new folder or remove it")


@contextmanager
def _owned(lock: Path, path: Path) -> Iterator[None]:
    handle = _take(lock, path)
    try:
        with storage.writable(path):
            os.ftruncate(handle, 0)
            os.write(handle, describe_process().encode())
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):  # the owner removed the folder
            os.unlink(lock)
        os.close(handle)  # releases the lock, after the unlink so that no program waits for it


def _take(lock: Path, path: Path) -> int:
    """Return a handle of the lock file, open and locked."""
    while True:
        with storage.writable(path):
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same_file(handle, lock):
                return handle
            os.close(handle)  # the previous owner removed it between open and flock
        except BlockingIOError as error:
            owner = _read_owner(handle)
            os.close(handle)
            raise TemporaryError(f"{path}: {owner} is writing to it; wait until it ends") from error
        except OSError as error:
            os.close(handle)
            raise InputError(f"{path}: cannot be locked: {error.strerror or error}") from error


def _is_same_file(handle: int, path: Path) -> bool:
    """Return whether a path still names the open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def describe_process() -> str:
    """Return the program, process and machine, as an owner is named in messages."""
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    name = name if name not in ("", "-c", "-m") else "a Python program"
    since = time.strftime("%Y-%m-%d %H:%M:%S %z")
    return f"{name} (process {os.getpid()} on {socket.gethostname()}, since {since})"


def _read_owner(handle: int) -> str:
    for _ in range(20):  # the owner locks the file a moment before writing its name
        if text := os.pread(handle, 4 * _LONGEST_OWNER, 0).decode(errors="replace"):
            return "".join(c if c.isprintable() else " " for c in text)[:_LONGEST_OWNER]
        time.sleep(0.05)
    return "another program"
