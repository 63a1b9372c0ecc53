"""Build the queue of a review from a cells file; later starts reuse it.

Contradicted cells come first, the surest at the top; then doubtful cells; then cells without a
seller's value whose score is near the threshold. `worth` in 0 .. 1 is divided into BANDS. Within a
band the values alternate, and within a value the categories, so that a reviewer does not get the
same question a hundred times in a row.

The cells file is read once. At most about twice `most` cells are in memory. Dropped cells could not
have returned to the queue: later cells can only move a cell further back.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from attr_extractor.enrichment.cells import (
    AGREED,
    CELLS_PER_BATCH,
    CONTRADICTED,
    DOUBTFUL,
    CellsFile,
    first_of_lists,
)
from attr_extractor.enrichment.review.decisions_file import DecisionsFile, QueueInfo
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema

BANDS = 10  # bands of worth in 0 .. 1, within which values alternate
_SEED = 0  # seed of the order in which values alternate
_TEXTS = (
    *("attribute", "category", "verdict", "seller", "product_id"),
    *("given", "answer", "image", "box", "told_by", "error"),
)
_INSERT = (
    f"INSERT INTO items ({', '.join(_TEXTS)}, row, given_score, proposed, id)"
    f" VALUES ({', '.join('?' * (len(_TEXTS) + 4))})"
)
_ROWS_AT_ONCE = 4096


def open_queue(
    decisions: str | Path,
    cells: str | Path | CellsFile,
    schema: Schema,
    thresholds: np.ndarray,
    most: int,
) -> tuple[DecisionsFile, QueueInfo]:
    """Open the decisions file of a cells file; build the queue if there is none.

    Args:
      decisions: the decisions file.
      cells: the cells file.
      schema: the schema of the cells.
      thresholds: float32 [V], thresholds of the values.
      most: maximum number of cells in the queue.

    Returns:
      The file and the description of its queue.

    Raises:
      InputError: if a file cannot be used, or belongs to another cells file or schema.
    """
    source = cells if isinstance(cells, CellsFile) else CellsFile(cells, schema)
    fingerprint = source.fingerprint()
    file = DecisionsFile(decisions)
    try:
        info = file.info()
        if info is None:
            info = _write_queue(file, _candidates(source, thresholds, most), source, fingerprint)
        file.require_same("cells file", info.cells, fingerprint)
        file.require_same("schema", info.schema, schema.fingerprint)
        return file, info
    except InputError:
        file.close()
        raise


@dataclass(frozen=True)
class _Keys:
    """Sort keys of C cells, an array [C] each."""

    section: np.ndarray  # int32: kind of cell and band of worth, the lowest is reviewed first
    value: np.ndarray  # int32, index of the proposed value among the V
    category: np.ndarray  # int32, -1 if unknown
    worth: np.ndarray  # float32
    row: np.ndarray  # int64

    def take(self, places: np.ndarray) -> _Keys:
        return _Keys(*(getattr(self, field.name)[places] for field in fields(self)))

    def joined(self, other: _Keys) -> _Keys:
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return _Keys(*map(np.concatenate, pairs))

    def order(self, turns: np.ndarray) -> np.ndarray:
        """Return the indices of the cells in review order, int64 [C].

        Args:
          turns: int [V], position of each value when values alternate.
        """
        within_category = _ranks((self.row, -self.worth), (self.category, self.value, self.section))
        within_value = _ranks(
            (self.row, self.category, -self.worth, within_category), (self.value, self.section)
        )
        return np.lexsort((turns[self.value], within_value, self.section))


def _ranks(order: tuple[np.ndarray, ...], groups: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return each cell's rank in its group, int64 [C] from 0; keys as in np.lexsort, last first."""
    places = np.lexsort((*order, *groups))
    starts = np.zeros(len(places), bool)
    starts[:1] = True
    for key in groups:
        ordered = key[places]
        starts[1:] |= ordered[1:] != ordered[:-1]
    numbers = np.arange(len(places))
    ranks = np.empty(len(places), np.int64)
    ranks[places] = numbers - np.maximum.accumulate(np.where(starts, numbers, 0))
    return ranks


class Candidates:
    """The cells most useful to review, collected from batches of all cells.

    Args:
      schema: the schema of the cells.
      thresholds: float32 [V], thresholds of the values.
      most: maximum number of cells kept.
    """

    def __init__(self, schema: Schema, thresholds: np.ndarray, most: int):
        self._schema = schema
        self._thresholds = thresholds
        self._most = most
        self._turns = np.random.default_rng(_SEED).permutation(schema.num_values)
        names = [f"{a.name}\x1f{value}" for a in schema.attributes for value in a.values]
        self._places = pa.array(names)  # the V values
        self._categories = pa.array(schema[schema.category].values)
        self._kept: list[pa.RecordBatch] = []
        self._keys: _Keys | None = None
        self._last_section: int | None = None  # of the last kept cell, once `most` are kept
        self.verdicts: Counter[str] = Counter()  # of all cells
        self.unread = 0  # cells not agreed, of products without a readable photo

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the cells to review of a batch that `CellsFile` has checked."""
        for each in pc.value_counts(batch.column("verdict")).to_pylist():
            self.verdicts[each["values"]] += each["counts"]
        doubted = pc.not_equal(batch.column("verdict"), AGREED)
        read = pc.greater(pc.list_value_length(batch.column("proposed")), 0)
        self.unread += pc.sum(pc.and_not(doubted, read)).as_py() or 0
        batch = batch.filter(pc.and_(doubted, read))
        keys = self._keys_of(batch)
        if self._last_section is not None:
            near = np.flatnonzero(keys.section <= self._last_section)
            batch, keys = batch.take(pa.array(near)), keys.take(near)
        if not len(batch):
            return
        self._kept.append(batch)
        self._keys = keys if self._keys is None else self._keys.joined(keys)
        if len(self._keys.row) > self._most + max(self._most, CELLS_PER_BATCH):
            self._prune()

    def table(self) -> pa.Table:
        """Return the cells in review order."""
        if self._keys is None:
            return pa.table({})
        self._prune()
        return pa.Table.from_batches(self._kept)

    def _keys_of(self, batch: pa.RecordBatch) -> _Keys:
        first = first_of_lists(batch.column("proposed"))
        asked = pc.binary_join_element_wise(batch.column("attribute"), first, "\x1f")
        value = pc.index_in(asked, value_set=self._places).to_numpy()
        best = first_of_lists(batch.column("proposed_scores")).to_numpy()
        given = pc.fill_null(batch.column("given_score"), 0.0).to_numpy()
        contradicted = pc.equal(batch.column("verdict"), CONTRADICTED).to_numpy(False)
        doubtful = pc.equal(batch.column("verdict"), DOUBTFUL).to_numpy(False)
        near = 1 - np.abs(best - self._thresholds[value])
        worth = np.where(contradicted, best - given, np.where(doubtful, 1 - given, near))
        kind = np.where(contradicted, 1, np.where(doubtful, 2, 3))
        band = np.clip(np.floor(worth * BANDS), 0, BANDS - 1)
        category = pc.index_in(batch.column("category"), value_set=self._categories)
        return _Keys(
            section=(kind * BANDS - band).astype(np.int32),
            value=value.astype(np.int32),
            category=pc.fill_null(category, -1).to_numpy().astype(np.int32),
            worth=worth.astype(np.float32),
            row=batch.column("row").to_numpy(),
        )

    def _prune(self) -> None:
        """Sort the kept cells and drop all but the first `most`."""
        assert self._keys is not None
        order = self._keys.order(self._turns)[: self._most]
        self._keys = self._keys.take(order)
        held = pa.Table.from_batches(self._kept).take(pa.array(order))
        self._kept = held.combine_chunks().to_batches()
        if len(order) == self._most:
            self._last_section = int(self._keys.section[-1])


def _candidates(source: CellsFile, thresholds: np.ndarray, most: int) -> Candidates:
    candidates = Candidates(source.schema, thresholds, most)
    with tqdm(total=len(source), unit="cell", desc="queueing") as progress:
        for batch in source.batches():
            candidates.add(batch)
            progress.update(len(batch))
    return candidates


def _write_queue(
    file: DecisionsFile, candidates: Candidates, source: CellsFile, fingerprint: str
) -> QueueInfo:
    """Write the queue atomically, unless another program has written one in the meantime."""
    table = candidates.table()
    verdicts = candidates.verdicts
    worth = sum(verdicts.values()) - verdicts[AGREED] - candidates.unread
    counts = ", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.most_common())
    summary = (
        f"queue: {len(table):,} of {worth:,} cells that are worth a look ({counts or 'none'}; "
        f"{candidates.unread:,} of products without a readable photo)"
    )
    info = QueueInfo(uuid.uuid4().hex, fingerprint, source.schema.fingerprint, summary)
    with file.transaction() as db:
        if not db.execute("SELECT count(*) FROM facts").fetchone()[0]:
            db.executemany(_INSERT, _rows(table))
            db.executemany("INSERT INTO facts VALUES (?, ?)", asdict(info).items())
    return file.info() or info


def _rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Yield the parameters of _INSERT for each cell, numbered from 1."""
    numbers = itertools.count(1)
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        for cell in batch.to_pylist():
            scores = [round(score, 4) for score in cell["proposed_scores"]]
            proposed = json.dumps(list(zip(cell["proposed"], scores)), ensure_ascii=False)
            texts = [cell[name] or "" for name in _TEXTS]
            yield (*texts, cell["row"], cell["given_score"], proposed, next(numbers))
