"""Which photos stand for a side: of products chosen by a stable hash one photo each.

One photo a product, so that the photos of a sample are independent of each other. A product is
chosen wherever it stands in a table, and the same photo of it wherever it is met again.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np

from attr_extractor.catalogue.splits import uniform


class Smallest:
    """Keeps the products whose hash is smallest, with what is known of each."""

    def __init__(self, count: int, seed: int):
        self.count, self.seed = count, seed
        self._heap: list[tuple[float, str, Any]] = []  # the largest hash first

    def offer(self, product: str, what: Any) -> None:
        """Takes a product that was not offered before, or leaves it."""
        key = -uniform("drift", self.seed, product)
        if len(self._heap) < self.count:
            heapq.heappush(self._heap, (key, product, what))
        elif key > self._heap[0][0]:
            heapq.heapreplace(self._heap, (key, product, what))

    def chosen(self) -> list[tuple[str, Any]]:
        """Products and what is known of them, by hash."""
        return [(product, what) for _, product, what in sorted(self._heap, key=lambda e: -e[0])]


def photo_of(product: str, image_index: Sequence[int], seed: int) -> int:
    """The position of the photo, of a product's numbered ones, that stands for it."""
    if len(image_index) == 1:
        return 0
    keys = [uniform("drift photo", seed, product, index) for index in image_index]
    return int(np.argmin(keys))


def one_each(products: Sequence[str], image_index: Sequence[int], seed: int) -> list[int]:
    """Positions of one photo per product among listed photos, in the order of the products."""
    listed: dict[str, list[int]] = {}
    for position, product in enumerate(products):
        listed.setdefault(product, []).append(position)
    return [
        positions[photo_of(product, [image_index[i] for i in positions], seed)]
        for product, positions in listed.items()
    ]
