"""Confidence intervals by a Poisson bootstrap over products, in one pass and constant memory.

Every product draws one Poisson(1) weight per replicate, from its own identifier: photos of one
product move together, and the result does not depend on the order or the size of batches
(Chamandy et al., "Estimating Uncertainty for Massive Data Streams", 2012).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

REPLICATES = 1000
PERCENTILES = (2.5, 97.5)


def weights(product_ids: Sequence[bytes], seed: int = 0) -> np.ndarray:
    """float64 [R, B]: the weight of each sample's product in each replicate."""
    columns = {}
    for product in set(product_ids):
        digest = hashlib.blake2b(product, digest_size=8).digest()
        generator = np.random.default_rng([seed, int.from_bytes(digest, "big")])
        columns[product] = generator.poisson(1.0, REPLICATES)
    return np.stack([columns[product] for product in product_ids], axis=1).astype(np.float64)


def interval(replicates: np.ndarray) -> list[float] | None:
    """The 95 % percentile interval of float [R]; replicates that drew no sample are left out."""
    finite = replicates[np.isfinite(replicates)]
    if not len(finite):
        return None
    return [round(float(x), 5) for x in np.percentile(finite, PERCENTILES)]


def interval_of_mean(replicates: np.ndarray) -> list[float] | None:
    """The interval of the mean over attributes of float [R, T]; None where T is 0."""
    drew_some = replicates[np.isfinite(replicates).any(axis=1)]
    return interval(np.nanmean(drew_some, axis=1))
