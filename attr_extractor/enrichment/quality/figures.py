"""Figures of groups of cells: shares, and the contradicted share shrunk for small groups.

Groups have very different sizes, and two cells must not top a ranking. Empirical Bayes: the rates
of all groups have a common beta prior. Its mean is the overall rate; its strength is estimated from
the variance between groups (Kleinman 1973, "Proportions with extraneous variance"). A small group
stays near the overall rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

import numpy as np
from scipy import special

from attr_extractor.enrichment.quality import counts as kinds
from attr_extractor.enrichment.quality.counts import KINDS

CELLS_OF_PRIOR = (10.0, 1000.0)  # minimum and maximum weight of the prior
TAIL = 0.05  # probability that a rate is below its `low`; the same above its `high`


@dataclass(frozen=True)
class GroupFigures:
    """Counts and shares of the cells of one attribute, category or seller; None: undefined.

    The fields are the keys in quality.json.
    """

    agreed: int
    contradicted: int
    doubtful: int
    unlisted: int
    unjudged: int
    filled: int
    unanswered: int
    unseen: int
    given: int  # cells with a seller's value
    empty: int  # cells without one
    complete: Optional[float]  # share of given cells
    complete_after: Optional[float]  # share of given and filled cells
    filled_share: Optional[float]  # of the empty cells
    judged: int  # given cells with a readable photo
    agreed_share: Optional[float]  # of the judged cells, as the next two
    contradicted_share: Optional[float]
    doubtful_share: Optional[float]  # unlisted values are doubtful
    rate: float  # contradicted share and its interval, see `shrunk`
    low: float
    high: float


def group_figures(
    names: Sequence[str], counts: np.ndarray, most: int | None = None
) -> dict[str, GroupFigures]:
    """Return figures of the groups that have cells, by name, in descending order of `low`.

    Args:
      names: names of the G groups.
      counts: int64 [G, KINDS].
      most: maximum number of groups, by default all.
    """
    judged = counts[:, : kinds.UNJUDGED].sum(axis=1)
    rate, low, high = shrunk(counts[:, kinds.CONTRADICTED], judged)
    order = np.lexsort((np.arange(len(counts)), -judged, -low))
    groups = {}
    for g in order[counts[order].sum(axis=1) > 0][:most].tolist():
        of_kind = dict(zip(KINDS, counts[g].tolist()))
        given = sum(of_kind[kind] for kind in KINDS[: kinds.FILLED])
        empty = sum(of_kind[kind] for kind in KINDS[kinds.FILLED :])
        num_judged = int(judged[g])
        groups[names[g]] = GroupFigures(
            **of_kind,
            given=given,
            empty=empty,
            complete=_share(given, given + empty),
            complete_after=_share(given + of_kind["filled"], given + empty),
            filled_share=_share(of_kind["filled"], empty),
            judged=num_judged,
            agreed_share=_share(of_kind["agreed"], num_judged),
            contradicted_share=_share(of_kind["contradicted"], num_judged),
            doubtful_share=_share(of_kind["doubtful"] + of_kind["unlisted"], num_judged),
            rate=round(float(rate[g]), 6),
            low=round(float(low[g]), 6),
            high=round(float(high[g]), 6),
        )
    return groups


def prior_weight(hits: np.ndarray, cells: np.ndarray) -> float:
    """Return the weight of the prior in cells: 1 / rho - 1, rho the correlation within groups.

    Args:
      hits: int [G], hits among the cells of each group.
      cells: int [G], cells of each group.
    """
    least, most = CELLS_OF_PRIOR
    hits, cells = hits[cells > 0], cells[cells > 0]
    total = cells.sum()
    rate = hits.sum() / max(total, 1)
    variance = rate * (1 - rate)  # of a cell
    between = total - (cells**2).sum() / max(total, 1) - (len(cells) - 1)
    if len(cells) < 2 or variance == 0 or between <= 0:
        return most
    spread = (cells * (hits / cells - rate) ** 2).sum()
    rho = (spread - variance * (len(cells) - 1)) / (variance * between)
    return most if rho <= 0 else float(np.clip(1 / rho - 1, least, most))


def shrunk(hits: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rate, low and high of each group, float64 [G]: mean and quantiles of its posterior."""
    hits, cells = hits.astype(np.float64), cells.astype(np.float64)
    weight = prior_weight(hits, cells)
    rate = hits.sum() / max(cells.sum(), 1)
    a = np.maximum(hits + weight * rate, 1e-9)
    b = np.maximum(cells - hits + weight * (1 - rate), 1e-9)
    low, high = (special.betaincinv(a, b, q) for q in (TAIL, 1 - TAIL))
    return a / (a + b), low, high


def _share(count: int, total: int) -> float | None:
    return round(count / total, 6) if total else None
