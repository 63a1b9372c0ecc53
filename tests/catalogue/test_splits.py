"""Tests of catalogue/splits.py: the stable hash, connected groups, the cap."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import numpy as np
import pytest

from attr_extractor.catalogue import splits
from attr_extractor.errors import InputError


def test_uniform_gives_the_same_numbers_on_every_machine_and_release():
    # first 7 bytes of BLAKE2b, worked out by: printf 'split\x1f0\x1fp1' | b2sum -l 56
    expected = {
        ("split", 0, "p1"): 0xF61A5D85174F00 / 2**56,
        ("split", 1, "p1"): 0xEAFD6BD91B1E90 / 2**56,
        ("cap", 0, "größe"): 0x10A656AE18A3D2 / 2**56,
    }
    for key, number in expected.items():
        assert splits.uniform(*key) == number


def test_uniform_distinguishes_keys_that_concatenate_to_the_same_text():
    assert splits.uniform("a", "bc") != splits.uniform("ab", "c")


def test_uniform_is_uniform():
    drawn = [splits.uniform("x", i) for i in range(20_000)]
    assert min(drawn) >= 0 and max(drawn) < 1
    tenths = Counter(int(10 * u) for u in drawn)
    assert all(abs(count - 2000) < 200 for count in tenths.values()) and len(tenths) == 10


# Fractions


def test_splits_have_the_requested_fractions():
    found = splits.by_hash([f"p{i}" for i in range(10_000)], (0.7, 0.2, 0.1), seed=3)
    assert found.dtype == np.int8
    shares = np.bincount(found, minlength=3) / 10_000
    np.testing.assert_allclose(shares, (0.7, 0.2, 0.1), atol=0.02)


def test_the_split_of_a_key_follows_from_its_number():
    keys = [f"p{i}" for i in range(1000)]
    expected = []
    for key in keys:
        drawn = splits.uniform("split", 5, key)
        expected.append(0 if drawn < 0.5 else 1 if drawn < 0.75 else 2)
    assert splits.by_hash(keys, (0.5, 0.25, 0.25), 5).tolist() == expected
    assert set(splits.by_hash(keys, (1, 0, 0), 5)) == {0}
    assert splits.by_hash([], (1, 0, 0), 5).tolist() == []


def test_a_split_depends_only_on_the_key_and_the_seed():
    keys = [f"p{i}" for i in range(500)]
    first = dict(zip(keys, splits.by_hash(keys, (0.8, 0.1, 0.1), 0)))
    fewer = keys[::-3]  # other products, another order
    again = dict(zip(fewer, splits.by_hash(fewer, (0.8, 0.1, 0.1), 0)))
    assert all(first[key] == again[key] for key in fewer)
    assert list(first.values()) != list(splits.by_hash(keys, (0.8, 0.1, 0.1), 1))


def test_a_larger_training_share_keeps_the_training_products():
    keys = [f"p{i}" for i in range(2000)]
    small = splits.by_hash(keys, (0.5, 0.25, 0.25), 0)
    large = splits.by_hash(keys, (0.6, 0.2, 0.2), 0)
    assert (large[small == 0] == 0).all() and (large == 0).sum() > (small == 0).sum()


@pytest.mark.parametrize("text", ["0.8,0.1,0.1", " 1, 0,0", "0.34,0.33,0.33"])
def test_valid_fractions_are_parsed(text):
    assert splits.parse_fractions(text) == tuple(float(part) for part in text.split(","))


@pytest.mark.parametrize(
    "text",
    "|0.8|0.8,0.2|0.8,0.1,0.05,0.05|a,b,c|0.8,0.1,0.2|1.1,-0.1,0|0,0.5,0.5|nan,0.5,0.5"
    "|0.5,nan,0.5|inf,0,0|80,10,10".split("|"),
)
def test_invalid_fractions_raise_one_line(text):
    with pytest.raises(InputError, match=f"--split_fractions {text}: ") as caught:
        splits.parse_fractions(text)
    assert "0.8,0.1,0.1" in str(caught.value) or "sum to 1" in str(caught.value)


# Links


def union_find(groups: list[int], links: list[int]) -> list[int]:
    """Return the smallest group that each group is connected to; a slow reference."""
    parent = list(range(max(groups, default=-1) + 1))

    def root(group: int) -> int:
        while parent[group] != group:
            group = parent[group]
        return group

    holder: dict[int, int] = {}
    for group, link in zip(groups, links):
        a, b = root(group), root(holder.setdefault(link, group))
        parent[max(a, b)] = min(a, b)
    return [root(group) for group in range(len(parent))]


def same_partition(found: np.ndarray, expected: list[int]) -> bool:
    pairs = set(zip(found.tolist(), expected))
    return len(pairs) == len(set(found.tolist())) == len(set(expected))


def test_connect_equals_a_union_find_on_random_graphs():
    draw = random.Random(0)
    sizes = Counter()
    for _ in range(300):
        count, photos = draw.randrange(1, 40), draw.randrange(1, 60)
        groups = [*range(count), *draw.choices(range(count), k=draw.randrange(30))]
        links = [draw.randrange(photos) for _ in groups]
        order = draw.sample(range(len(groups)), len(groups))
        groups, links = [groups[i] for i in order], [links[i] for i in order]
        found = splits.connect(np.array(groups), np.array(links))
        expected = union_find(groups, links)
        assert len(found) == count and same_partition(found, expected)
        sizes.update(Counter(Counter(expected).values()).keys())
    assert len(sizes) > 15  # components of many sizes were there


def test_a_photo_repeated_in_one_group_changes_nothing():
    found = splits.connect(np.array([0, 0, 0, 1, 2]), np.array([5, 5, 5, 1, 1]))
    assert same_partition(found, [0, 1, 1])


def test_a_photo_shared_by_many_groups_does_not_overflow():
    count = 1000  # int8 would be 0 again after 256
    found = splits.connect(np.arange(count), np.zeros(count, np.int64))
    assert len(set(found.tolist())) == 1
    found = splits.connect(np.zeros(256, np.int64), np.zeros(256, np.int64))
    assert found.tolist() == [0]
    found = splits.connect(np.array([0] * 256 + [1]), np.zeros(257, np.int64))
    assert found[0] == found[1]


def test_a_long_chain_of_identical_photos_is_one_component():
    count = 50_000
    groups = np.repeat(np.arange(count), 2)
    links = np.stack([np.arange(count), np.arange(1, count + 1)], axis=1).ravel()
    found = splits.connect(np.append(groups, count), np.append(links, count + 9))
    assert len(set(found[:-1].tolist())) == 1 and found[-1] != found[0]


def test_without_links_there_are_no_components():
    assert len(splits.connect(np.array([], np.int64), np.array([], np.int64))) == 0


# The table's own split


def test_the_split_column_decides_the_split():
    cells = ["train", "test", "validation", "train"]
    assert splits.by_name(cells, [1, 2, 3, 4]).tolist() == [0, 2, 1, 0]
    assert splits.by_name([], []).tolist() == []


@pytest.mark.parametrize("cell", ["Train", "", " test", "nan"])
def test_an_unknown_split_raises_with_its_row(cell: str):
    with pytest.raises(InputError, match=f"row 7: '{cell}' is not one of train, validation, test"):
        splits.by_name(["train", cell, "no"], [3, 7, 8])


# The cap


def test_the_cap_keeps_a_seeded_sample_of_each_category():
    products = [f"p{i}" for i in range(300)]
    categories = [("shirt", "jeans", "sari")[(i % 10 > 4) + (i % 10 > 8)] for i in range(300)]
    left_out = splits.over_cap(products, categories, 50, 0, {})
    kept = Counter(c for p, c in zip(products, categories) if p not in left_out)
    assert kept == {"shirt": 50, "jeans": 50, "sari": 30}
    for category in ("shirt", "jeans"):  # those with the smallest hash stay
        members = [p for p, c in zip(products, categories) if c == category]
        by_hash = sorted(
            members,
            key=lambda p: hashlib.blake2b(f"cap\x1f0\x1f{p}".encode(), digest_size=7).digest(),
        )
        assert set(by_hash[50:]) == left_out & set(members)
    assert splits.over_cap(products[::-1], categories[::-1], 50, 0, {}) == left_out
    assert splits.over_cap(products, categories, 50, 1, {}) != left_out


def test_products_without_a_category_are_not_capped():
    assert splits.over_cap(["a", "b", "c"], ["", "", ""], 1, 0, {"": 5}) == set()


@pytest.mark.parametrize("there, room", [(0, 4), (1, 3), (4, 0), (9, 0)])
def test_existing_products_count_towards_the_cap(there: int, room: int):
    products = [f"p{i}" for i in range(10)]
    alone = splits.over_cap(products, ["shirt"] * 10, room, 0, {})
    assert splits.over_cap(products, ["shirt"] * 10, 4, 0, {"shirt": there, "jeans": 3}) == alone
