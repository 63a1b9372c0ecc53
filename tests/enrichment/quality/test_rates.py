"""Claims about `enrichment/rates.py`: groups of few cells are drawn to the common rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from attr_extractor.enrichment.quality import rates


def test_two_cells_do_not_top_a_thousand():
    hits, cells = np.array([2, 300, 10, 5]), np.array([2, 1000, 1000, 1000])
    rate, low, high = rates.shrunk(hits, cells)
    assert np.argmax(low) == 1
    assert (low <= rate).all() and (rate <= high).all()
    assert abs(rate[1] - 0.3) < 0.01  # a thousand cells speak for themselves


def test_the_strength_of_beta_binomial_groups_is_found_again():
    generator = np.random.default_rng(0)
    cells = generator.integers(20, 200, 4000)
    hits = generator.binomial(cells, generator.beta(0.1 * 40, 0.9 * 40, 4000))
    assert 34 < rates.strength(hits, cells) < 46


def test_intervals_are_those_of_the_beta_distribution():
    hits, cells = np.array([0, 3, 40]), np.array([0, 30, 100])
    weight, common = rates.strength(hits, cells), 43 / 130
    rate, low, high = rates.shrunk(hits, cells)
    for i in range(3):
        law = stats.beta(hits[i] + weight * common, cells[i] - hits[i] + weight * (1 - common))
        assert [rate[i], low[i], high[i]] == pytest.approx(
            [law.mean(), law.ppf(0.05), law.ppf(0.95)]
        )


def test_nothing_to_compare_gives_finite_rates():
    for hits, cells in (([0, 0], [0, 0]), ([0, 0], [5, 7]), ([4], [4])):
        found = rates.shrunk(np.array(hits), np.array(cells))
        assert np.isfinite(found).all() and (np.array(found) >= 0).all()


def test_wilson_is_scipys():
    for hits, cells in ((0, 10), (3, 30), (742, 742)):
        expected = stats.binomtest(hits, cells).proportion_ci(0.95, "wilson")
        assert rates.wilson(hits, cells) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert rates.wilson(0, 0) == (0, 1)
