"""Which split a product goes to: a stable hash of its group, leaks between splits closed.

Two products that share a photo byte for byte stay in one split, whatever their groups say: a photo
seen in training must not be tested on. Category down-sampling touches the training split alone.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

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


def connect(groups: Sequence[str], photos: Sequence[Sequence[str]]) -> list[str]:
    """One key per product, equal for all products linked by a group or by an identical photo.

    Args:
      groups: the group of each product.
      photos: the content digests of each product's photos.

    Returns:
      The smallest group name among the linked products, so that order does not matter.
    """
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for group, digests in zip(groups, photos):
        for digest in digests:
            # a group's node starts with g and a photo's with p: the smallest root is a group
            first, second = sorted((find("g" + group), find("p" + digest)))
            parent[second] = first
    return [find("g" + group)[1:] for group in groups]


def by_hash(keys: Sequence[str], fractions: tuple[float, float, float], seed: int) -> list[str]:
    """The split of each key, drawn by a stable hash."""
    train, validation, _ = fractions

    def place(key: str) -> str:
        drawn = uniform("split", seed, key)
        return (
            SPLITS[0] if drawn < train else SPLITS[1] if drawn < train + validation else SPLITS[2]
        )

    return [place(key) for key in keys]


def by_column(cells: Mapping[int, str], keys: Sequence[str]) -> list[str]:
    """The split that the table names; linked products go to the most held-out one among them.

    Args:
      cells: the split column by row number.
      keys: of the same products, from `connect`.

    Raises:
      InputError: a cell that is not the name of a split.
    """
    for row, cell in cells.items():
        if cell not in SPLITS:
            raise InputError(
                f"the split column, row {row}: {cell!r} is not one of {', '.join(SPLITS)}"
            )
    held_out: dict[str, int] = defaultdict(int)
    for cell, key in zip(cells.values(), keys):
        held_out[key] = max(held_out[key], SPLITS.index(cell))
    return [SPLITS[held_out[key]] for key in keys]


def over_cap(products: Sequence[str], categories: Sequence[str], cap: int, seed: int) -> set[str]:
    """Products beyond `cap` of their category, a seeded choice; no cap without a category."""
    members: dict[str, list[str]] = defaultdict(list)
    for product, category in zip(products, categories):
        if category:
            members[category].append(product)
    left_out: set[str] = set()
    for listed in members.values():
        ranked = sorted(listed, key=lambda product: (uniform("cap", seed, product), product))
        left_out.update(ranked[cap:])
    return left_out
