"""Differences between answers to the same photos: of a filled table, and of the served graph.

A table's photos are stored as records store them, with Pillow, and scored from there; the served
graph repeats those steps with TensorFlow's operations (raw_photos/). Thresholds are calibrated on
stored photos, so both must agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from attr_extractor.catalogue import photos
from attr_extractor.serving.model_dir import ExportedModel

EQUAL_CELLS = 0.998  # the least share
SCORE_DIFFERENCE = 0.01  # the most at the 99.9th percentile
_BATCH = 32


@dataclass(frozen=True)
class Skew:
    """The agreement of both ways on N photos with T attributes and V values."""

    photos: int  # read in both ways
    one_sided: int  # photos that only one way reads, as TIFF
    equal_cells: float  # share of the N x T cells with the same answer
    difference: float  # 99.9th percentile of the N x V differences of scores
    largest: float  # of these differences

    @property
    def is_small(self) -> bool:
        """Return whether a threshold means the same in both ways."""
        return self.equal_cells >= EQUAL_CELLS and self.difference <= SCORE_DIFFERENCE

    def __str__(self) -> str:
        return (
            f"{self.photos} photos: {self.equal_cells:.2%} of the cells equal, scores differ by "
            f"{self.difference:.1e} at the 99.9th percentile, by {self.largest:.1e} at most; "
            f"{self.one_sided} photos are read in one way only"
        )


def measure(model: ExportedModel, files: Sequence[bytes]) -> Skew:
    """Measure the skew of a model on raw photo files; there must be one that both ways read."""
    of_stored = model.of_stored()
    differences, equal, one_sided = [], [], 0
    for start in range(0, len(files), _BATCH):
        batch = files[start : start + _BATCH]
        served = model.signatures["scores"](image_bytes=tf.constant(batch))
        stored = [_stored(file, model.facts.photo_short_side) for file in batch]
        read = np.array([encoded is not None for encoded in stored])
        read_by_graph = served["error"].numpy() == b""
        one_sided += int((read != read_by_graph).sum())
        both = np.flatnonzero(read & read_by_graph)
        if not len(both):
            continue
        scores, _, _ = of_stored(tf.constant([stored[i] for i in both]))
        of_graph = tf.gather(served["scores"], both)
        differences.append(np.abs(scores - of_graph))
        equal.append(model.answers.agree(scores.numpy(), of_graph.numpy()))
    every = np.concatenate(differences)
    cells = np.concatenate(equal)
    return Skew(
        photos=len(cells),
        one_sided=one_sided,
        equal_cells=float(cells.mean()),
        difference=float(np.quantile(every, 0.999)),
        largest=float(every.max()),
    )


def _stored(file: bytes, short_side: int) -> bytes | None:
    try:
        return photos.store(file, short_side).encoded
    except photos.PhotoError:
        return None
