"""Test drift/embeddings.py against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from attr_extractor.enrichment.drift import embeddings
from attr_extractor.enrichment.drift.compare import Permutations


def unit_vectors(
    rng: np.random.Generator, count: int, shift: float = 0.0, width: int = 12
) -> np.ndarray:
    """Unit vectors around one direction."""
    points = rng.normal(size=[count, width]) * np.linspace(1, 0.2, width) + 1
    points[:, 0] += shift
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def test_held_out_scores_equal_those_of_a_ridge_regression():
    rng = np.random.default_rng(0)
    points, sides = unit_vectors(rng, 90), rng.permutation(np.repeat([0.0, 1.0], 45))
    held_out = np.arange(90) % 5 == 2
    known = points[~held_out].astype(np.float64)
    variance = ((known - known.mean(axis=0)) ** 2).sum() / known.shape[1]
    model = Ridge(alpha=embeddings.RIDGE * variance).fit(known, sides[~held_out])
    expected = model.predict(points[held_out])
    found = embeddings._held_out_weights(points, held_out) @ sides[~held_out]
    # a constant per fold changes no rank
    assert found - found.mean() == pytest.approx(expected - expected.mean(), abs=1e-4)


def test_mean_aucs_equal_the_mean_areas_under_the_roc_curves():
    rng = np.random.default_rng(1)
    points, fold = unit_vectors(rng, 60), np.arange(60) % embeddings.FOLDS
    sides = np.stack([rng.permutation(np.repeat([0.0, 1.0], 30)) for _ in range(3)], axis=1)
    weights = [embeddings._held_out_weights(points, fold == k) for k in range(embeddings.FOLDS)]
    found = embeddings._mean_aucs(weights, fold, sides)
    for column in range(3):
        y = sides[:, column]
        areas = [
            roc_auc_score(y[fold == k], weights[k] @ y[fold != k]) for k in range(embeddings.FOLDS)
        ]
        assert found[column] == pytest.approx(np.mean(areas))


def test_only_different_sides_are_separable():
    rng = np.random.default_rng(2)
    area, chance, p = embeddings.separability(
        unit_vectors(rng, 200), unit_vectors(rng, 150, 1.5), Permutations(499, rng)
    )
    assert area > 0.8 and abs(chance - 0.5) < 0.01 and p == 1 / 500
    area, _, p = embeddings.separability(
        unit_vectors(rng, 200), unit_vectors(rng, 150), Permutations(499, rng)
    )
    assert 0.35 < area < 0.65 and p > 0.01


def test_p_values_without_drift_are_uniform():
    p_values = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sides = unit_vectors(rng, 60), unit_vectors(rng, 25)
        p_values.append(embeddings.separability(*sides, Permutations(99, rng)).p)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_distances_equal_those_to_the_nearest_neighbours():
    rng = np.random.default_rng(4)
    reference, delivery = unit_vectors(rng, 600), unit_vectors(rng, 300, 1.0)
    own, far = embeddings.distances(reference, delivery, neighbours=3)
    search = NearestNeighbors(n_neighbors=4, metric="cosine").fit(reference)
    assert own == pytest.approx(search.kneighbors(reference)[0][:, 1:].mean(axis=1), abs=1e-5)
    expected = search.kneighbors(delivery, n_neighbors=3)[0].mean(axis=1)
    assert far == pytest.approx(expected, abs=1e-5)


def test_the_projection_equals_that_on_the_principal_components():
    rng = np.random.default_rng(5)
    reference, delivery = unit_vectors(rng, 80), unit_vectors(rng, 50, 2.0)
    found = np.concatenate(embeddings.project(reference, delivery))
    expected = PCA(2).fit_transform(np.concatenate([reference, delivery]))
    assert np.abs(found) == pytest.approx(np.abs(expected), abs=1e-4)
