"""Exclusive ownership in a bucket: a lock object that its owner renews.

A lock is `<name>-<number>`. It is created by a put that fails if the object exists, so one of
several programs succeeds. The owner writes it again every BEAT seconds. A lock that was not written
for LEASE seconds belongs to a killed program: the next one creates the next number. A program that
was suspended for longer finds that number, and stops. The age of a lock is the time between the
store's clock at its last write and this machine's clock now.
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

from attr_extractor import storage
from attr_extractor.errors import InputError, TemporaryError

BEAT = 10.0  # seconds
LEASE = 60.0  # seconds
_NUMBER = re.compile(r"-\d{6}")


class Lease:
    """A lock that this process holds.

    Args:
      lock: address of the lock without its number.
      path: what is locked, for messages.
      owner: a description of this process.

    Raises:
      InputError: if the bucket cannot be written to.
      TemporaryError: if another program holds the lock; the message names it.
    """

    def __init__(self, lock: str, path: str, owner: str):
        self._lock, self._path = lock, path
        self._content = f"{owner}\n{uuid.uuid4()}".encode()
        number = self._take()
        self._address = _numbered(lock, number)
        self._number = number
        self._renewed = time.monotonic()
        self._lost = False
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Raise TemporaryError if the lock is lost."""
        if self._lost or time.monotonic() - self._renewed > LEASE:
            raise TemporaryError(
                f"{self._path}: its lock was not renewed for {LEASE:.0f} s, so another program may "
                "write to it; rerun the command to resume"
            )

    def release(self) -> None:
        """Remove the lock."""
        self._ends.set()
        self._thread.join()
        if not self._is_own():
            return
        try:
            storage.remove(self._address)
        except OSError as error:
            print(
                f"{self._address}: cannot be removed, ends in {LEASE:.0f} s: {error}",
                file=sys.stderr,
            )

    def _take(self) -> int:
        """Create the lock and return its number."""
        taken = require_free(self._lock, self._path)
        number = max(taken, default=0) + 1
        if not self._create(_numbered(self._lock, number)):
            raise TemporaryError(f"{self._path}: another program has just started to write to it")
        if _numbers(self._lock)[-1] != number:  # this program was suspended before it created it
            self._remove(number)
            return self._take()
        for old in taken:
            self._remove(old)
        return number

    def _remove(self, number: int) -> None:
        """Remove a lock, unless its owner has done it."""
        with storage.writable(self._path), contextlib.suppress(FileNotFoundError):
            storage.remove(_numbered(self._lock, number))

    def _create(self, address: str) -> bool:
        """Create an object; return whether it did not exist."""
        fs, key = storage.file_system(address)
        try:
            with storage.calls_of(address):
                fs.pipe_file(key, self._content, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            raise InputError(
                f"{self._path}: cannot be written: {error.strerror or error}"
            ) from error
        return True

    def _beat(self) -> None:
        while not self._ends.wait(BEAT):
            try:
                if not self._is_own():
                    self._lost = True
                    return
                fs, key = storage.file_system(self._address)
                with storage.calls_of(self._address):
                    fs.pipe_file(key, self._content)
                self._renewed = time.monotonic()
            except (OSError, InputError) as error:  # tried again; `require` fails if it lasts
                print(f"{self._address}: cannot be renewed: {error}", file=sys.stderr)

    def _is_own(self) -> bool:
        try:
            own = storage.read(self._address) == self._content
        except FileNotFoundError:
            return False
        return own and _numbers(self._lock)[-1] == self._number


@contextmanager
def held(lock: str, path: str, owner: str) -> Iterator[Lease]:
    """Hold a lock; see `Lease`. Raises TemporaryError at the end if it was lost."""
    lease = Lease(lock, path, owner)
    try:
        yield lease
        lease.require()
    finally:
        lease.release()


def require_free(lock: str, path: str) -> list[int]:
    """Return the numbers of the locks of killed programs, sorted.

    Raises:
      TemporaryError: if a program holds the lock; the message names it, and `path`.
    """
    taken = _numbers(lock)
    if not taken:
        return []
    address = _numbered(lock, taken[-1])
    fs, key = storage.file_system(address)
    try:
        with storage.calls_of(address):
            written, content = fs.modified(key), fs.cat_file(key)
    except FileNotFoundError:  # just released
        return taken[:-1]
    age = (datetime.now(timezone.utc) - written).total_seconds()
    if age < LEASE:
        owner = content.decode(errors="replace").partition("\n")[0]
        raise TemporaryError(
            f"{path}: {owner} is writing to it; wait until it ends, or {LEASE:.0f} s if it was "
            f"killed (it renewed its lock {max(age, 0):.0f} s ago)"
        )
    return taken


def is_lock(name: str, lock: str) -> bool:
    """Return whether a file name is that of a lock, or of a lock on the disk."""
    return name == lock or (name.startswith(lock) and bool(_NUMBER.fullmatch(name[len(lock) :])))


def _numbered(lock: str, number: int) -> str:
    return f"{lock}-{number:06d}"


def _numbers(lock: str) -> list[int]:
    """Return the numbers of the existing locks, sorted."""
    name = storage.file_name(lock)
    found = storage.names(storage.parent(lock))
    return sorted(int(each[-6:]) for each in found if each != name and is_lock(each, name))
