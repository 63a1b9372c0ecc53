"""Statistical comparison of two samples: size of the difference, size by chance, p-value.

The size is the population stability index, sum (q - p) ln(q / p), with the shares p of the
reference and q of the delivery. Numbers are first binned by the deciles of the reference. Chance
and p-value are estimated by permuting the products of both sides, so that few products and rare
values do not cause false alarms. The p-value of numbers is that of the Kolmogorov-Smirnov test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

PSI, SHARE, AUC = "PSI", "share", "AUC"  # kinds of sizes
DRIFTED, LOOK, SAME = "drifted", "look", "same"
DECILES = np.arange(1, 10) / 10
ATOM = 0.05  # a number with at least this share of the reference gets its own bin
_DRAWN = 2**22  # counts held in memory at a time


@dataclass
class Comparison:
    """One comparison; shares are relative to the total of each side."""

    part: str  # labels, photos, scores or embedding
    subject: str  # an attribute, or what was measured
    what: str  # "values", "filled", ...; "" if the subject is sufficient
    kind: str  # of the size
    size: float
    chance: float  # the expected size without drift
    p: float
    products: tuple[int, int]  # of reference and delivery, for the p-value
    levels: list[tuple[str, float, float]] = field(default_factory=list)  # name, p, q
    notes: list[str] = field(default_factory=list)
    distance: float | None = None  # Kolmogorov-Smirnov statistic, for numbers
    p_adjusted: float = 1.0  # for all comparisons of the run, by Holm's method
    verdict: str = SAME

    @property
    def excess(self) -> float:
        """The size beyond chance, which thresholds apply to."""
        return self.size - self.chance

    @property
    def title(self) -> str:
        """The title, such as `Neck type: values`."""
        return f"{self.subject}: {self.what}" if self.what else self.subject

    @property
    def moved(self) -> float:
        """Total variation distance: the share of the delivery whose values have changed."""
        return sum(abs(q - p) for _, p, q in self.levels) / 2

    def most_moved(self, count: int) -> list[tuple[str, float, float]]:
        """Return the levels with the largest change of their share."""
        changed = (level for level in self.levels if level[1] != level[2])
        return sorted(changed, key=lambda level: -abs(level[2] - level[1]))[:count]


def psi(reference: np.ndarray, delivery: np.ndarray) -> np.ndarray:
    """Return the population stability index of counts [..., B], float64 [...].

    Each side gets one pseudo-count, distributed as the pooled counts, so that no share is 0.
    """
    r = reference.sum(axis=-1, keepdims=True)
    d = delivery.sum(axis=-1, keepdims=True)
    pooled = (reference + delivery) / (r + d)
    p, q = (reference + pooled) / (r + 1), (delivery + pooled) / (d + 1)
    there = pooled > 0
    ratio = np.where(there, q, 1.0) / np.where(there, p, 1.0)
    return ((q - p) * np.log(ratio)).sum(axis=-1)


def of_counts(
    reference: np.ndarray, delivery: np.ndarray, draws: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return size, chance and p-value for two vectors of counts.

    Args:
      reference: [B], products with each of B values; rounded to integers. `delivery` likewise.
      draws: number of permutations of the products of both sides; the p-value is exact up to
        sampling error, and at least 1 / (draws + 1).
    """
    counts = np.rint([reference, delivery]).astype(np.int64)
    counts = counts[:, counts.sum(axis=0) > 0]
    if counts.shape[1] < 2 or not counts.sum(axis=1).all():
        return 0.0, 0.0, 1.0
    size = float(psi(*counts))
    total, as_large = 0.0, 0
    for drawn in _shared_out(counts.sum(axis=0), int(counts[1].sum()), draws, rng):
        by_chance = psi(counts.sum(axis=0) - drawn, drawn)
        total += by_chance.sum()
        as_large += int((by_chance >= size - 1e-12).sum())
    return size, total / draws, (as_large + 1) / (draws + 1)


def levels(
    names: Sequence[str], reference: np.ndarray, delivery: np.ndarray
) -> list[tuple[str, float, float]]:
    """Return the shares of all values that occur on either side, in the given order."""
    p, q = (np.asarray(c, float) / max(float(np.sum(c)), 1e-12) for c in (reference, delivery))
    return [(n, float(a), float(b)) for n, a, b in zip(names, p, q) if a or b]


def of_numbers(
    part: str,
    subject: str,
    what: str,
    values: tuple[np.ndarray, np.ndarray],
    draws: int,
    rng: np.random.Generator,
) -> Comparison:
    """Compare two samples of numbers, reference and delivery, each with at least one."""
    from scipy import stats  # slow to import

    reference, delivery = (np.asarray(side, np.float64) for side in values)
    cuts, names = bins(reference)
    counts = [
        np.bincount(np.searchsorted(cuts, side, side="right"), minlength=len(names))
        for side in (reference, delivery)
    ]
    size, chance, _ = of_counts(counts[0], counts[1], draws, rng)
    test = stats.ks_2samp(reference, delivery, method="asymp")
    return Comparison(
        *(part, subject, what, PSI, size, chance, float(test.pvalue)),
        products=(len(reference), len(delivery)),
        levels=levels(names, *counts),
        distance=float(test.statistic),
    )


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
    for edge, text in zip(edges.tolist(), _texts(edges.tolist())):
        names.append(f"below {text}" if low is None else f"{low} to {text}")
        cuts.append(edge)
        low = text
        if np.mean(reference == edge) >= ATOM:
            names.append(text)
            cuts.append(float(np.nextafter(edge, np.inf)))
            low = f"above {text}"
    names.append(low if low and low.startswith("above") else f"{low} and more")
    return np.array(cuts), names


def _texts(numbers: Sequence[float]) -> list[str]:
    """Format numbers with as few digits as keep them distinct, at least three."""
    for digits in range(3, 17):
        texts = [f"{number:.{digits}g}" for number in numbers]
        if len(set(texts)) == len(texts):
            break
    return texts


def adjust(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple comparisons with Holm's method."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    adjusted = np.minimum(1, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    found = np.empty(len(order))
    found[order] = adjusted
    return found.tolist()


def _shared_out(
    pooled: np.ndarray, delivered: int, draws: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield counts of deliveries drawn at random from the pooled counts.

    The arrays are int64 [n, B], with `draws` rows in total.
    """
    most = max(1, _DRAWN // len(pooled))
    for start in range(0, draws, most):
        size = min(most, draws - start)
        yield rng.multivariate_hypergeometric(pooled, delivered, size=size, method="marginals")
