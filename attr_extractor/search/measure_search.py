"""How fast an index answers, and how many of the true ten nearest photos its cells find."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np

from attr_extractor.search import vectors
from attr_extractor.search.index import Index
from attr_extractor.serving import model_dir

QUERIES = 500
NEAREST = 10
ALL_PROBES = (8, 32, vectors.PROBES, 512)
_BLOCK = 4096
_WIDTH, _DIRECTIONS = 1280, 32  # of made-up vectors: EfficientNet-B0's, and how many are free


def report(index: str | Path, model: str | Path) -> str:
    """`measure` of a folder's own vectors; raises InputError where it cannot be opened."""
    opened = Index(index, model_dir.describe(model))
    return measure(len(opened), opened.facts.width, opened.vectors.reconstruct_n)


def made_up(count: int) -> str:
    """`measure` of vectors that nobody had photos for: gaussian in a few directions of many."""
    random = np.random.default_rng(0)
    free = random.standard_normal([count, _DIRECTIONS], np.float32)
    directions = random.standard_normal([_DIRECTIONS, _WIDTH], np.float32)

    def block(first: int, number: int) -> np.ndarray:
        found = free[first : first + number] @ directions
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    return measure(count, _WIDTH, block)


def measure(count: int, width: int, block: Callable[[int, int], np.ndarray]) -> str:
    """Exact and approximate search side by side, one query at a time.

    The queries are vectors of the index, moved a little: by a tenth of their length.

    Args:
      block: gives float32 [n, D] from a first number and n.
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
    found = f"{count:,} vectors of {width}, {len(queries)} queries one at a time, "
    lines = [f"{found}{faiss.omp_get_max_threads()} threads", "kind          recall@10  queries/s"]
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
        f"{cells.nlist:,} cells, built in {took:.1f} s; search.py looks into "
        f"{vectors.PROBES} where more than {vectors.EXACT_UP_TO:,} photos are left"
    )
    return "\n".join(lines)


def _ask(index: faiss.Index, queries: np.ndarray, probes: int) -> tuple[list[list[int]], float]:
    began = time.perf_counter()
    numbers = [vectors.search(index, each, NEAREST, None, probes)[0].tolist() for each in queries]
    return numbers, len(queries) / (time.perf_counter() - began)
