"""Assign products to splits by a stable hash of their group, without leaks between splits.

Products that share a byte-identical photo stay in one split even if their groups differ: a
training photo must not appear in the test split. Category down-sampling affects only the training
split.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from attr_extractor.errors import InputError

SPLITS = ("train", "validation", "test")


def parse_fractions(text: str) -> tuple[float, float, float]:
    """Parse `0.8,0.1,0.1` into the shares of train, validation and test.

    Raises:
      InputError: if there are not three numbers, one is negative, the training share is 0, or the
        sum is not 1.
    """
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--split_fractions {text}: expected three numbers, such as 0.8,0.1,0.1"
        ) from error
    sums_to_1 = abs(train + validation + test - 1) <= 1e-6  # False for nan as well
    if min(train, validation, test) < 0 or train == 0 or not sums_to_1:
        raise InputError(
            f"--split_fractions {text}: shares must be from 0 to 1 and sum to 1, the first above 0"
        )
    return train, validation, test


def uniform(*key: object) -> float:
    """Return a number in [0, 1) that depends only on the key, equal on every machine and run."""
    text = "\x1f".join(str(part) for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big") / 2**56


def connect(groups: np.ndarray, links: np.ndarray) -> np.ndarray:
    """Return the connected components of groups that share identical photos.

    Args:
      groups: int64 [L], the group of each link, from 0.
      links: int64 [L], the photo of each link, from 0.

    Returns:
      int32 [G]: the component of each group.
    """
    from scipy.sparse import coo_array, csgraph  # slow to import; only builds need it

    count = int(groups.max(initial=-1)) + 1
    size = count + int(links.max(initial=-1)) + 1
    ones = np.ones(len(groups), np.int8)
    graph = coo_array((ones, (groups, count + links)), shape=(size, size))
    return csgraph.connected_components(graph, directed=False)[1][:count]


def by_hash(keys: Sequence[str], fractions: tuple[float, float, float], seed: int) -> np.ndarray:
    """Return the index in SPLITS (int8) of each key, drawn by a stable hash."""
    drawn = np.array([uniform("split", seed, key) for key in keys])
    train, validation, _ = fractions
    return (drawn >= train).astype(np.int8) + (drawn >= train + validation)


def by_name(cells: list[str], rows: Sequence[int]) -> np.ndarray:
    """Return the index in SPLITS (int8) of each cell of a split column.

    Raises:
      InputError: if a cell is not the name of a split; `rows` holds row numbers for the message.
    """
    found = pd.Categorical(cells, categories=SPLITS).codes
    for i in np.flatnonzero(found < 0)[:1]:
        raise InputError(
            f"the split column, row {rows[i]}: {cells[i]!r} is not one of {', '.join(SPLITS)}"
        )
    return found


def over_cap(
    products: Sequence[str],
    categories: Sequence[str],
    cap: int,
    seed: int,
    there: Mapping[str, int],
) -> set[str]:
    """Return the products to drop so that no category exceeds `cap`, by a seeded random choice.

    Products without a category are never dropped.

    Args:
      categories: the category of each product; "" if it has none.
      there: the number of existing products per category that already count towards its cap.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for product, category in zip(products, categories):
        if category:
            members[category].append(product)
    left_out: set[str] = set()
    for category, listed in members.items():
        ranked = sorted(listed, key=lambda product: (uniform("cap", seed, product), product))
        left_out.update(ranked[max(0, cap - there.get(category, 0)) :])
    return left_out
