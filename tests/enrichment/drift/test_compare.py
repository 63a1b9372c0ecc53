"""Test drift/compare.py against SciPy, enumeration and sums by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from attr_extractor.enrichment.drift import compare
from attr_extractor.enrichment.drift.compare import Permutations


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def psi_by_hand(reference: list[int], delivery: list[int]) -> float:
    n, m, total = sum(reference), sum(delivery), 0.0
    for r, d in zip(reference, delivery):
        both = (r + d) / (n + m)
        p, q = (r + both) / (n + 1), (d + both) / (m + 1)
        total += (q - p) * math.log(q / p) if both else 0
    return total


def test_psi_equals_the_sum_by_hand():
    cases = [([80, 20], [40, 10]), ([500, 300, 200], [10, 30, 60]), ([9, 0, 1, 0], [0, 4, 1, 0])]
    for reference, delivery in cases:
        found = compare.psi(np.array(reference), np.array(delivery))
        assert found == pytest.approx(psi_by_hand(reference, delivery))
    assert compare.psi(np.array([80, 20]), np.array([40, 10])) == pytest.approx(0, abs=1e-12)
    # for large counts it equals the usual formula: 0.2 ln(0.7 / 0.5) - 0.2 ln(0.3 / 0.5)
    found = compare.psi(np.array([500_000, 500_000]), np.array([700_000, 300_000]))
    assert found == pytest.approx(0.2 * math.log(0.7 / 0.5) - 0.2 * math.log(0.3 / 0.5), rel=1e-4)


@pytest.mark.parametrize("counts", [([30, 5], [8, 6]), ([200, 10], [20, 4]), ([6, 1], [1, 3])])
def test_the_p_value_of_two_values_equals_the_enumerated_one(counts, rng):
    (a, b), (c, d) = counts
    _, chance, p = compare.psi_test(*map(np.array, counts), Permutations(40_000, rng))
    table = stats.hypergeom(a + b + c + d, a + c, c + d)
    observed, exact, mean = psi_by_hand(*counts), 0.0, 0.0
    for k in range(max(0, c + d - b - d), min(a + c, c + d) + 1):
        size = psi_by_hand([a + c - k, b + d - (c + d - k)], [k, c + d - k])
        exact += table.pmf(k) * (size >= observed - 1e-12)
        mean += table.pmf(k) * size
    assert p == pytest.approx(exact, abs=0.01)
    assert chance == pytest.approx(mean, rel=0.03)


def test_the_p_value_of_large_counts_equals_that_of_chi_square(rng):
    reference = rng.multinomial(20_000, [0.4, 0.3, 0.2, 0.1])
    for shares in ([0.4, 0.3, 0.2, 0.1], [0.41, 0.3, 0.2, 0.09], [0.42, 0.29, 0.2, 0.09]):
        delivery = rng.multinomial(4_000, shares)
        _, chance, p = compare.psi_test(reference, delivery, Permutations(20_000, rng))
        expected = stats.chi2_contingency([reference, delivery]).pvalue
        assert p == pytest.approx(expected, abs=0.015)
        assert chance == pytest.approx(3 * (1 / 20_000 + 1 / 4_000), rel=0.05)


def test_counts_of_one_value_or_an_empty_side_show_no_drift(rng):
    for reference, delivery in [([5, 0], [9, 0]), ([0, 0], [1, 2]), ([3, 1], [0, 0])]:
        sides = np.array(reference), np.array(delivery)
        found = compare.psi_test(*sides, Permutations(10, rng))
        assert found == (0.0, 0.0, 1.0)


def test_permutations_in_blocks_give_the_same_result(monkeypatch):
    rng = np.random.default_rng(1)
    counts = rng.multinomial(4000, np.ones(40) / 40), rng.multinomial(500, np.ones(40) / 40)
    whole = compare.psi_test(*counts, Permutations(3000, np.random.default_rng(2)))
    monkeypatch.setattr(compare, "_COUNTS_AT_ONCE", 40 * 7)
    in_blocks = compare.psi_test(*counts, Permutations(3000, np.random.default_rng(2)))
    assert in_blocks == pytest.approx(whole)


def test_bins_are_deciles_and_a_frequent_number_has_its_own_bin(rng):
    numbers = rng.normal(size=5000)
    cuts, names = compare.bins(numbers)
    assert cuts.tolist() == pytest.approx(np.quantile(numbers, np.arange(1, 10) / 10).tolist())
    assert len(names) == 10 and names[0].startswith("below") and names[-1].endswith("and more")
    cuts, names = compare.bins(np.array([224.0] * 40))
    assert names == ["below 224", "224", "above 224"]
    where = np.searchsorted(cuts, [223.9, 224, 224.1], side="right")
    assert where.tolist() == [0, 1, 2]
    mixed = np.concatenate([np.full(600, 100.0), rng.uniform(200, 300, 400)])
    cuts, names = compare.bins(mixed)
    counts = np.bincount(np.searchsorted(cuts, mixed, side="right"), minlength=len(names))
    assert counts[names.index("100")] == 600 and counts.sum() == 1000
    assert counts[names.index("below 100")] == 0


def test_numbers_are_compared_over_deciles_and_by_the_largest_distance(rng):
    reference, delivery = rng.normal(size=900), rng.normal(0.5, 1, size=300)
    found = compare.compare_numbers(
        ("photos", "Width", ""), reference, delivery, Permutations(500, rng)
    )
    points = np.sort(np.concatenate([reference, delivery]))
    below = [
        np.searchsorted(np.sort(side), points, "right") / len(side)
        for side in (reference, delivery)
    ]
    assert found.ks == pytest.approx(np.abs(below[0] - below[1]).max())
    edges = [-np.inf, *np.quantile(reference, np.arange(1, 10) / 10), np.inf]
    counts = [np.histogram(side, edges)[0].tolist() for side in (reference, delivery)]
    assert found.size == pytest.approx(psi_by_hand(*counts))
    assert found.products == (900, 300) and found.p < 1e-6
    assert [q for _, _, q in found.levels] == pytest.approx([c / 300 for c in counts[1]])


def test_moved_is_the_total_variation_and_the_largest_change_comes_first():
    levels = compare.levels(["a", "b", "c", "d"], np.array([6, 2, 2, 0]), np.array([1, 1, 2, 0]))
    assert [name for name, _, _ in levels] == ["a", "b", "c"]
    found = compare.Comparison("labels", "X", "values", compare.PSI, 1, 0, 0, (10, 4), levels)
    assert found.moved == pytest.approx(0.35)  # (0.35 + 0.05 + 0.3) / 2
    assert [name for name, _, _ in found.most_changed(2)] == ["a", "c"]


def test_holm_equals_the_adjustment_by_hand():
    assert compare.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert compare.holm([0.9, 0.001, 0.5, 0.02]) == pytest.approx([1.0, 0.004, 1.0, 0.06])
    assert compare.holm([]) == []


def test_false_alarms_are_not_more_frequent_than_alpha():
    """20 comparisons a run: at most alpha of the runs without drift have a significant one."""
    rng, shares, alarms, runs = np.random.default_rng(3), [0.6, 0.2, 0.1, 0.08, 0.02], 0, 100
    for _ in range(runs):
        p_values = []
        for _ in range(10):
            sides = rng.multinomial(400, shares), rng.multinomial(60, shares)
            p_values.append(compare.psi_test(*sides, Permutations(399, rng)).p)
            numbers = rng.gamma(2, size=400), rng.gamma(2, size=60)
            p_values.append(
                compare.compare_numbers(("a", "b", "c"), *numbers, Permutations(1, rng)).p
            )
        alarms += min(compare.holm(p_values)) <= 0.2
    # 100 runs at 0.2 have more than so many alarms once in a hundred times
    assert 0 < alarms <= stats.binom.ppf(0.99, runs, 0.2)
