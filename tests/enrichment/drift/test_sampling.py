"""Claims about `drift/sampling.py`."""

from __future__ import annotations

import random
from collections import Counter

from attr_extractor.enrichment.drift import sampling


def chosen(products: list[str], count: int, seed: int = 0) -> list[str]:
    smallest = sampling.Smallest(count, seed)
    for product in products:
        smallest.offer(product, product.upper())
    found = smallest.chosen()
    assert all(what == product.upper() for product, what in found)
    return [product for product, _ in found]


def test_a_sample_depends_on_the_products_and_not_on_their_order():
    products = [f"p{i}" for i in range(500)]
    shuffled = random.Random(1).sample(products, 500)
    assert chosen(products, 50) == chosen(shuffled, 50)
    assert chosen(products, 20) == chosen(products, 50)[:20]
    assert chosen(products, 50, seed=1) != chosen(products, 50)
    assert sorted(chosen(products, 900)) == sorted(products)


def test_every_product_has_the_same_chance():
    products = [f"p{i}" for i in range(40)]
    met = Counter(p for seed in range(400) for p in chosen(products, 10, seed))
    # 100 expected each, standard deviation 8.7
    assert set(met) == set(products) and min(met.values()) > 60 and max(met.values()) < 140


def test_one_photo_stands_for_a_product_the_same_wherever_it_is_listed():
    products = ["a", "b", "b", "b", "c", "a"]
    index = [0, 0, 1, 2, 0, 1]
    positions = sampling.one_each(products, index, 0)
    assert [products[i] for i in positions] == ["a", "b", "c"]
    assert index[positions[1]] == sampling.photo_of("b", [0, 1, 2], 0)
    met = Counter(sampling.photo_of(f"p{i}", range(3), 0) for i in range(900))
    assert min(met.values()) > 240
