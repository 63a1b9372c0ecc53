"""Tests of `search/vectors.py` against a brute-force search with NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from attr_extractor.enrichment.search import vectors
from attr_extractor.errors import InputError


def clustered(count: int, width: int = 32, clusters: int = 200) -> np.ndarray:
    """Return unit vectors around random centres, float32 [N, D]."""
    random = np.random.default_rng(5)
    centres = random.standard_normal([clusters, width])
    made = centres[random.integers(clusters, size=count)]
    made += 0.5 * random.standard_normal([count, width])
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def built(kind: str, data: np.ndarray):
    parts = np.array_split(data, 7)
    return vectors.build(kind, *data.shape, parts, lambda numbers: data[numbers])


def by_hand(data: np.ndarray, query: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-(data.astype(np.float64) @ query), kind="stable")[:count]


def test_the_exact_index_agrees_with_brute_force():
    data = clustered(3000)
    index = built(vectors.EXACT, data)
    mask = np.arange(3000) % 3 == 1
    for query in clustered(20, clusters=5):
        numbers, similar = vectors.search(index, query, 10)
        assert numbers.tolist() == by_hand(data, query, 10).tolist()
        np.testing.assert_allclose(similar, data[numbers] @ query, atol=1e-6)
        masked, _ = vectors.search(index, query, 10, mask)
        assert masked.tolist() == (by_hand(data[mask], query, 10) * 3 + 1).tolist()


def test_equally_near_vectors_are_in_order_of_their_numbers():
    data = np.repeat(clustered(4), 3, axis=0)
    numbers, _ = vectors.search(built(vectors.EXACT, data), data[4], 3)
    assert numbers.tolist() == [3, 4, 5]


def test_cells_find_nearly_all_nearest_vectors():
    data = clustered(20_000)
    index = built(vectors.CELLS, data)
    assert index.nlist / 5 > 32  # only a part of the cells is probed
    hits = [
        len(set(vectors.search(index, q, 10, None, 32)[0].tolist()) & set(by_hand(data, q, 10)))
        for q in data[::200]
    ]
    assert np.mean(hits) >= 9.5
    few = [
        len(set(vectors.search(index, q, 10, None, 1)[0].tolist()) & set(by_hand(data, q, 10)))
        for q in data[::200]
    ]
    assert np.mean(few) < np.mean(hits)  # fewer probes give a lower recall


def test_a_search_of_all_cells_with_a_filter_is_complete():
    data = clustered(5000)
    index = built(vectors.CELLS, data)
    mask = np.zeros(5000, bool)
    mask[[17, 1234, 4999]] = True
    numbers, _ = vectors.search(index, data[0], 10, mask, index.nlist)
    assert sorted(numbers.tolist()) == [17, 1234, 4999]


@pytest.mark.parametrize("kind", [vectors.EXACT, vectors.CELLS])
def test_an_index_is_read_as_it_was_written(kind, tmp_path):
    data = clustered(2000)
    index = built(kind, data)
    vectors.write(index, tmp_path / "a")
    read = vectors.read(tmp_path / "a")
    for query in data[:5]:
        before, after = vectors.search(index, query, 10), vectors.search(read, query, 10)
        np.testing.assert_array_equal(before, after)
    np.testing.assert_allclose(read.reconstruct(321), data[321], atol=1e-3)
    vectors.write(built(kind, data), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_damaged_index_is_an_input_error(tmp_path):
    path = tmp_path / "index"
    path.write_bytes(b"not an index")
    with pytest.raises(InputError, match=f"{path}: not a readable index: "):
        vectors.read(path)


def test_an_index_of_many_vectors_has_cells():
    assert vectors.kind_for(100_000) == vectors.EXACT
    assert vectors.kind_for(100_001) == vectors.CELLS
