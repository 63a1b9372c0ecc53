"""Shrunk rates of groups of very different sizes, so that two cells do not top a ranking.

Empirical Bayes: the rates of all groups have a common beta prior. Its mean is the overall rate; its
strength is estimated from the variance between groups (Kleinman 1973, "Proportions with extraneous
variance"). A small group stays near the overall rate.
"""

from __future__ import annotations

import numpy as np
from scipy import special

CELLS_OF_PRIOR = (10.0, 1000.0)  # minimum and maximum weight of the prior
SURELY = 0.05  # probability that a rate is below its `low`; the same above its `high`


def strength(hits: np.ndarray, cells: np.ndarray) -> float:
    """Return the weight of the prior in cells: 1 / rho - 1, rho the correlation within groups.

    Args:
      hits: int [G], hits among the cells of each group.
      cells: int [G], cells of each group.
    """
    least, most = CELLS_OF_PRIOR
    hits, cells = hits[cells > 0], cells[cells > 0]
    total = cells.sum()
    rate = hits.sum() / max(total, 1)
    usual = rate * (1 - rate)  # the variance of a cell
    between = total - (cells**2).sum() / max(total, 1) - (len(cells) - 1)
    if len(cells) < 2 or usual == 0 or between <= 0:
        return most
    spread = (cells * (hits / cells - rate) ** 2).sum()
    rho = (spread - usual * (len(cells) - 1)) / (usual * between)
    return most if rho <= 0 else float(np.clip(1 / rho - 1, least, most))


def shrunk(hits: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rate, low and high of each group, float64 [G]: mean and quantiles of its posterior."""
    hits, cells = hits.astype(np.float64), cells.astype(np.float64)
    weight = strength(hits, cells)
    rate = hits.sum() / max(cells.sum(), 1)
    a = np.maximum(hits + weight * rate, 1e-9)
    b = np.maximum(cells - hits + weight * (1 - rate), 1e-9)
    low, high = (special.betaincinv(a, b, q) for q in (SURELY, 1 - SURELY))
    return a / (a + b), low, high


def wilson(hits: float, cells: float, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a single rate (Wilson 1927); (0, 1) without cells."""
    if not cells:
        return 0.0, 1.0
    share, scale = hits / cells, 1 + z * z / cells
    middle = (share + z * z / (2 * cells)) / scale
    half = z / scale * (share * (1 - share) / cells + z * z / (4 * cells * cells)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)
