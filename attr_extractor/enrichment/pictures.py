"""Photos of an item as the page shows them: always re-encoded as JPEG, upright."""

from __future__ import annotations

import functools
from pathlib import Path

from attr_extractor.catalogue import boxes, photos, raw_files
from attr_extractor.catalogue.table import image_paths

SHORT_SIDE = 720  # maximum short side of a photo on the page, in pixels
_KEPT = 64  # pictures in memory


def photo_of(image: str, box: str, index: int) -> tuple[str, photos.Box | None]:
    """Return path and product box of one photo of an image cell.

    Args:
      image: the image cell: paths separated by |.
      box: the row's product boxes, see `boxes.join`.
      index: index of the photo in the cell, from 0.

    Raises:
      PhotoError: if there is no such photo, or if its box is invalid.
    """
    paths = image_paths(image)
    if not 0 <= index < len(paths):
        raise photos.PhotoError(photos.NOT_FOUND)
    return paths[index], photos.parse_box(boxes.of_photos(box, len(paths))[index])


class Photos:
    """Photos below an image root, which may be in a bucket.

    A photo that is unreadable or outside the root raises PhotoError.
    """

    def __init__(self, image_root: str | Path):
        """Set the root; raise InputError if it is not a folder."""
        self.root = raw_files.require_root(image_root)
        self._shown = functools.lru_cache(_KEPT)(self._show)

    def shown(self, image: str, box: str, index: int) -> bytes:
        """Return a JPEG of the product, upright, its short side at most SHORT_SIDE pixels.

        For the arguments see `photo_of`.

        Raises:
          PhotoError: if the photo cannot be read.
        """
        return self._shown(*photo_of(image, box, index))

    def _show(self, path: str, box: photos.Box | None) -> bytes:
        return photos.store(photos.read_raw(self.root, path), SHORT_SIDE, box).encoded
