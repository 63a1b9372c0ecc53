"""Statistical comparison of two samples: effect size, its expectation by chance, and p-value.

The effect size of counts and numbers is the population stability index, sum (q - p) ln(q / p), with
the shares p of the reference and q of the delivery. Numbers are first binned by the deciles of the
reference. Chance and p-value are estimated by permuting the products of both sides, so that few
products and rare values do not cause false alarms. The p-value of numbers is that of the
Kolmogorov-Smirnov test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Optional, Tuple

import numpy as np

PSI, SHARE, AUC = "PSI", "share", "AUC"  # kinds of effect sizes
DRIFTED, LOOK, SAME = VERDICTS = ("drifted", "look", "same")
DECILES = np.arange(1, 10) / 10
ATOM = 0.05  # a number with at least this share of the reference gets its own bin
_COUNTS_AT_ONCE = 2**22  # permuted counts held in memory


class Level(NamedTuple):
    """A value or a range of numbers, with its share of each side."""

    name: str
    reference: float
    delivery: float

    @property
    def change(self) -> float:
        """Absolute change of the share."""
        return abs(self.delivery - self.reference)


class Effect(NamedTuple):
    """Result of a permutation test."""

    size: float
    chance: float  # mean size of the permutations
    p: float  # share of the permutations with at least this size, including the actual sides


@dataclass(frozen=True)
class Permutations:
    """Number and random number generator of the permutations of a run."""

    draws: int
    rng: np.random.Generator


@dataclass(frozen=True)
class Comparison:
    """One comparison of a delivery with its reference."""

    aspect: str  # labels, photos, scores or embedding
    subject: str  # an attribute, or what was measured
    measure: str  # "values", "filled", ...; "" if the subject is sufficient
    kind: str  # of the effect size
    size: float
    chance: float  # the expected size without drift
    p: float
    products: Tuple[int, int]  # of reference and delivery, for the p-value
    levels: Tuple[Level, ...] = ()
    notes: Tuple[str, ...] = ()
    ks: Optional[float] = None  # Kolmogorov-Smirnov statistic, for numbers
    p_adjusted: float = 1.0  # for all comparisons of the run, by Holm's method
    verdict: str = SAME

    @property
    def excess(self) -> float:
        """The size beyond chance, which thresholds apply to."""
        return self.size - self.chance

    @property
    def title(self) -> str:
        """The title, such as `Neck type: values`."""
        return f"{self.subject}: {self.measure}" if self.measure else self.subject

    @property
    def moved(self) -> float:
        """Total variation distance: the share of the delivery whose values have changed."""
        return sum(level.change for level in self.levels) / 2

    def most_changed(self, count: int) -> list[Level]:
        """Return at most `count` changed levels, those with the largest change first."""
        changed = [level for level in self.levels if level.change]
        return sorted(changed, key=lambda level: -level.change)[:count]

    def with_notes(self, *notes: str) -> Comparison:
        """Return the comparison with notes added."""
        return dataclasses.replace(self, notes=(*self.notes, *notes))


def compare_counts(
    subject: tuple[str, str, str],
    names: Sequence[str],
    counts: tuple[np.ndarray, np.ndarray],
    permutations: Permutations,
    effective: tuple[np.ndarray, np.ndarray] | None = None,
) -> Comparison:
    """Compare the shares of values.

    Args:
      subject: aspect, subject and measure of the comparison.
      names: the B values.
      counts: [B] of reference and delivery.
      effective: [B] of reference and delivery in independent products, for the test; by default
        `counts`.
    """
    tested = counts if effective is None else effective
    effect = psi_test(*tested, permutations)
    products = (round(float(tested[0].sum())), round(float(tested[1].sum())))
    return Comparison(*subject, PSI, *effect, products, levels=levels(names, *counts))


def compare_numbers(
    subject: tuple[str, str, str],
    reference: np.ndarray,
    delivery: np.ndarray,
    permutations: Permutations,
) -> Comparison:
    """Compare two samples of numbers, each with at least one.

    Args:
      subject: aspect, subject and measure of the comparison.
    """
    from scipy import stats  # slow to import

    sides = [np.asarray(side, np.float64) for side in (reference, delivery)]
    cuts, names = bins(sides[0])
    counts = [
        np.bincount(np.searchsorted(cuts, side, side="right"), minlength=len(names))
        for side in sides
    ]
    effect = psi_test(counts[0], counts[1], permutations)
    test = stats.ks_2samp(*sides, method="asymp")
    return Comparison(
        *subject,
        PSI,
        effect.size,
        effect.chance,
        float(test.pvalue),
        products=(len(reference), len(delivery)),
        levels=levels(names, *counts),
        ks=float(test.statistic),
    )


def compare_share(
    subject: tuple[str, str, str],
    names: tuple[str, str],
    counts: tuple[int, int],
    totals: tuple[int, int],
) -> Comparison:
    """Test whether an unwanted share has increased, with Fisher's exact test.

    Args:
      subject: aspect, subject and measure of the comparison.
      names: of the unwanted cases and of the others.
      counts: unwanted cases of reference and delivery.
      totals: all cases of reference and delivery.
    """
    from scipy import stats  # slow to import

    before, now = (np.array([n, total - n]) for n, total in zip(counts, totals))
    p = float(stats.fisher_exact([now, before], alternative="greater").pvalue)
    growth = counts[1] / max(1, totals[1]) - counts[0] / max(1, totals[0])
    return Comparison(*subject, SHARE, growth, 0.0, p, totals, levels=levels(names, before, now))


def judge(
    comparisons: Sequence[Comparison], limits: Mapping[str, float], alpha: float
) -> list[Comparison]:
    """Return all comparisons of a run with verdicts and adjusted p-values.

    Args:
      limits: drift threshold of the size beyond chance, by kind; half of it is worth a look.
      alpha: probability of a false alarm, over all comparisons together.
    """
    judged = []
    for c, p in zip(comparisons, holm([c.p for c in comparisons])):
        verdict = SAME
        if p <= alpha and c.excess >= limits[c.kind] / 2:
            verdict = DRIFTED if c.excess >= limits[c.kind] else LOOK
        judged.append(dataclasses.replace(c, p_adjusted=p, verdict=verdict))
    return judged


def psi(reference: np.ndarray, delivery: np.ndarray) -> np.ndarray:
    """Return the population stability index of counts [..., B], float64 [...].

    Each side gets one pseudo-count, distributed as the pooled counts, so that no share is 0.
    """
    r = reference.sum(axis=-1, keepdims=True)
    d = delivery.sum(axis=-1, keepdims=True)
    pooled = (reference + delivery) / (r + d)
    p, q = (reference + pooled) / (r + 1), (delivery + pooled) / (d + 1)
    occurs = pooled > 0
    ratio = np.where(occurs, q, 1.0) / np.where(occurs, p, 1.0)
    return ((q - p) * np.log(ratio)).sum(axis=-1)


def psi_test(reference: np.ndarray, delivery: np.ndarray, permutations: Permutations) -> Effect:
    """Test two vectors of counts by permuting the products of both sides.

    The p-value is exact up to sampling error, and at least 1 / (draws + 1).

    Args:
      reference: [B], products with each of B values; rounded to integers. `delivery` likewise.
    """
    counts = np.rint([reference, delivery]).astype(np.int64)
    counts = counts[:, counts.sum(axis=0) > 0]
    if counts.shape[1] < 2 or not counts.sum(axis=1).all():
        return Effect(0.0, 0.0, 1.0)
    size = float(psi(*counts))
    pooled = counts.sum(axis=0)
    total, as_large = 0.0, 0
    for drawn in _permuted_deliveries(pooled, int(counts[1].sum()), permutations):
        by_chance = psi(pooled - drawn, drawn)
        total += by_chance.sum()
        as_large += int((by_chance >= size - 1e-12).sum())
    draws = permutations.draws
    return Effect(size, total / draws, (as_large + 1) / (draws + 1))


def levels(names: Sequence[str], reference: np.ndarray, delivery: np.ndarray) -> tuple[Level, ...]:
    """Return the shares of all values that occur on either side, in the given order."""
    p, q = (np.asarray(c, float) / max(float(np.sum(c)), 1e-12) for c in (reference, delivery))
    return tuple(Level(n, float(a), float(b)) for n, a, b in zip(names, p, q) if a or b)


def bins(reference: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return cuts at the deciles of a sample, and the name of each bin.

    A frequent number, such as the standard width of a studio's photos, gets its own bin, with
    separate bins below and above.

    Returns:
      Increasing cuts float64 [B - 1], where bin b contains numbers from cut b - 1 up to below cut
      b; and B names.
    """
    edges = np.unique(np.quantile(reference, DECILES))
    cuts: list[float] = []
    names: list[str] = []
    low: str | None = None  # lower end of the bin without a name
    for edge, text in zip(edges.tolist(), _distinct_texts(edges.tolist())):
        names.append(f"below {text}" if low is None else f"{low} to {text}")
        cuts.append(edge)
        low = text
        if np.mean(reference == edge) >= ATOM:
            names.append(text)
            cuts.append(float(np.nextafter(edge, np.inf)))
            low = f"above {text}"
    names.append(low if low and low.startswith("above") else f"{low} and more")
    return np.array(cuts), names


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple comparisons with Holm's method."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    return adjusted.tolist()


def _distinct_texts(numbers: Sequence[float]) -> list[str]:
    """Format numbers with as few digits as keep them distinct, at least three."""
    for digits in range(3, 17):
        texts = [f"{number:.{digits}g}" for number in numbers]
        if len(set(texts)) == len(texts):
            break
    return texts


def _permuted_deliveries(
    pooled: np.ndarray, delivered: int, permutations: Permutations
) -> Iterator[np.ndarray]:
    """Yield counts of deliveries drawn at random from the pooled counts.

    The arrays are int64 [n, B], with `draws` rows in total.
    """
    most = max(1, _COUNTS_AT_ONCE // len(pooled))
    for start in range(0, permutations.draws, most):
        size = min(most, permutations.draws - start)
        yield permutations.rng.multivariate_hypergeometric(
            pooled, delivered, size=size, method="marginals"
        )
