"""Measurement of an index: queries per second, and recall of the ten nearest photos."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np

from attr_extractor.enrichment.search import vectors
from attr_extractor.enrichment.search.index import Index
from attr_extractor.serving import model_dir

QUERIES = 500
NEAREST = 10
ALL_PROBES = (8, 32, vectors.PROBES, 512)
_BLOCK = 4096


def report(index: str | Path, model: str | Path) -> str:
    """Return the `measure` report of an index folder; raise InputError if it cannot be opened."""
    opened = Index(index, model_dir.describe(model))
    return measure(len(opened), opened.facts.width, opened.vectors.reconstruct_n)


def measure(count: int, width: int, block: Callable[[int, int], np.ndarray]) -> str:
    """Return a report that compares exact and approximate search, one query at a time.

    The queries are vectors of the index plus noise of a tenth of their length.

    Args:
      count: number of vectors.
      width: D.
      block: function of a first number and n; returns the vectors float32 [n, D].
    """
    starts = range(0, count, _BLOCK)

    def parts():
        return (block(start, min(_BLOCK, count - start)) for start in starts)

    def sample(numbers: np.ndarray) -> np.ndarray:
        return np.concatenate([block(int(number), 1) for number in numbers])

    random = np.random.default_rng(0)
    queries = sample(random.choice(count, min(QUERIES, count), replace=False))
    noise = random.standard_normal(queries.shape, np.float32)
    queries = queries + 0.1 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    lines = [
        f"{count:,} vectors of {width}, {len(queries)} queries one at a time, "
        f"{faiss.omp_get_max_threads()} threads",
        "kind          recall@10  queries/s",
    ]
    exact = vectors.build(vectors.EXACT, count, width, parts(), sample)
    truth, rate = _ask(exact, queries, 1)
    lines.append(f"{'exact':12}  {1:9.3f}  {rate:9.0f}")
    began = time.perf_counter()
    cells = vectors.build(vectors.CELLS, count, width, parts(), sample)
    took = time.perf_counter() - began
    for probes in ALL_PROBES:
        numbers, rate = _ask(cells, queries, probes)
        recall = np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(numbers, truth)])
        lines.append(f"{f'{probes} cells':12}  {recall:9.3f}  {rate:9.0f}")
    lines.append(
        f"{cells.nlist:,} cells, built in {took:.1f} s; search probes {vectors.PROBES} cells "
        f"if more than {vectors.EXACT_UP_TO:,} photos match the filters"
    )
    return "\n".join(lines)


def _ask(index: faiss.Index, queries: np.ndarray, probes: int) -> tuple[list[list[int]], float]:
    began = time.perf_counter()
    numbers = [vectors.search(index, each, NEAREST, None, probes)[0].tolist() for each in queries]
    return numbers, len(queries) / (time.perf_counter() - began)
