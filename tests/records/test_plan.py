"""Tests of `records/plan.py`: splits and shards do not depend on the order of rows."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from attr_extractor.catalogue.splits import SPLITS
from attr_extractor.errors import InputError
from attr_extractor.records import index, plan
from attr_extractor.records.plan import BuildOptions

NONE_PLACED = {"group": [], "digest": [], "split": []}
DEFAULTS = {name: default for name, (default, _) in plan.FLAGS.items()}
THIRDS = {"split_fractions": (0.4, 0.3, 0.3)}


def digest(name: object) -> bytes:
    return str(name).encode().ljust(16, b"_")


def place(
    products: list[tuple[str, list[str]]], placed: dict[str, list] | None = None, **options
) -> dict[str, str]:
    """Split by product.

    Args:
      products: (id, names of the contents of its photos), or (id, contents, group, split cell).
      placed: group, digest and split of photos of earlier builds.
    """
    full = [
        (*product, product[0], "")[:4] if len(product) == 2 else product for product in products
    ]
    rows = pa.table(
        {
            "number": pa.array(range(1, len(full) + 1)),
            "group": pa.array([group for _, _, group, _ in full], pa.string()),
            "split": pa.array([split for *_, split in full], pa.string()),
        }
    )
    contents = [(i, digest(name)) for i, (_, names, *_) in enumerate(full) for name in names]
    photos = pa.table(
        {
            "owner": pa.array([owner for owner, _ in contents], pa.int64()),
            "digest": pa.array([data for _, data in contents], index.DIGEST),
        }
    )
    placed = placed or NONE_PLACED
    there = pa.table(
        {
            "group": pa.array(placed["group"], pa.string()),
            "digest": pa.array([digest(name) for name in placed["digest"]], index.DIGEST),
            "split": pa.array([SPLITS.index(name) for name in placed["split"]], pa.int8()),
        }
    )
    found = plan.place(rows, photos, BuildOptions(**options), there)
    assert found.dtype == np.int8
    names = {plan.NO_SPLIT: "none", **dict(enumerate(SPLITS))}
    return {product: names[split] for (product, *_), split in zip(full, found.tolist())}


def plain(count: int, first: int = 0) -> list[tuple[str, list[str]]]:
    """Products with a photo and a group of their own."""
    return [(f"p{i}", [f"photo {i}"]) for i in range(first, first + count)]


# Splits


def test_the_split_of_a_product_does_not_depend_on_other_products():
    whole = place(plain(200))
    assert place(plain(200)[50:120:3]).items() <= whole.items()
    assert Counter(whole.values())["train"] > 130


def random_products(draw: random.Random) -> list[tuple[str, list[str], str, str]]:
    count = draw.randrange(1, 60)
    return [
        (
            f"p{i}",
            [f"c{draw.randrange(2 * count)}" for _ in range(draw.choice([1, 1, 1, 2, 3]))],
            draw.choice([f"p{i}", f"p{i}", f"b{draw.randrange(20)}"]),
            draw.choice(SPLITS),
        )
        for i in range(count)
    ]


def linked(products: list[tuple[str, list[str], str, str]]) -> list[set[str]]:
    """Sets of products that share a group or a content, also by way of others; slow and plain."""
    sets: list[tuple[set[str], set[str]]] = []  # products; keys
    for product, contents, group, _ in products:
        ids, keys = {product}, {f"group {group}", *(f"content {name}" for name in contents)}
        for other in [s for s in sets if s[1] & keys]:
            sets.remove(other)
            ids, keys = ids | other[0], keys | other[1]
        sets.append((ids, keys))
    return [ids for ids, _ in sets]


@pytest.mark.parametrize("options", [THIRDS, {"split_column": "part"}], ids=["hash", "column"])
def test_linked_products_share_a_split_in_any_order_of_the_rows(options):
    draw = random.Random(0)
    held_out = 0
    for _ in range(60):
        products = random_products(draw)
        found = place(products, **options)
        for ids in linked(products):
            assert len({found[product] for product in ids}) == 1
            if "split_column" in options:  # the most held-out of what their cells say
                cells = [SPLITS.index(p[3]) for p in products if p[0] in ids]
                assert found[next(iter(ids))] == SPLITS[max(cells)]
        held_out += sum(split != "train" for split in found.values())
        for _ in range(2):
            shuffled = draw.sample(products, len(products))
            shuffled = [(p, draw.sample(c, len(c)), *rest) for p, c, *rest in shuffled]
            assert place(shuffled, **options) == found
    assert held_out > 100


@pytest.mark.parametrize("split", SPLITS)
def test_a_new_product_gets_the_split_of_a_linked_one_also_transitively(split: str):
    placed = {"group": ["old"], "digest": ["x"], "split": [split]}
    chain = [("a", ["x", "y"], "a", ""), ("b", ["y"], "b", ""), ("c", ["z"], "b", "")]
    assert set(place(chain, placed).values()) == {split}
    assert set(place([("d", ["new"], "old", "")], placed).values()) == {split}
    assert place(plain(50), placed) == place(plain(50))


def test_an_earlier_split_takes_precedence_over_the_split_column():
    placed = {"group": ["old"], "digest": ["x"], "split": ["train"]}
    products = [("a", ["x"], "a", "test"), ("b", ["y"], "b", "test")]
    assert place(products, placed, split_column="part") == {"a": "train", "b": "test"}


def test_only_products_that_link_two_splits_get_no_split():
    placed = {"group": ["g", "h"], "digest": ["x", "y"], "split": ["train", "test"]}
    products = [("a", ["x", "y"], "a", ""), ("b", ["n"], "a", ""), ("c", ["x"], "c", "")]
    found = place([*products, *plain(20)], placed)
    # c is linked to the test split by way of a and x
    assert {found.pop(product) for product in "abc"} == {"none"}
    assert found == place(plain(20))


def test_a_wrong_split_name_is_reported_with_its_row():
    products = [(f"p{i}", [f"{i}"], f"p{i}", cell) for i, cell in enumerate(["train", "tset"])]
    with pytest.raises(InputError, match="row 2: 'tset' is not one of train, validation, test"):
        place(products, split_column="part")


# Options


@pytest.mark.parametrize(
    "option", [{"image_size": 31}, {"shards": -1}, {"cap_per_category": -5}], ids=str
)
def test_an_option_out_of_range_is_named(option: dict[str, int]):
    ((name, value),) = option.items()
    with pytest.raises(InputError, match=f"--{name} {value}: must be at least"):
        BuildOptions(**option)


def test_options_from_flags_equal_those_from_the_manifest():
    changes = {"split_fractions": "0.5, 0.25,0.25", "box_columns": "a, b,c ,d", "shards": 3}
    found = plan.from_flags({**DEFAULTS, **changes, "group_column": "g"})
    assert found == BuildOptions(
        split_fractions=(0.5, 0.25, 0.25),
        box_columns=("a", "b", "c", "d"),
        group_column="g",
        shards=3,
    )
    assert plan.from_flags(DEFAULTS) == BuildOptions()
    written = {"split_fractions": [0.5, 0.25, 0.25], "box_columns": ["a", "b", "c", "d"]}
    written.update(group_column="g", shards=3)
    assert plan.from_manifest(written, "manifest.json") == found


@pytest.mark.parametrize(
    ("build", "words"),
    [
        ({"shard": 3}, "manifest.json: build.*shard: unknown key; did you mean 'shards'"),
        ({"shards": "3"}, "build: shards: input should be a valid integer"),
        ({"split_fractions": [0.5, 0.5]}, "split_fractions.2: this key is required"),
        ({"box_columns": 4}, "box_columns: input should be a valid tuple"),
    ],
)
def test_invalid_options_in_a_manifest_give_one_line(build: dict, words: str):
    with pytest.raises(InputError, match=words):
        plan.from_manifest(build, "manifest.json")


# Cap


def test_the_cap_applies_to_training_products_only():
    count = 90
    products = pa.array([f"p{i}" for i in range(count)])
    categories = np.array([0, 1, -1, 0, 2, 0] * 15)
    split = np.array([0, 2, 0, 0, 1] * 18, np.int8)
    over = plan.over_cap(products, categories, split, BuildOptions(cap_per_category=7), Counter())
    training = Counter(categories[(split == 0) & ~over].tolist())
    before = Counter(categories[split == 0].tolist())
    assert before == {0: 27, 1: 9, -1: 9, 2: 9}
    assert training == {0: 7, 1: 7, -1: 9, 2: 7}  # no cap without a category
    assert not over[split != 0].any()
    fewer = plan.over_cap(
        products, categories, split, BuildOptions(cap_per_category=7), Counter({0: 5, 1: 70})
    )
    assert Counter(categories[(split == 0) & ~fewer].tolist()) == {0: 2, -1: 9, 2: 7}
    assert not plan.over_cap(products, categories, split, BuildOptions(), Counter()).any()


# Shards


def cut(photos: list[int], split: str = "train", addition: int = 0, **options) -> list[list[int]]:
    """The products of every shard of one split, whose names are checked."""
    products = pa.array([f"p{i}" for i in range(len(photos))])
    where = np.full(len(photos), SPLITS.index(split), np.int8)
    found = list(plan.shards(products, np.array(photos), where, BuildOptions(**options), addition))
    added = f"added{addition}-" if addition else ""
    count = len(found)
    assert [(name, file) for name, file, _ in found] == [
        (split, f"{split}-{added}{i:05d}-of-{count:05d}.tfrecord") for i in range(count)
    ]
    members = [part.tolist() for _, _, part in found]
    assert sorted(i for part in members for i in part) == list(range(len(photos)))
    return members


@pytest.mark.parametrize("seed", range(40))
def test_shards_differ_by_less_than_two_of_the_largest_product_and_none_is_empty(seed: int):
    draw = random.Random(seed)
    photos = [draw.choice([1, 1, 1, 2, 3, 9]) for _ in range(draw.randrange(1, 200))]
    wanted = draw.choice([1, 2, 3, 7, 16, 50, 300])
    shards = cut(photos, shards=wanted)
    assert len(shards) == min(wanted, len(photos))
    sizes = [sum(photos[i] for i in members) for members in shards]
    assert min(sizes) > 0
    if wanted * max(photos) <= sum(photos):  # each share has room for a product
        share = sum(photos) / len(shards)
        assert max(abs(size - share) for size in sizes) <= max(photos)


@pytest.mark.parametrize("wanted", [1, 2, 4, 7, 50, 99])
@pytest.mark.parametrize("each", [1, 3])
def test_products_of_equal_size_are_spread_evenly(wanted: int, each: int):
    sizes = [len(members) for members in cut([each] * 100, shards=wanted)]
    assert len(sizes) == wanted and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("giant", [0, 7, 19])
def test_one_giant_product_leaves_no_shard_empty(giant: int):
    photos = [1] * 20
    photos[giant] = 5000
    for wanted in (2, 5, 19, 20, 40):
        shards = cut(photos, shards=wanted)
        assert len(shards) == min(20, wanted) and all(shards)
    assert all(cut(photos, "test"))


def test_the_default_shard_size_is_about_1024_photos():
    assert [2 * len(members) for members in cut([2] * 1500)] == [1000, 1000, 1000]
    assert [len(members) for members in cut([1] * 1024)] == [1024]
    assert [len(members) for members in cut([1] * 1025)] == [513, 512]
    assert len(cut([1] * 3000, "test", addition=11)) == 3
    assert cut([]) == []


def test_the_held_out_splits_have_shards_as_large_as_the_training_split():
    products = pa.array([f"p{i}" for i in range(150)])
    split = np.array([0] * 100 + [1] * 26 + [2] * 24, np.int8)
    found = list(plan.shards(products, np.ones(150, int), split, BuildOptions(shards=4), 0))
    counts = Counter(name for name, _, _ in found)
    assert counts == {"train": 4, "validation": 2, "test": 1}


def test_products_of_no_split_are_in_no_shard():
    split = np.array([0, plan.NO_SPLIT, 0, plan.NO_SPLIT], np.int8)
    ((_, _, members),) = plan.shards(
        pa.array(list("abcd")), np.ones(4, int), split, BuildOptions(), 0
    )
    assert sorted(members.tolist()) == [0, 2]


def test_the_order_depends_on_the_seed_and_shuffles_the_table():
    (first,), (again,), (other,) = (cut([1] * 60, split_seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert 8 <= sum(i >= 30 for i in first[:30]) <= 22


def test_shards_do_not_depend_on_the_order_of_the_rows():
    draw = random.Random(0)
    ids = [f"p{i}" for i in range(90)]
    photos = {product: draw.choice([1, 2, 5]) for product in ids}
    splits = {product: draw.choice([0, 0, 0, 1, 2]) for product in ids}

    def shards() -> list[tuple[str, list[str]]]:
        split = np.array([splits[product] for product in ids], np.int8)
        counts = np.array([photos[product] for product in ids])
        found = plan.shards(pa.array(ids), counts, split, BuildOptions(shards=5), 0)
        return [(file, [ids[i] for i in members]) for _, file, members in found]

    expected = shards()
    for _ in range(5):
        draw.shuffle(ids)
        assert shards() == expected
