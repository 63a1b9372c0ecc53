"""Two samples, one comparison: how far apart they are, and how far chance alone would put them.

The size is the population stability index, sum (q - p) ln(q / p) over the shares p of the
reference and q of the delivery; of numbers over the deciles of the reference. Chance and p-value
come from sharing out the products of both sides anew, so few products and rare values are no
reason for alarm. The p-value of numbers is Kolmogorov and Smirnov's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

PSI, SHARE, AUC = "PSI", "share", "AUC"  # kinds of sizes
DRIFTED, LOOK, SAME = "drifted", "look", "same"
DECILES = np.arange(1, 10) / 10
ATOM = 0.05  # a number that so large a share of the reference has is a level of its own
_DRAWN = 2**22  # counts that are held at a time


@dataclass
class Comparison:
    """One thing compared; shares are of each side's own total."""

    part: str  # labels, photos, scores or embedding
    subject: str  # an attribute, or what was measured
    what: str  # "values", "filled", ...; "" where the subject says all
    kind: str  # of the size
    size: float
    chance: float  # the size to expect where nothing has changed
    p: float
    products: tuple[int, int]  # of reference and delivery, what the p-value goes by
    levels: list[tuple[str, float, float]] = field(default_factory=list)  # name, p, q
    notes: list[str] = field(default_factory=list)
    distance: float | None = None  # Kolmogorov and Smirnov's, of numbers
    p_adjusted: float = 1.0  # for all comparisons of the run, by Holm
    verdict: str = SAME

    @property
    def excess(self) -> float:
        """The size beyond chance, which thresholds are about."""
        return self.size - self.chance

    @property
    def title(self) -> str:
        """`Neck type: values`."""
        return f"{self.subject}: {self.what}" if self.what else self.subject

    @property
    def moved(self) -> float:
        """Total variation: the share of the delivery that has other values than it had."""
        return sum(abs(q - p) for _, p, q in self.levels) / 2

    def most_moved(self, count: int) -> list[tuple[str, float, float]]:
        """The levels whose share has changed most."""
        changed = (level for level in self.levels if level[1] != level[2])
        return sorted(changed, key=lambda level: -abs(level[2] - level[1]))[:count]


def psi(reference: np.ndarray, delivery: np.ndarray) -> np.ndarray:
    """The population stability index of counts [..., B], float64 [...].

    Each side has one more count, shared out as both together are, so no share is 0.
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
    """Size, chance and p-value of two counts.

    Args:
      reference: [B], products with each of B values; rounded to whole ones. As `delivery`.
      draws: how often the products of both are shared out anew; the p-value is exact but for
        that, and at least 1 / (draws + 1).
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
    """The shares of what either side has, in the given order."""
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
    """Two samples of numbers, of reference and delivery, each with one at least."""
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
    """Where the deciles of a sample part numbers, and what each bin is called.

    A number that many of the sample have, such as the one width of a studio's photos, is a bin of
    its own: below it and above it are others.

    Returns:
      Rising cuts float64 [B - 1], bin b holding numbers from cut b - 1 up to below cut b; B names.
    """
    edges = np.unique(np.quantile(reference, DECILES))
    cuts: list[float] = []
    names: list[str] = []
    low: str | None = None  # where the bin begins that is not yet named
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
    """As few digits as tell the numbers apart, three at least."""
    for digits in range(3, 17):
        texts = [f"{number:.{digits}g}" for number in numbers]
        if len(set(texts)) == len(texts):
            break
    return texts


def adjust(p_values: Sequence[float]) -> list[float]:
    """Holm's: p-values that may be held against one level although there are several."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    adjusted = np.minimum(1, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    found = np.empty(len(order))
    found[order] = adjusted
    return found.tolist()


def _shared_out(
    pooled: np.ndarray, delivered: int, draws: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """int64 [n, B] that together make `draws` rows: counts of a delivery drawn from both."""
    most = max(1, _DRAWN // len(pooled))
    for start in range(0, draws, most):
        size = min(most, draws - start)
        yield rng.multivariate_hypergeometric(pooled, delivered, size=size, method="marginals")
