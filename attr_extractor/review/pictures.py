"""The photos of an item as the page shows them: always a JPEG that was made here, upright."""

from __future__ import annotations

import functools
from pathlib import Path

from attr_extractor.catalogue import boxes, photos, raw_files
from attr_extractor.catalogue.table import image_paths

SHORT_SIDE = 720  # pixels of a photo on the page, at most
_KEPT = 64  # pictures in memory


def photo_of(image: str, box: str, index: int) -> tuple[str, photos.Box | None]:
    """The path of one of the photos that an image cell lists, and where the product is on it.

    Args:
      box: the row's product boxes, as `boxes.join` has them.

    Raises:
      PhotoError: no such photo, or its box is none.
    """
    paths = image_paths(image)
    if not 0 <= index < len(paths):
        raise photos.PhotoError(photos.NOT_FOUND)
    return paths[index], photos.parse_box(boxes.of_photos(box, len(paths))[index])


class Photos:
    """Photos below an image root, and of nothing else; PhotoError where one cannot be shown.

    The root may be in a bucket.
    """

    def __init__(self, image_root: str | Path):
        """Raises InputError where the root is no folder."""
        self.root = raw_files.require_root(image_root)
        self._shown = functools.lru_cache(_KEPT)(self._show)

    def shown(self, image: str, box: str, index: int) -> bytes:
        """A JPEG of the product on a photo, upright, its short side at most SHORT_SIDE pixels.

        Args: as of `photo_of`.
        """
        return self._shown(*photo_of(image, box, index))

    def _show(self, path: str, box: photos.Box | None) -> bytes:
        return photos.store(photos.read_raw(self.root, path), SHORT_SIDE, box).encoded
