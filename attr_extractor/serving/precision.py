"""Choose the part of a network that is served in bfloat16 without changing its answers.

bfloat16 keeps 8 bits of each weight and activation. CPUs with its instructions multiply it at twice
the rate of float32 and move half the bytes, but the rounding adds up: errors of the first, largest
maps pass through all later layers. The network therefore computes in float32 down to a map of some
size and in bfloat16 from there on. The size is the largest one with which the answers to photos of
the records' validation split remain equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from attr_extractor.errors import InputError
from attr_extractor.model.answers import Answers
from attr_extractor.model.network import Network
from attr_extractor.records import dataset
from attr_extractor.serving import fold
from attr_extractor.serving.served_model import computed
from attr_extractor.training.run_dir import RunDir

LEAST_EQUAL = 0.995  # share of (photo, attribute) with equal answers
_PHOTOS = 1000


@dataclass(frozen=True)
class Difference:
    """How scores of the same photos differ."""

    equal: float  # share of (photo, attribute) with equal answers
    largest: float  # of a score

    def __str__(self) -> str:
        return f"{self.equal:.2%} of the answers equal, scores within {self.largest:.3f}"


def difference(answers: Answers, scores: np.ndarray, expected: np.ndarray) -> Difference:
    """Compare scores float32 [N, V] with the expected ones."""
    equal = answers.agree(scores, expected).mean()
    return Difference(float(equal), float(np.abs(scores - expected).max()))


def choose_side(run: RunDir, network: Network, answers: Answers, records: str | Path | None) -> int:
    """Return the largest `bfloat16_side` that leaves LEAST_EQUAL of the answers equal.

    Args:
      records: records of the run's schema; default: the run's own.

    Raises:
      InputError: if the records are missing or of another schema, they have no validation photos,
        or too many answers change with every side.
    """
    batches = photos(run, records, "validation")
    expected = _scores(network.flat_scores, batches)
    found = None
    for side in fold.sides(network):
        compute = tf.function(computed(network, bfloat16_side=side))
        scores = _scores(lambda pixels: compute(pixels)[0], batches)  # noqa: B023
        found = difference(answers, scores, expected)
        logging.info("bfloat16 from maps of %d x %d on: %s", side, side, found)
        if found.equal >= LEAST_EQUAL:
            return side
    raise InputError(
        f"--precision=bfloat16: even from the last map on only {found} on validation photos, "
        f"{LEAST_EQUAL:.1%} are required: export in float32"
    )


def photos(run: RunDir, records: str | Path | None, split: str) -> list[tf.Tensor]:
    """Return the first photos of a split, uint8 [B, H, W, 3] each; see `choose_side`."""
    manifest = run.manifest(records)
    folder = records or run.records
    batches: list[tf.Tensor] = []
    with dataset.readable(folder):
        for batch in dataset.evaluation_batches(folder, manifest, run.config.data, split):
            batches.append(batch["pixels"])
            if sum(map(len, batches)) >= _PHOTOS:
                break
    if not batches:
        raise InputError(f"{folder}: its {split} split has no photos to compare bfloat16 on")
    return batches


def _scores(run: Callable[[tf.Tensor], tf.Tensor], batches: list[tf.Tensor]) -> np.ndarray:
    return np.concatenate([run(pixels).numpy() for pixels in batches])
