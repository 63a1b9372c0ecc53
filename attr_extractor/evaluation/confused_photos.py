"""Example photos of every frequent confusion, kept in the same pass that counts confusions.

Photos of at most MAX_PAIRS pairs are kept, about 40 MB. Above that, the least frequent pairs lose
their photos and counts, and start again from zero if they recur.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from attr_extractor.evaluation.confusion import Confusions
from attr_extractor.evaluation.samples import jpeg
from attr_extractor.schema import Schema

PHOTOS_PER_PAIR = 3
MAX_PAIRS = 4096
SIDE, QUALITY = 96, 75  # longer side of a photo, in pixels; JPEG quality


class Photo(NamedTuple):
    """A small copy of one photo."""

    product_id: str
    jpeg: bytes


class ConfusedPhotos:
    """The first photos of each pair of (true value, answered value)."""

    def __init__(self, schema: Schema):
        self.schema = schema
        self._confusions = Confusions(schema)
        self._counts: dict[int, int] = {}
        self._photos: dict[int, list[Photo]] = {}

    def add(self, batch: dict[str, tf.Tensor], labels: np.ndarray, chosen: np.ndarray) -> None:
        """Add a batch with `pixels` uint8 [B, H, W, 3] and `product_id`.

        Args:
          labels: int8 [B, V].
          chosen: bool [B, V], the answered values.
        """
        for row, pair in zip(*(each.tolist() for each in self._confusions.pairs(labels, chosen))):
            self._counts[pair] = self._counts.get(pair, 0) + 1
            photos = self._photos.setdefault(pair, [])
            if len(photos) < PHOTOS_PER_PAIR:
                product = batch["product_id"][row].numpy().decode()
                photos.append(Photo(product, jpeg(batch["pixels"][row].numpy(), SIDE, QUALITY)))
        if len(self._counts) > MAX_PAIRS:
            by_count = sorted(self._counts, key=lambda pair: -self._counts[pair])
            for pair in by_count[MAX_PAIRS // 2 :]:
                del self._counts[pair], self._photos[pair]

    def of(self, attribute: str, true: str, answered: str) -> list[Photo]:
        """Return the photos of one confusion; empty if it was not seen or too rare to be kept."""
        start, values = self.schema.slices[attribute].start, self.schema[attribute].values
        places = [start + values.index(value) for value in (true, answered)]
        return self._photos.get(places[0] * self.schema.num_values + places[1], [])
