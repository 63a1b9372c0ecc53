"""Photos on which taggers differ, with the answers of all of them, for the page that compares them.

Of every attribute the first photos of the split are kept, which is in shuffled order.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from attr_extractor.evaluation.example_photos import AttributeAnswer, answers_of, encode_jpeg
from attr_extractor.evaluation.figures import KEYS
from attr_extractor.evaluation.predictions import Predictions
from attr_extractor.evaluation.scores import Answered
from attr_extractor.records import dataset, example, pixels
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema

PER_ATTRIBUTE, MOST_PHOTOS = 3, 36
SIDE = 224  # maximum side of a picture, in pixels


class DifferingCell(NamedTuple):
    """An attribute of a photo that taggers answer differently."""

    attribute: str
    labelled: list[str]  # of the seller; []: does not apply
    answers: list[AttributeAnswer]  # of each tagger


@dataclass(frozen=True)
class DifferingPhoto:
    """A photo and its cells that taggers answer differently."""

    product_id: str
    cells: list[DifferingCell]
    jpeg: bytes = b""


class DifferingPhotos:
    """The first photos of each attribute whose known label some taggers meet better than others."""

    def __init__(self, schema: Schema):
        self.schema = schema
        self.counts = np.zeros(len(schema.names), np.int64)  # differing photos by attribute
        self._rows: list[list[int]] = [[] for _ in schema.names]
        self._photos: dict[int, DifferingPhoto] = {}  # by row of the split
        self._products: set[str] = set()
        self._seen = 0

    def add(
        self, photos: Predictions, answered: Sequence[Answered], summed: Sequence[np.ndarray]
    ) -> None:
        """Add a block with the answers and the quantities of figures.KEYS of each tagger."""
        scores = np.stack([each[:, KEYS.index("score_all")] for each in summed])  # [taggers, B, T]
        differ = (scores != scores[:1]).any(axis=0)  # 0 for all where the label is missing
        self.counts += differ.sum(axis=0)
        for t in range(len(self.schema.names)):
            for row in np.flatnonzero(differ[:, t]).tolist():
                if len(self._rows[t]) == PER_ATTRIBUTE:
                    break
                if photos.product_ids[row] in self._products:
                    continue
                self._products.add(photos.product_ids[row])
                self._rows[t].append(self._seen + row)
                cells = self._cells(np.asarray(photos.labels[row]), answered, row, differ[row])
                photo = DifferingPhoto(photos.product_ids[row], cells)
                self._photos[self._seen + row] = photo
        self._seen += len(photos.product_ids)

    def _cells(
        self, labels: np.ndarray, answered: Sequence[Answered], row: int, differ: np.ndarray
    ) -> list[DifferingCell]:
        of_taggers = [
            answers_of(self.schema, each.scores[row], each.chosen[row], labels) for each in answered
        ]
        return [
            DifferingCell(self.schema.names[t], each[0].labelled or [], list(each))
            for t, each in enumerate(zip(*of_taggers))
            if differ[t]
        ]

    def with_pixels(self, records: str, manifest: Manifest, split: str) -> list[DifferingPhoto]:
        """Return at most MOST_PHOTOS photos, of all attributes in turn, with their pixels."""
        in_turn = itertools.chain(*itertools.zip_longest(*self._rows))
        rows = sorted([row for row in in_turn if row is not None][:MOST_PHOTOS])
        shards = [shard.name for shard in manifest.split(split).shards]
        found: list[DifferingPhoto] = []
        stored = dataset.examples(records, shards).take(rows[-1] + 1 if rows else 0)
        for row, (serialized,) in enumerate(stored.as_numpy_iterator()):
            if row == rows[len(found)]:
                photo = pixels.decode_jpeg(tf.constant(example.photo(serialized))).numpy()
                each = self._photos[row]
                found.append(DifferingPhoto(each.product_id, each.cells, encode_jpeg(photo, SIDE)))
        return found
