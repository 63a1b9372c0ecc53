"""Comparison of two sets of embeddings: separability by a linear classifier, and distances.

The classifier is a ridge regression that predicts the side of a photo. Its scores of held-out
photos are linear in the sides, so one linear system per fold serves the actual sides and all
permuted ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attr_extractor.enrichment.drift.compare import Effect, Permutations
from attr_extractor.enrichment.drift.delivery import ListedPhoto

FOLDS = 5
LEAST = 4 * FOLDS  # minimum photos per side
RIDGE = 0.1  # relative to the mean variance of a direction
NEIGHBOURS = 5
FARTHEST = 12
POINTS = 400  # projected per side
_PERMUTED_AT_ONCE = 512


@dataclass(frozen=True)
class FarPhoto:
    """A photo of the delivery and its distance to the reference."""

    photo: ListedPhoto
    stored: bytes
    distance: float


@dataclass(frozen=True)
class EmbeddingDistances:
    """Distances of a delivery's photos to the reference, and a projection of both sides."""

    usual: float  # 99th percentile of the reference's own distances
    beyond: float  # share of the delivery's photos above it
    farthest: list[FarPhoto]
    reference_points: np.ndarray  # float64 [n, 2], at most POINTS
    delivery_points: np.ndarray


def separability(reference: np.ndarray, delivery: np.ndarray, permutations: Permutations) -> Effect:
    """Return how well the sides can be separated: area under the ROC curve of held-out photos.

    The area is the mean over FOLDS: 0.5 for chance, 1 for perfect separation.

    Args:
      reference: float [N, D], at least LEAST photos of distinct products; `delivery` likewise.
    """
    draws, rng = permutations.draws, permutations.rng
    points = np.concatenate([reference, delivery]).astype(np.float32)
    sides = np.repeat([0.0, 1.0], [len(reference), len(delivery)]).astype(np.float32)
    fold = np.empty(len(sides), np.int64)
    for side in (0, 1):  # each fold has photos of both sides
        members = rng.permutation(np.flatnonzero(sides == side))
        fold[members] = np.arange(len(members)) % FOLDS
    weights = [_held_out_weights(points, fold == k) for k in range(FOLDS)]
    actual = _mean_aucs(weights, fold, sides[:, np.newaxis])[0]
    areas = np.empty(draws)
    for start in range(0, draws, _PERMUTED_AT_ONCE):
        size = min(_PERMUTED_AT_ONCE, draws - start)
        permuted = np.empty([len(sides), size], np.float32)
        for k in range(FOLDS):
            within = np.repeat(sides[fold == k, np.newaxis], size, axis=1)
            permuted[fold == k] = rng.permuted(within, axis=0)
        areas[start : start + size] = _mean_aucs(weights, fold, permuted)
    as_large = int((areas >= actual - 1e-9).sum())
    return Effect(float(actual), float(areas.mean()), (as_large + 1) / (draws + 1))


def measure_distances(
    reference: np.ndarray, delivery: np.ndarray, stored: Sequence[tuple[ListedPhoto, bytes]]
) -> EmbeddingDistances:
    """Measure how far the delivery's photos are from the reference.

    Args:
      reference: float32 [N, D], unit vectors, N > NEIGHBOURS.
      delivery: float32 [M, D], unit vectors of the photos in `stored`.
    """
    own, far = distances(reference, delivery)
    usual = float(np.quantile(own, 0.99))
    order = np.argsort(-far.round(6), kind="stable")[:FARTHEST].tolist()  # equal photos in order
    reference_points, delivery_points = project(reference, delivery)
    return EmbeddingDistances(
        usual=usual,
        beyond=float(np.mean(far > usual)),
        farthest=[FarPhoto(stored[i][0], stored[i][1], float(far[i])) for i in order],
        reference_points=reference_points[:POINTS],
        delivery_points=delivery_points[:POINTS],
    )


def distances(
    reference: np.ndarray, delivery: np.ndarray, neighbours: int = NEIGHBOURS
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances to the reference: 1 - cosine, mean over the nearest neighbours.

    Args:
      reference: float32 [N, D], unit vectors, more photos than neighbours.
      delivery: float32 [M, D], unit vectors.

    Returns:
      float32 [N] of the reference's photos, each excluding itself, and float32 [M] of the
      delivery's.
    """
    import faiss  # not needed without a model

    index = faiss.IndexFlatIP(reference.shape[1])
    index.add(reference)
    own, _ = index.search(reference, neighbours + 1)  # the nearest is the photo itself
    far, _ = index.search(delivery, neighbours)
    return 1 - own[:, 1:].mean(axis=1), 1 - far.mean(axis=1)


def project(reference: np.ndarray, delivery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project both sides on the first two principal components of all points, [N, 2] and [M, 2]."""
    points = np.concatenate([reference, delivery]).astype(np.float64)
    points -= points.mean(axis=0)
    directions = np.linalg.eigh(points.T @ points)[1][:, :-3:-1]
    projected = points @ directions
    return projected[: len(reference)], projected[len(reference) :]


def _held_out_weights(points: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Return [held out, rest]: the weight of each known side in the score of a held-out photo."""
    centre = points[~held_out].mean(axis=0)
    known, scored = points[~held_out] - centre, points[held_out] - centre
    scatter = known.T @ known
    ridge = RIDGE * np.trace(scatter) / len(scatter) + 1e-12
    scatter[np.diag_indices_from(scatter)] += ridge
    return scored @ np.linalg.solve(scatter, known.T)


def _mean_aucs(weights: list[np.ndarray], fold: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Return float64 [R]: the mean area over folds for each column of sides [N, R]."""
    from scipy import stats  # slow to import

    areas = np.zeros(sides.shape[1])
    for k, of_fold in enumerate(weights):
        truth = sides[fold == k] > 0
        ranks = stats.rankdata(of_fold @ sides[fold != k], axis=0)
        delivered = truth.sum(axis=0)
        above = (ranks * truth).sum(axis=0) - delivered * (delivered + 1) / 2
        areas += above / (delivered * (len(truth) - delivered))
    return areas / FOLDS
