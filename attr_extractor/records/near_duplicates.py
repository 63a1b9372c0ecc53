"""Held-out photos that resemble a training photo, found by perceptual hash, listed as CSV.

Byte-identical photos already share a split. The remaining cases are the same photo re-encoded,
resized or brightened, which an evaluation would count as unseen.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from attr_extractor import storage
from attr_extractor.catalogue.csv_rows import read_csv, write_csv
from attr_extractor.errors import InputError

FILE = "near_duplicates.csv"

# A hash of 64 bits cannot distinguish studio photos: 92 of 764 held-out photos had another product
# within 2 bits, mostly other shoes or glasses in the same pose. With 256 bits, two photos of
# different clothes on natural backgrounds differ in at least 64 bits.
HASH_SIDE = 16
HASH_BYTES = HASH_SIDE * HASH_SIDE // 8

# Bits of 256. For 900 real photos, re-encoding at quality 50, halving the size and darkening by 5 %
# changed at most 12 bits. At most 14 bits change in 99.9 % of them when brightened by 5 %, in 96 %
# when 1 % is cropped, but only in 40 % when 2 % is. Of 28 million pairs of studio photos, 24 are
# within 14 bits, mostly one design in two colours. From 16 bits on, pairs are other clothes in the
# same pose: 38 pairs up to 18 bits, 402 up to 26.
MAX_DISTANCE = 14

# With the faiss default of 32, threads synchronise after every 32 photos: on shared cores,
# 100,000 x 20,000 took 11 s instead of 2
QUERIES_PER_BLOCK = 4096


class NearDuplicate(NamedTuple):
    """A validation or test photo and the nearest training photo."""

    split: str
    product_id: str
    image_index: int  # index of the photo within the product, from 0
    image: str  # path below the image root
    distance: int  # bits in which the hashes differ
    similar_product_id: str
    similar_image: str


def perceptual_hash(pixels: Image.Image) -> bytes:
    """Return the pHash of a photo, HASH_BYTES packed row by row.

    Similar photos have similar hashes.
    """
    import imagehash  # imports SciPy, which is slow to import

    # imagehash resizes with LANCZOS and without a gap: it differs by two bits, is as stable under
    # re-encoding, and takes three times as long
    side = 4 * HASH_SIDE
    grey = pixels.convert("L").resize((side, side), Image.Resampling.HAMMING, reducing_gap=2.0)
    return np.packbits(imagehash.phash(grey, hash_size=HASH_SIDE).hash).tobytes()


def find(
    held_out: np.ndarray, training: np.ndarray, max_distance: int = MAX_DISTANCE
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest training photo of every held-out photo, by exact search.

    Time grows with M x N; memory does not.

    Args:
      held_out: uint8 [M, HASH_BYTES].
      training: uint8 [N, HASH_BYTES].
      max_distance: maximum distance of a match, in bits.

    Returns:
      int64 [M], position in `training`, the first one of ties; and int64 [M], the distance. Both
      are -1 if no training photo is within `max_distance`.
    """
    import faiss  # not needed for training, evaluation or serving

    if not len(held_out) or not len(training):
        return np.full(len(held_out), -1, np.int64), np.full(len(held_out), -1, np.int64)
    index: Any = faiss.IndexBinaryFlat(8 * training.shape[1])
    index.query_batch_size = QUERIES_PER_BLOCK
    index.add(np.ascontiguousarray(training))
    distance, nearest = index.search(np.ascontiguousarray(held_out), 1)  # [M, 1]
    near = distance[:, 0] <= max_distance
    return np.where(near, nearest[:, 0], -1), np.where(near, distance[:, 0], -1).astype(np.int64)


def write(records: str | Path, rows: Iterable[NearDuplicate]) -> None:
    """Write the list into a records folder, sorted by split, product and photo."""
    write_csv(storage.join(records, FILE), NearDuplicate._fields, sorted(rows))


def read(records: str | Path) -> list[NearDuplicate] | None:
    """Read the list of a records folder; return None if it is missing, as in older builds.

    Raises:
      InputError: if the file is not such a list.
    """
    path = storage.join(records, FILE)
    if not storage.exists(path):
        return None
    with storage.open_read(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        lines = read_csv(text)
        try:
            if tuple(next(lines, ())) != NearDuplicate._fields:
                raise ValueError(f"its columns are not {','.join(NearDuplicate._fields)}")
            return [
                NearDuplicate(split, product, int(index), image, int(distance), other, other_image)
                for split, product, index, image, distance, other, other_image in lines
            ]
        except (ValueError, csv.Error) as error:  # ValueError: UTF-8, a number, a truncated row
            raise InputError(
                f"{path}: line {lines.line_num}: {error}; build the records again"
            ) from error
