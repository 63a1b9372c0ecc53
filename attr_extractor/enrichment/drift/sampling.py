"""Sampling by a stable hash: products, and one photo per product.

There is one photo per product, so that the photos of a sample are independent. The choice does not
depend on the position of a product in a table, and the same photo of a product is always chosen.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np

from attr_extractor.catalogue.splits import uniform


class Smallest:
    """The `count` products with the smallest hashes, each with attached data."""

    def __init__(self, count: int, seed: int):
        self.count, self.seed = count, seed
        self._heap: list[tuple[float, str, Any]] = []  # the largest hash first

    def offer(self, product: str, what: Any) -> None:
        """Add a new product if its hash is small enough."""
        key = -uniform("drift", self.seed, product)
        if len(self._heap) < self.count:
            heapq.heappush(self._heap, (key, product, what))
        elif key > self._heap[0][0]:
            heapq.heapreplace(self._heap, (key, product, what))

    def chosen(self) -> list[tuple[str, Any]]:
        """Return the chosen products and their data, sorted by hash."""
        return [(product, what) for _, product, what in sorted(self._heap, key=lambda e: -e[0])]


def photo_of(product: str, image_index: Sequence[int], seed: int) -> int:
    """Return the position of the chosen photo among the numbered photos of a product."""
    if len(image_index) == 1:
        return 0
    keys = [uniform("drift photo", seed, product, index) for index in image_index]
    return int(np.argmin(keys))


def one_each(products: Sequence[str], image_index: Sequence[int], seed: int) -> list[int]:
    """Return the positions of one photo per product, in the order of the products."""
    listed: dict[str, list[int]] = {}
    for position, product in enumerate(products):
        listed.setdefault(product, []).append(position)
    return [
        positions[photo_of(product, [image_index[i] for i in positions], seed)]
        for product, positions in listed.items()
    ]
