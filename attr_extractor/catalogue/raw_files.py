"""Read the raw bytes of a photo below the image root, on disk or in a bucket.

A cell of the table names the file. A path that leaves the root, a web address or an unreadable
file raises PhotoError with a fixed reason, as does any other problem that makes a photo unusable
(see photos.py for the other reasons).
"""

from __future__ import annotations

import functools
import os
import re
import stat
from pathlib import Path

from attr_extractor import storage
from attr_extractor.errors import require_folder


class PhotoError(Exception):
    """An unusable photo; the message is one of the fixed reasons in `photos.REASONS`."""


MAX_BYTES = 2_000_000_000  # a photo within the pixel limit needs less; rejects films, disk images

NOT_FOUND = "image not found"
OUTSIDE = "image path leaves the image root"
WEB_ADDRESS = "image is a web address, nothing is fetched over http"
UNREADABLE = "image file cannot be read"
EMPTY = "image file is empty"
TOO_MANY_BYTES = f"image file is larger than {MAX_BYTES:,} bytes"
CHANGED = "image file changed while records were built"

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def image_root_of(catalogue: str | Path, image_root: str | Path | None) -> str:
    """Return the image root: `image_root` if given, otherwise the folder of the table.

    Raises:
      InputError: if it is not a folder; a bucket is not listed.
    """
    return require_root(image_root or storage.parent(catalogue))


def require_root(image_root: str | Path) -> str:
    """Return the image root; raise InputError if it is not a folder (buckets are not listed)."""
    if storage.is_remote(image_root):
        storage.file_system(image_root)  # fails now, not once per photo
        return str(image_root)
    return str(require_folder(image_root, "the image root"))


def read_raw(image_root: str | Path, relative: str) -> bytes:
    """Return the bytes of a photo below the image root.

    Args:
      image_root: a folder, or its address in a bucket as text (`gs://bucket/photos`).
      relative: the photo's path relative to the root; a full path or address below the root also
        works.

    Raises:
      PhotoError: if the file is missing, empty or unreadable, or if `relative` is a web address or
        a path (on disk also a link) that leaves the root.
    """
    if relative.lower().startswith(("http://", "https://")):
        raise PhotoError(WEB_ADDRESS)
    read = _read_remote if storage.is_remote(image_root) else _read_local
    try:
        data = read(str(image_root), relative)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise PhotoError(NOT_FOUND) from error
    except (OSError, ValueError) as error:  # no permission, circular links, a NUL in the name
        raise PhotoError(UNREADABLE) from error
    if not data:
        raise PhotoError(EMPTY)
    return data


def _read_local(image_root: str, relative: str) -> bytes:
    if _SCHEME.match(relative):
        raise PhotoError(OUTSIDE)
    root = _real_root(image_root)
    path = os.path.realpath(os.path.join(root, relative))
    if not path.startswith(os.path.join(root, "")):
        raise PhotoError(OUTSIDE)
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would block forever
        raise PhotoError(NOT_FOUND if stat.S_ISDIR(status.st_mode) else UNREADABLE)
    if status.st_size > MAX_BYTES:
        raise PhotoError(TOO_MANY_BYTES)
    with open(path, "rb") as file:
        return file.read()


@functools.lru_cache(maxsize=1)
def _real_root(image_root: str) -> str:
    return os.path.realpath(image_root)  # cached: it inspects every parent folder


def _read_remote(image_root: str, relative: str) -> bytes:
    root = image_root.rstrip("/") + "/"
    name = relative[len(root) :] if relative.startswith(root) else relative
    if name.startswith("/") or _SCHEME.match(name):
        raise PhotoError(OUTSIDE)
    parts: list[str] = []
    for part in name.split("/"):  # a bucket treats ".." as a name; resolve it as on disk
        if part != "..":
            parts += [part] * (part not in ("", "."))
        elif parts:
            parts.pop()
        else:
            raise PhotoError(OUTSIDE)
    return storage.read(storage.join(root, "/".join(parts)))
