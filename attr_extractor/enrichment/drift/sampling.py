"""Sampling by a stable hash: products, and one photo per product.

There is one photo per product, so that the photos of a sample are independent. The choice does not
depend on the position of a product in a table, and the same photo of a product is always chosen.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np

from attr_extractor.catalogue.splits import uniform

T = TypeVar("T")


class ProductSample(Generic[T]):
    """The `size` products with the smallest hashes, each with attached data."""

    def __init__(self, size: int, seed: int):
        self.size, self.seed = size, seed
        self._heap: list[tuple[float, str, T]] = []  # the largest hash first

    def offer(self, product: str, data: T) -> None:
        """Add a new product if its hash is small enough."""
        key = -uniform("drift", self.seed, product)
        if len(self._heap) < self.size:
            heapq.heappush(self._heap, (key, product, data))
        elif key > self._heap[0][0]:
            heapq.heapreplace(self._heap, (key, product, data))

    def products(self) -> list[tuple[str, T]]:
        """Return the sampled products and their data, sorted by hash."""
        ordered = sorted(self._heap, key=lambda entry: -entry[0])
        return [(product, data) for _, product, data in ordered]


def choose_photo(product: str, image_index: Sequence[int], seed: int) -> int:
    """Return the position of the chosen photo among the numbered photos of a product."""
    if len(image_index) == 1:
        return 0
    keys = [uniform("drift photo", seed, product, index) for index in image_index]
    return int(np.argmin(keys))


def one_photo_each(products: Sequence[str], image_index: Sequence[int], seed: int) -> list[int]:
    """Return the positions of one photo per product, in the order of the products."""
    positions_of: dict[str, list[int]] = {}
    for position, product in enumerate(products):
        positions_of.setdefault(product, []).append(position)
    return [
        positions[choose_photo(product, [image_index[i] for i in positions], seed)]
        for product, positions in positions_of.items()
    ]
