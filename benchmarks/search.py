"""Benchmark of search by photo, as in `attr-extractor search --measure`, on synthetic vectors."""

from __future__ import annotations

import numpy as np

from attr_extractor.enrichment.search import measure_search

_WIDTH, _DIRECTIONS = 1280, 32  # width of EfficientNet-B0, rank of the data


def made_up(count: int) -> str:
    """Return the `measure` report of synthetic vectors: Gaussian in a low-dimensional subspace."""
    random = np.random.default_rng(0)
    free = random.standard_normal([count, _DIRECTIONS], np.float32)
    directions = random.standard_normal([_DIRECTIONS, _WIDTH], np.float32)

    def block(first: int, number: int) -> np.ndarray:
        found = free[first : first + number] @ directions
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    return measure_search.measure(count, _WIDTH, block)
