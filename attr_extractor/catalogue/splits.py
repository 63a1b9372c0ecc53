"""Which split a product goes to: a stable hash of its group, leaks between splits closed.

Two products that share a photo byte for byte stay in one split, whatever their groups say: a photo
seen in training must not be tested on. Category down-sampling touches the training split alone.
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
    """`0.8,0.1,0.1` -> the shares of train, validation and test.

    Raises:
      InputError: not three numbers, a negative one, no training share, or a sum other than 1.
    """
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--split_fractions {text}: three numbers, such as 0.8,0.1,0.1") from error
    sums_to_1 = abs(train + validation + test - 1) <= 1e-6  # False for nan as well
    if min(train, validation, test) < 0 or train == 0 or not sums_to_1:
        raise InputError(
            f"--split_fractions {text}: shares from 0 to 1, the first above 0, that sum to 1"
        )
    return train, validation, test


def uniform(*key: object) -> float:
    """A number in [0, 1) that depends on the key alone: the same on every machine and run."""
    text = "\x1f".join(str(part) for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big") / 2**56


def connect(groups: np.ndarray, links: np.ndarray) -> np.ndarray:
    """Which groups belong together because photos of theirs are identical.

    Args:
      groups: int64 [L], the group of each link, from 0.
      links: int64 [L], the photo that the group holds, from 0.

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
    """int8: the position in SPLITS of each key, drawn by a stable hash."""
    drawn = np.array([uniform("split", seed, key) for key in keys])
    train, validation, _ = fractions
    return (drawn >= train).astype(np.int8) + (drawn >= train + validation)


def by_name(cells: list[str], rows: Sequence[int]) -> np.ndarray:
    """int8: the position in SPLITS of each cell of a split column.

    Raises:
      InputError: a cell that is not the name of a split; `rows` has the row numbers to name.
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
    """Products beyond `cap` of their category, a seeded choice; no cap without a category.

    Args:
      categories: of each product; "" where it has none.
      there: products of each category that count against its cap already.
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
