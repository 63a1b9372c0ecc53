"""Claims about `catalogue/splits.py`: a stable hash, leaks between splits closed, the cap."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

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


def test_uniform_tells_keys_apart_that_join_to_one_text():
    assert splits.uniform("a", "bc") != splits.uniform("ab", "c")


def test_uniform_is_uniform():
    drawn = [splits.uniform("x", i) for i in range(20_000)]
    assert min(drawn) >= 0 and max(drawn) < 1
    tenths = Counter(int(10 * u) for u in drawn)
    assert all(abs(count - 2000) < 200 for count in tenths.values()) and len(tenths) == 10


# Fractions


def test_the_fractions_of_the_splits_are_the_asked_ones():
    names = splits.by_hash([f"p{i}" for i in range(10_000)], (0.7, 0.2, 0.1), seed=3)
    counts = Counter(names)
    for name, share in zip(splits.SPLITS, (0.7, 0.2, 0.1)):
        assert abs(counts[name] / 10_000 - share) < 0.02


def test_a_split_depends_on_the_key_and_the_seed_alone():
    keys = [f"p{i}" for i in range(500)]
    first = dict(zip(keys, splits.by_hash(keys, (0.8, 0.1, 0.1), 0)))
    fewer = keys[::-3]  # other products, another order
    again = dict(zip(fewer, splits.by_hash(fewer, (0.8, 0.1, 0.1), 0)))
    assert all(first[key] == again[key] for key in fewer)
    assert list(first.values()) != splits.by_hash(keys, (0.8, 0.1, 0.1), 1)


def test_a_larger_training_share_only_adds_to_it():
    keys = [f"p{i}" for i in range(2000)]
    small = splits.by_hash(keys, (0.5, 0.25, 0.25), 0)
    large = splits.by_hash(keys, (0.6, 0.2, 0.2), 0)
    assert all(b == "train" for a, b in zip(small, large) if a == "train")


@pytest.mark.parametrize("text", ["0.8,0.1,0.1", " 1, 0,0", "0.34,0.33,0.33"])
def test_fractions_are_read(text):
    assert splits.parse_fractions(text) == tuple(float(part) for part in text.split(","))


@pytest.mark.parametrize(
    "text",
    "|0.8|0.8,0.2|0.8,0.1,0.05,0.05|a,b,c|0.8,0.1,0.2|1.1,-0.1,0|0,0.5,0.5|nan,0.5,0.5"
    "|0.5,nan,0.5|inf,0,0|80,10,10".split("|"),
)
def test_fractions_that_are_none_are_one_line(text):
    with pytest.raises(InputError, match=f"--split_fractions {text}: ") as caught:
        splits.parse_fractions(text)
    assert "0.8,0.1,0.1" in str(caught.value) or "sum to 1" in str(caught.value)


# Links


def linked_by_search(groups, photos) -> list[str]:
    """Breadth-first search from every product over shared groups and shared photos."""
    result = []
    for start in range(len(groups)):
        reached, frontier = {start}, [start]
        while frontier:
            here = frontier.pop()
            for there in range(len(groups)):
                shared = groups[here] == groups[there] or set(photos[here]) & set(photos[there])
                if shared and there not in reached:
                    reached.add(there)
                    frontier.append(there)
        result.append(min(groups[i] for i in reached))
    return result


def test_connect_equals_a_brute_force_search_of_the_graph():
    draw = random.Random(0)
    for _ in range(300):
        count = draw.randrange(1, 14)
        groups = [f"{draw.choice('gpz')}{draw.randrange(12)}" for _ in range(count)]
        photos = [
            [f"{draw.choice('gp')}{draw.randrange(16)}" for _ in range(draw.randrange(4))]
            for _ in range(count)
        ]
        assert splits.connect(groups, photos) == linked_by_search(groups, photos)


def test_a_chain_of_identical_photos_across_groups_is_one_key():
    groups = ["d", "c", "b", "a", "e"]
    photos = [["1", "2"], ["2", "3"], ["3", "4"], ["4"], ["5"]]
    keys = splits.connect(groups, photos)
    assert keys == ["a", "a", "a", "a", "e"]
    assert len(set(splits.by_hash(keys[:4], (0.4, 0.3, 0.3), 0))) == 1


def test_a_long_chain_does_not_exhaust_the_stack():
    count = 5000
    groups = [str(i) for i in range(count)]
    keys = splits.connect(groups, [[str(i), str(i + 1)] for i in range(count)])
    assert set(keys) == {"0"}


# The table's own split


def test_the_split_column_is_obeyed_and_a_leak_goes_to_the_most_held_out():
    cells = dict(enumerate(["train", "test", "validation", "train", "validation", "train"], 1))
    keys = ["a", "a", "b", "b", "c", "d"]
    expected = ["test", "test", "validation", "validation", "validation", "train"]
    assert splits.by_column(cells, keys) == expected


def test_a_cell_that_is_no_split_is_named_with_its_row():
    with pytest.raises(InputError, match="row 7: 'Train' is not one of train, validation, test"):
        splits.by_column({3: "train", 7: "Train"}, ["a", "b"])


# The cap


def test_the_cap_keeps_a_seeded_choice_of_each_category():
    products = [f"p{i}" for i in range(300)]
    categories = [("shirt", "jeans", "sari")[(i % 10 > 4) + (i % 10 > 8)] for i in range(300)]
    left_out = splits.over_cap(products, categories, 50, seed=0)
    kept = Counter(c for p, c in zip(products, categories) if p not in left_out)
    assert kept == {"shirt": 50, "jeans": 50, "sari": 30}
    for category in ("shirt", "jeans"):  # those with the smallest hash stay
        members = [p for p, c in zip(products, categories) if c == category]
        by_hash = sorted(
            members,
            key=lambda p: hashlib.blake2b(f"cap\x1f0\x1f{p}".encode(), digest_size=7).digest(),
        )
        assert set(by_hash[50:]) == left_out & set(members)
    assert splits.over_cap(products[::-1], categories[::-1], 50, seed=0) == left_out
    assert splits.over_cap(products, categories, 50, seed=1) != left_out


def test_products_without_a_category_are_not_capped():
    assert splits.over_cap(["a", "b", "c"], ["", "", ""], 1, seed=0) == set()
