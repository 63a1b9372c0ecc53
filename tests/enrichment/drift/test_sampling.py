"""Test drift/sampling.py: which products and photos are sampled."""

from __future__ import annotations

import random
from collections import Counter

from attr_extractor.enrichment.drift import sampling


def sampled(products: list[str], size: int, seed: int = 0) -> list[str]:
    sample = sampling.ProductSample(size, seed)
    for product in products:
        sample.offer(product, product.upper())
    assert all(data == product.upper() for product, data in sample.products())
    return [product for product, _ in sample.products()]


def test_a_sample_does_not_depend_on_the_order_of_products():
    products = [f"p{i}" for i in range(500)]
    shuffled = random.Random(1).sample(products, 500)
    assert sampled(products, 50) == sampled(shuffled, 50)
    assert sampled(products, 20) == sampled(products, 50)[:20]
    assert sampled(products, 50, seed=1) != sampled(products, 50)
    assert sorted(sampled(products, 900)) == sorted(products)


def test_every_product_is_equally_likely():
    products = [f"p{i}" for i in range(40)]
    counts = Counter(p for seed in range(400) for p in sampled(products, 10, seed))
    # 100 expected each, standard deviation 8.7
    assert set(counts) == set(products)
    assert min(counts.values()) > 60 and max(counts.values()) < 140


def test_the_chosen_photo_of_a_product_does_not_depend_on_its_position():
    products = ["a", "b", "b", "b", "c", "a"]
    index = [0, 0, 1, 2, 0, 1]
    positions = sampling.one_photo_each(products, index, 0)
    assert [products[i] for i in positions] == ["a", "b", "c"]
    assert index[positions[1]] == sampling.choose_photo("b", [0, 1, 2], 0)
    counts = Counter(sampling.choose_photo(f"p{i}", range(3), 0) for i in range(900))
    assert min(counts.values()) > 240
