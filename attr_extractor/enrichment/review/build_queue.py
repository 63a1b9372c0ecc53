"""Build the queue in the decisions file from a cells file; later starts reuse it."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from attr_extractor.enrichment.cells import AGREED, CellsFile
from attr_extractor.enrichment.review.candidates import Candidates
from attr_extractor.enrichment.review.decisions_file import DecisionsFile
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema

_TEXTS = (
    *("attribute", "category", "verdict", "seller", "product_id"),
    *("given", "answer", "image", "box", "error"),
)
_INSERT = (
    f"INSERT INTO items ({', '.join(_TEXTS)}, row, given_score, proposed, id)"
    f" VALUES ({', '.join('?' * (len(_TEXTS) + 4))})"
)
_CELLS_AT_ONCE = 4096
CELLS, SCHEMA = "cells", "schema"  # facts: fingerprints
QUEUE = "queue"  # fact: unique id of the queue


def open_queue(
    decisions: str | Path,
    cells: str | Path | CellsFile,
    schema: Schema,
    thresholds: np.ndarray,
    most: int,
) -> tuple[DecisionsFile, str]:
    """Open the decisions file of a cells file; build the queue if there is none.

    Args:
      decisions: the decisions file.
      cells: the cells file.
      schema: the schema of the cells.
      thresholds: float32 [V], thresholds of the values.
      most: maximum number of cells in the queue.

    Returns:
      The file, and a summary line of the queue.

    Raises:
      InputError: if a file cannot be used, or belongs to another cells file or schema.
    """
    source = cells if isinstance(cells, CellsFile) else CellsFile(cells, schema)
    fingerprint = source.fingerprint()
    file = DecisionsFile(decisions)
    try:
        if not file.facts():
            _fill(file, _candidates(source, thresholds, most), source, fingerprint)
        file.require_same(CELLS, fingerprint, "cells file")
        file.require_same(SCHEMA, schema.fingerprint, "schema")
        return file, file.facts()["summary"]
    except InputError:
        file.close()
        raise


def _candidates(source: CellsFile, thresholds: np.ndarray, most: int) -> Candidates:
    found = Candidates(source.schema, thresholds, most)
    with tqdm(total=len(source), unit="cell", desc="queueing") as progress:
        for batch in source.batches():
            found.add(batch)
            progress.update(len(batch))
    return found


def _fill(file: DecisionsFile, found: Candidates, source: CellsFile, fingerprint: str) -> None:
    """Write the queue atomically, unless another program has written one in the meantime."""
    table = found.table()
    worth = sum(found.verdicts.values()) - found.verdicts[AGREED] - found.unread
    parts = ", ".join(f"{count:,} {verdict}" for verdict, count in found.verdicts.most_common())
    summary = f"queue: {len(table):,} of {worth:,} cells that are worth a look ({parts or 'none'}"
    summary += f"; {found.unread:,} of products without a readable photo)"
    facts = {CELLS: fingerprint, SCHEMA: source.schema.fingerprint, "summary": summary}
    facts[QUEUE] = uuid.uuid4().hex
    with file.transaction() as db:
        if db.execute("SELECT count(*) FROM facts").fetchone()[0]:
            return
        db.executemany(_INSERT, _rows(table))
        db.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())


def _rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Yield the parameters of _INSERT for each cell, numbered from 1."""
    numbers = itertools.count(1)
    for batch in table.to_batches(max_chunksize=_CELLS_AT_ONCE):
        for cell in batch.to_pylist():
            scores = [round(score, 4) for score in cell["proposed_scores"]]
            proposed = json.dumps(list(zip(cell["proposed"], scores)), ensure_ascii=False)
            texts = [cell[name] or "" for name in _TEXTS]
            yield (*texts, cell["row"], cell["given_score"], proposed, next(numbers))
