"""Test quality/figures.py: rates of small groups are shrunk towards the common rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from attr_extractor.enrichment.quality import figures


def test_a_group_of_two_cells_does_not_rank_first():
    hits, cells = np.array([2, 300, 10, 5]), np.array([2, 1000, 1000, 1000])
    rate, low, high = figures.shrunk(hits, cells)
    assert np.argmax(low) == 1
    assert (low <= rate).all() and (rate <= high).all()
    assert abs(rate[1] - 0.3) < 0.01  # a thousand cells are hardly shrunk


def test_the_weight_of_the_prior_of_beta_binomial_groups_is_recovered():
    generator = np.random.default_rng(0)
    cells = generator.integers(20, 200, 4000)
    hits = generator.binomial(cells, generator.beta(0.1 * 40, 0.9 * 40, 4000))
    assert 34 < figures.prior_weight(hits, cells) < 46


def test_intervals_equal_those_of_the_beta_distribution():
    hits, cells = np.array([0, 3, 40]), np.array([0, 30, 100])
    weight, common = figures.prior_weight(hits, cells), 43 / 130
    rate, low, high = figures.shrunk(hits, cells)
    for i in range(3):
        law = stats.beta(hits[i] + weight * common, cells[i] - hits[i] + weight * (1 - common))
        assert [rate[i], low[i], high[i]] == pytest.approx(
            [law.mean(), law.ppf(0.05), law.ppf(0.95)]
        )


def test_empty_and_single_groups_have_finite_rates():
    for hits, cells in (([0, 0], [0, 0]), ([0, 0], [5, 7]), ([4], [4])):
        found = figures.shrunk(np.array(hits), np.array(cells))
        assert np.isfinite(found).all() and (np.array(found) >= 0).all()
