"""Vectors of length 1 and their nearest by inner product, in a faiss index.

Up to EXACT_UP_TO vectors are all compared. More are put into cells around centres that k-means
found in a sample (IVF), as 16-bit numbers, and those in the cells nearest the query are compared.
A graph (HNSW) answers faster, but takes hours to build for a million vectors on few cores, depends
on the threads' order, and loses its way where a filter leaves few of them.
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
SAMPLE_PER_CELL = 64  # vectors that k-means is given
PROBES = 128  # cells that are compared with a query
_SEED = 1234


def kind_for(count: int) -> str:
    """Which kind of index so many vectors get."""
    return EXACT if count <= EXACT_UP_TO else CELLS


def num_cells(count: int) -> int:
    """Cells for so many vectors: a query then compares as many centres as vectors, or so."""
    return max(1, min(4 * round(math.sqrt(count)), count // SAMPLE_PER_CELL))


def build(
    kind: str,
    count: int,
    width: int,
    parts: Iterable[np.ndarray],
    sample: Callable[[np.ndarray], np.ndarray],
) -> faiss.Index:
    """An index of all vectors, numbered from 0 in their order.

    Args:
      count, width: N and D.
      parts: float32 [n, D], N rows in all; one is in memory at a time.
      sample: gives the vectors float32 [n, D] of rising numbers int64 [n].
    """
    if kind == EXACT:
        index = faiss.IndexFlatIP(width)
    else:
        cells = num_cells(count)
        index = faiss.IndexIVFScalarQuantizer(
            *(faiss.IndexFlatIP(width), width, cells),
            *(faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT),
        )
        # residuals of a vector to its centre would need a table for every query
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
    """The nearest vectors, best first; of equally near ones the first.

    Args:
      query: float32 [D].
      count: at most so many.
      mask: bool [N], which may be found; None: all.
      probes: cells to look into; an exact index has none.

    Returns:
      int64 [n] numbers and float32 [n] inner products. n is below `count` where the cells that
      were looked into hold no more.
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
    found = numbers[0] >= 0
    numbers, similar = numbers[0][found], similar[0][found]
    order = np.lexsort([numbers, -similar])
    return numbers[order], similar[order]


def write(index: faiss.Index, path: Path) -> None:
    """Writes an index, whole or not at all; raises InputError where it cannot be written."""
    with storage.whole(path) as temporary:
        try:
            faiss.write_index(index, temporary)
        except RuntimeError as error:
            raise InputError(f"{path}: cannot be written: {_last_line(error)}") from error


def read(path: Path) -> faiss.Index:
    """Reads an index; raises InputError where the file is damaged or missing."""
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: not a readable index: {_last_line(error)}") from error
    if isinstance(index, faiss.IndexIVF):
        index.make_direct_map()  # for a vector by its number
    return index


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1].rpartition("Error: ")[2] or "damaged"
