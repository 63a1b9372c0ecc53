"""Comparison of two sets of embeddings: separability by a linear classifier, and distances.

The classifier is a ridge regression that predicts the side of a photo. Its scores of held-out
photos are linear in the sides, so one linear system per fold serves the actual sides and all
shuffled ones.
"""

from __future__ import annotations

import numpy as np

FOLDS = 5
LEAST = 4 * FOLDS  # minimum photos per side
RIDGE = 0.1  # relative to the mean variance of a direction
NEIGHBOURS = 5
_SHUFFLES = 512  # processed at a time
_ROWS = 256


def separability(
    reference: np.ndarray, delivery: np.ndarray, draws: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return how well the sides can be separated: area under the ROC curve of held-out photos.

    Args:
      reference: float [N, D], at least LEAST photos of distinct products; `delivery` likewise.
      draws: number of times that the sides are shuffled.

    Returns:
      The area, mean over FOLDS: 0.5 for chance, 1 for perfect separation; its mean over the
      shuffled sides; and the p-value, the share of them, including the actual sides, with at
      least this area.
    """
    points = np.concatenate([reference, delivery]).astype(np.float32)
    sides = np.repeat([0.0, 1.0], [len(reference), len(delivery)]).astype(np.float32)
    fold = np.empty(len(sides), np.int64)
    for side in (0, 1):  # each fold has photos of both sides
        members = rng.permutation(np.flatnonzero(sides == side))
        fold[members] = np.arange(len(members)) % FOLDS
    weights = [_held_out_weights(points, fold == k) for k in range(FOLDS)]
    real = _areas(weights, fold, sides[:, np.newaxis])[0]
    areas = np.empty(draws)
    for start in range(0, draws, _SHUFFLES):
        size = min(_SHUFFLES, draws - start)
        shuffled = np.empty([len(sides), size], np.float32)
        for k in range(FOLDS):
            within = np.repeat(sides[fold == k, np.newaxis], size, axis=1)
            shuffled[fold == k] = rng.permuted(within, axis=0)
        areas[start : start + size] = _areas(weights, fold, shuffled)
    as_large = int((areas >= real - 1e-9).sum())
    return float(real), float(areas.mean()), (as_large + 1) / (draws + 1)


def distances(
    reference: np.ndarray, delivery: np.ndarray, neighbours: int = NEIGHBOURS
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances to the reference: 1 - cosine, mean over the nearest neighbours.

    Args:
      reference: float [N, D], unit vectors, more photos than neighbours.
      delivery: float [M, D], unit vectors.

    Returns:
      float32 [N] of the reference's photos, each excluding itself, and float32 [M] of the
      delivery's.
    """
    own = np.empty(len(reference), np.float32)
    for start in range(0, len(reference), _ROWS):
        likeness = reference[start : start + _ROWS] @ reference.T
        rows = np.arange(len(likeness))
        likeness[rows, start + rows] = -np.inf
        own[start : start + _ROWS] = _mean_distance(likeness, neighbours)
    starts = range(0, len(delivery), _ROWS)
    parts = [_mean_distance(delivery[s : s + _ROWS] @ reference.T, neighbours) for s in starts]
    return own, np.concatenate(parts)


def plane(reference: np.ndarray, delivery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project both sides on the first two principal components of all points, [N, 2] and [M, 2]."""
    points = np.concatenate([reference, delivery]).astype(np.float64)
    points -= points.mean(axis=0)
    directions = np.linalg.eigh(points.T @ points)[1][:, :-3:-1]
    flat = points @ directions
    return flat[: len(reference)], flat[len(reference) :]


def _held_out_weights(points: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Return [held out, rest]: the weight of each known side in the score of a held-out photo."""
    centre = points[~held_out].mean(axis=0)
    known, asked = points[~held_out] - centre, points[held_out] - centre
    scatter = known.T @ known
    ridge = RIDGE * np.trace(scatter) / len(scatter) + 1e-12
    scatter[np.diag_indices_from(scatter)] += ridge
    return asked @ np.linalg.solve(scatter, known.T)


def _areas(weights: list[np.ndarray], fold: np.ndarray, sides: np.ndarray) -> np.ndarray:
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


def _mean_distance(likeness: np.ndarray, neighbours: int) -> np.ndarray:
    return 1 - np.partition(likeness, -neighbours, axis=1)[:, -neighbours:].mean(axis=1)
