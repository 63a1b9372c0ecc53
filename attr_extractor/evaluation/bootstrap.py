"""Confidence intervals by a Poisson bootstrap over products, in one pass and constant memory.

Every product draws one Poisson(1) weight per replicate, seeded by its identifier. All photos of a
product share these weights, and the result does not depend on the order or size of batches
(Chamandy et al., "Estimating Uncertainty for Massive Data Streams", 2012).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

REPLICATES = 1000
PERCENTILES = (2.5, 97.5)


def weights(product_ids: Sequence[bytes], seed: int = 0) -> np.ndarray:
    """Return the weight of each sample's product in each replicate, float64 [R, B]."""
    columns = {}
    for product in set(product_ids):
        digest = hashlib.blake2b(product, digest_size=8).digest()
        generator = np.random.default_rng([seed, int.from_bytes(digest, "big")])
        columns[product] = generator.poisson(1.0, REPLICATES)
    return np.stack([columns[product] for product in product_ids], axis=1).astype(np.float64)


def interval(replicates: np.ndarray) -> list[float] | None:
    """Return the 95 % percentile interval of float [R]; ignore replicates without a sample."""
    finite = replicates[np.isfinite(replicates)]
    if not len(finite):
        return None
    return [round(float(x), 5) for x in np.percentile(finite, PERCENTILES)]


def interval_of_mean(replicates: np.ndarray) -> list[float] | None:
    """Return the interval of the mean over attributes of float [R, T]; None if T is 0."""
    drew_some = replicates[np.isfinite(replicates).any(axis=1)]
    return interval(np.nanmean(drew_some, axis=1))
