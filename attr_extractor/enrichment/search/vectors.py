"""Faiss index of unit vectors, searched by inner product.

Search is exact for up to EXACT_UP_TO vectors. A larger index is an inverted file (IVF): k-means on
a sample finds the centres of the cells, vectors are stored as float16, and a query is compared with
the vectors of the nearest cells. A graph index (HNSW) is faster to query, but takes hours to build
for a million vectors on few cores, depends on the order of threads, and loses recall if a filter
leaves few vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import faiss
import numpy as np

from attr_extractor import storage
from attr_extractor.errors import InputError

EXACT_UP_TO = 100_000
EXACT, CELLS = "exact", "cells"
SAMPLE_PER_CELL = 64  # training vectors of k-means per cell
PROBES = 128  # cells that are searched per query
_SEED = 1234


def kind_for(count: int) -> str:
    """Return the kind of index for `count` vectors."""
    return EXACT if count <= EXACT_UP_TO else CELLS


def num_cells(count: int) -> int:
    """Return the number of cells for `count` vectors.

    A query is then compared with about as many centres as vectors.
    """
    return max(1, min(4 * round(math.sqrt(count)), count // SAMPLE_PER_CELL))


def build(
    kind: str,
    count: int,
    width: int,
    parts: Iterable[np.ndarray],
    sample: Callable[[np.ndarray], np.ndarray],
) -> faiss.Index:
    """Build an index of all vectors, numbered from 0 in their order.

    Args:
      kind: EXACT or CELLS.
      count: N, the number of vectors.
      width: D.
      parts: float32 [n, D], N rows in total; one part is in memory at a time.
      sample: function of ascending numbers int64 [n]; returns their vectors float32 [n, D].
    """
    if kind == EXACT:
        index = faiss.IndexFlatIP(width)
    else:
        cells = num_cells(count)
        index = faiss.IndexIVFScalarQuantizer(
            *(faiss.IndexFlatIP(width), width, cells),
            *(faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT),
        )
        # residuals to the centres would need a lookup table per query
        index.by_residual = False
        index.cp.spherical, index.cp.seed = True, _SEED
        index.cp.min_points_per_centroid = 1
        size = min(count, cells * SAMPLE_PER_CELL)
        chosen = np.random.default_rng(_SEED).choice(count, size, replace=False)
        index.train(sample(np.sort(chosen)))
        index.nprobe = PROBES
    for part in parts:
        index.add(np.ascontiguousarray(part, np.float32))
    return index


def search(
    index: faiss.Index,
    query: np.ndarray,
    count: int,
    mask: np.ndarray | None = None,
    probes: int = PROBES,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest vectors, best first; ties in ascending order of number.

    Args:
      index: the index.
      query: float32 [D].
      count: maximum number of vectors.
      mask: bool [N], vectors that may be returned; None: all.
      probes: number of cells to search; ignored by an exact index.

    Returns:
      Numbers int64 [n] and inner products float32 [n]. n is below `count` if the searched cells
      contain fewer vectors.
    """
    selector = None
    if mask is not None:
        bits = np.packbits(mask, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)
    if isinstance(index, faiss.IndexIVF):
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=min(probes, index.nlist))
    else:
        parameters = faiss.SearchParameters(sel=selector)
    similar, numbers = index.search(query[np.newaxis], count, params=parameters)
    valid = numbers[0] >= 0  # Faiss fills up with -1
    numbers, similar = numbers[0][valid], similar[0][valid]
    order = np.lexsort([numbers, -similar])
    return numbers[order], similar[order]


def write(index: faiss.Index, path: Path) -> None:
    """Write an index atomically; raise InputError if it cannot be written."""
    with storage.whole(path) as temporary:
        try:
            faiss.write_index(index, temporary)
        except RuntimeError as error:
            raise InputError(f"{path}: cannot be written: {_last_line(error)}") from error


def read(path: Path) -> faiss.Index:
    """Read an index; raise InputError if the file is damaged or missing."""
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: not a readable index: {_last_line(error)}") from error
    if isinstance(index, faiss.IndexIVF):
        index.make_direct_map()  # required by `reconstruct`
    return index


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1].rpartition("Error: ")[2] or "damaged"
