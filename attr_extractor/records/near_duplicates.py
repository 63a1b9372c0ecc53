"""Held-out photos that resemble a training photo: found by their hashes, kept in a CSV file.

Photos that are identical byte for byte share a split already. What is left is the same photo saved
again, resized or brightened, which a score would count as unseen.
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

# 64 bits cannot tell studio
# photos apart: of 764 held-out ones 92 had another product within 2 bits, other shoes or glasses
# in the same pose mostly. Of 256 bits, two photos of different clothes on natural backgrounds
# differ in 64 and more.
HASH_SIDE = 16
HASH_BYTES = HASH_SIDE * HASH_SIDE // 8

# Bits of 256. 900 real photos, saved again at quality 50, at half the size and 5 % darker, all
# moved by 12 at most; 99.9 % stay within 14 when 5 % brighter, 96 % when 1 % is cropped, but 40 %
# when 2 % is. In 28 million pairs of studio photos 24 lie within 14, mostly one design in two
# colours; from 16 on they are other clothes in the same pose: 38 pairs up to 18, 402 up to 26.
MAX_DISTANCE = 14

# faiss' own 32 makes its threads wait for each other after every 32 photos: on cores that others
# use as well, 100,000 x 20,000 took 11 s instead of 2
QUERIES_PER_BLOCK = 4096


class NearDuplicate(NamedTuple):
    """A photo of the validation or test split and the training photo nearest to it."""

    split: str
    product_id: str
    image_index: int  # which photo of the product, from 0
    image: str  # path below the image root
    distance: int  # bits in which the hashes differ
    similar_product_id: str
    similar_image: str


def perceptual_hash(pixels: Image.Image) -> bytes:
    """HASH_BYTES that change little where a photo does: its pHash, packed row by row."""
    import imagehash  # imports SciPy, which only the first photo has to wait for

    # the library would resize with LANCZOS and without a gap: two bits of difference, as steady
    # when a photo is saved again, at three times the time
    side = 4 * HASH_SIDE
    grey = pixels.convert("L").resize((side, side), Image.Resampling.HAMMING, reducing_gap=2.0)
    return np.packbits(imagehash.phash(grey, hash_size=HASH_SIDE).hash).tobytes()


def find(
    held_out: np.ndarray, training: np.ndarray, max_distance: int = MAX_DISTANCE
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest training photo of every held-out photo, by exact search.

    The work grows with M x N; memory does not.

    Args:
      held_out: uint8 [M, HASH_BYTES].
      training: uint8 [N, HASH_BYTES].
      max_distance: bits; a photo whose nearest is farther away has none.

    Returns:
      int64 [M], position in `training`, of equally near ones the first; int64 [M], the distance.
      Both -1 where there is none.
    """
    import faiss  # not needed to train, to evaluate or to serve

    if not len(held_out) or not len(training):
        return np.full(len(held_out), -1, np.int64), np.full(len(held_out), -1, np.int64)
    index: Any = faiss.IndexBinaryFlat(8 * training.shape[1])
    index.query_batch_size = QUERIES_PER_BLOCK
    index.add(np.ascontiguousarray(training))
    distance, nearest = index.search(np.ascontiguousarray(held_out), 1)  # [M, 1]
    near = distance[:, 0] <= max_distance
    return np.where(near, nearest[:, 0], -1), np.where(near, distance[:, 0], -1).astype(np.int64)


def write(records: str | Path, rows: Iterable[NearDuplicate]) -> None:
    """Writes the list into a folder of records, sorted by split, product and photo."""
    write_csv(storage.join(records, FILE), NearDuplicate._fields, sorted(rows))


def read(records: str | Path) -> list[NearDuplicate] | None:
    """The list of a folder of records; None where there is none, as older builds left.

    Raises:
      InputError: the file is not such a list.
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
        except (ValueError, csv.Error) as error:  # ValueError: UTF-8, a number, a row cut short
            raise InputError(
                f"{path}: line {lines.line_num}: {error}; build the records again"
            ) from error
