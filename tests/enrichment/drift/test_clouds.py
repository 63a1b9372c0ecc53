"""Claims about `drift/clouds.py`, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from attr_extractor.enrichment.drift import clouds


def cloud(rng: np.random.Generator, count: int, shift: float = 0.0, width: int = 12) -> np.ndarray:
    """Unit vectors around one direction."""
    points = rng.normal(size=[count, width]) * np.linspace(1, 0.2, width) + 1
    points[:, 0] += shift
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def test_held_out_scores_are_those_of_a_ridge_regression():
    rng = np.random.default_rng(0)
    points, sides = cloud(rng, 90), rng.permutation(np.repeat([0.0, 1.0], 45))
    held_out = np.arange(90) % 5 == 2
    known = points[~held_out].astype(np.float64)
    variance = ((known - known.mean(axis=0)) ** 2).sum() / known.shape[1]
    model = Ridge(alpha=clouds.RIDGE * variance).fit(known, sides[~held_out])
    expected = model.predict(points[held_out])
    found = clouds._held_out_weights(points, held_out) @ sides[~held_out]
    # a constant per fold changes no rank
    assert found - found.mean() == pytest.approx(expected - expected.mean(), abs=1e-4)


def test_areas_are_the_mean_of_those_under_the_roc_curves():
    rng = np.random.default_rng(1)
    points, fold = cloud(rng, 60), np.arange(60) % clouds.FOLDS
    sides = np.stack([rng.permutation(np.repeat([0.0, 1.0], 30)) for _ in range(3)], axis=1)
    weights = [clouds._held_out_weights(points, fold == k) for k in range(clouds.FOLDS)]
    found = clouds._areas(weights, fold, sides)
    for column in range(3):
        y = sides[:, column]
        areas = [
            roc_auc_score(y[fold == k], weights[k] @ y[fold != k]) for k in range(clouds.FOLDS)
        ]
        assert found[column] == pytest.approx(np.mean(areas))


def test_what_differs_is_told_apart_and_what_does_not_is_a_guess():
    rng = np.random.default_rng(2)
    area, chance, p = clouds.separability(cloud(rng, 200), cloud(rng, 150, 1.5), 499, rng)
    assert area > 0.8 and abs(chance - 0.5) < 0.01 and p == 1 / 500
    area, _, p = clouds.separability(cloud(rng, 200), cloud(rng, 150), 499, rng)
    assert 0.35 < area < 0.65 and p > 0.01


def test_without_drift_every_p_value_is_as_frequent():
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found.append(clouds.separability(cloud(rng, 60), cloud(rng, 25), 99, rng)[2])
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_distances_are_those_to_the_nearest_others():
    rng = np.random.default_rng(4)
    reference, delivery = cloud(rng, 600), cloud(rng, 300, 1.0)
    own, far = clouds.distances(reference, delivery, neighbours=3)
    search = NearestNeighbors(n_neighbors=4, metric="cosine").fit(reference)
    assert own == pytest.approx(search.kneighbors(reference)[0][:, 1:].mean(axis=1), abs=1e-5)
    expected = search.kneighbors(delivery, n_neighbors=3)[0].mean(axis=1)
    assert far == pytest.approx(expected, abs=1e-5)


def test_the_plane_is_that_of_the_principal_components():
    rng = np.random.default_rng(5)
    reference, delivery = cloud(rng, 80), cloud(rng, 50, 2.0)
    found = np.concatenate(clouds.plane(reference, delivery))
    expected = PCA(2).fit_transform(np.concatenate([reference, delivery]))
    assert np.abs(found) == pytest.approx(np.abs(expected), abs=1e-4)
