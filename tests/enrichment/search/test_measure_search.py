"""Tests of `search/measure_search.py`: recall is relative to exact search."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from attr_extractor.enrichment.search import measure_search, vectors
from tests.enrichment.search.by_hand import recalls


@pytest.mark.parametrize(("wrong", "expected"), [(10, 0.0), (4, 0.6), (0, 1.0)])
def test_recall_is_the_share_of_true_neighbours(monkeypatch, wrong, expected):
    points = np.eye(64, dtype=np.float32)[np.arange(640) % 64] + np.linspace(0, 0.5, 640)[:, None]
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    search = vectors.search

    def with_wrong_numbers(index, *arguments):
        numbers, similar = search(index, *arguments)
        if isinstance(index, faiss.IndexIVF):
            numbers = np.concatenate([np.arange(-wrong, 0), numbers[wrong:]])
        return numbers, similar

    monkeypatch.setattr(vectors, "search", with_wrong_numbers)
    text = measure_search.measure(640, 64, lambda first, n: points[first : first + n])
    assert recalls(text)["512 cells"] == pytest.approx(expected, abs=0.02)  # 16 bits
    assert "640 vectors of 64, 500 queries one at a time" in text


def test_an_index_is_measured_with_its_own_vectors(exported, indexed):
    text = measure_search.report(indexed, exported.model)
    assert recalls(text).keys() == {"exact", *(f"{n} cells" for n in measure_search.ALL_PROBES)}
