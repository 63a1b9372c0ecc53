"""Which cells are worth a look, and in which order: the best of a catalogue in one pass.

Contradictions come first, the surest ahead; then doubts; then cells without a seller's value whose
score is near its threshold. Within a tenth of worth the values take turns, and within a value the
categories do: nobody looks at a hundred times the same question before seeing another.

No more than about twice as many cells as are wanted are ever held. What is dropped on the way
could not have come back: cells read later only move a cell further back.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attr_extractor.enrichment.cells import AGREED, CONTRADICTED, DOUBTFUL
from attr_extractor.enrichment.read_cells import CELLS_PER_BATCH, first_of_lists
from attr_extractor.schema import Schema

BANDS = 10  # of worth in 0 .. 1, within which values take turns
_SEED = 0  # of the order in which values take turns


@dataclass(frozen=True)
class _Keys:
    """What the order of C cells is decided by, an array [C] each."""

    section: np.ndarray  # int32: kind of cell and tenth of worth, the first to be looked at lowest
    value: np.ndarray  # int32, the value asked about, among the V
    category: np.ndarray  # int32, -1 where it is unknown
    worth: np.ndarray  # float32
    row: np.ndarray  # int64

    def take(self, places: np.ndarray) -> _Keys:
        return _Keys(*(getattr(self, field.name)[places] for field in fields(self)))

    def joined(self, other: _Keys) -> _Keys:
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return _Keys(*map(np.concatenate, pairs))

    def order(self, turns: np.ndarray) -> np.ndarray:
        """int64 [C]: the places of the cells, the first to be looked at first.

        Args:
          turns: int [V], each value's place where values take turns.
        """
        within_category = _ranks((self.row, -self.worth), (self.category, self.value, self.section))
        within_value = _ranks(
            (self.row, self.category, -self.worth, within_category), (self.value, self.section)
        )
        return np.lexsort((turns[self.value], within_value, self.section))


def _ranks(order: tuple[np.ndarray, ...], groups: tuple[np.ndarray, ...]) -> np.ndarray:
    """int64 [C]: each cell's rank from 0 within its group; keys as of np.lexsort, last first."""
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
    """Gathers the cells most worth a look from batches of all of them.

    Args:
      thresholds: float32 [V], above which a value is answered.
      most: how many cells are kept.
    """

    def __init__(self, schema: Schema, thresholds: np.ndarray, most: int):
        self._schema = schema
        self._thresholds = thresholds
        self._most = most
        self._turns = np.random.default_rng(_SEED).permutation(schema.num_values)
        names = [f"{a.name}\x1f{value}" for a in schema.attributes for value in a.values]
        self._places = pa.array(names)  # of the V values
        self._categories = pa.array(schema[schema.category].values)
        self._kept: list[pa.RecordBatch] = []
        self._keys: _Keys | None = None
        self._last_section: int | None = None  # of the worst kept, once as many as wanted are
        self.verdicts: Counter[str] = Counter()  # of all cells
        self.unread = 0  # cells not agreed upon, of products without a readable photo

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes what is worth a look of a batch that `CellsFile` checked."""
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
        """The cells in the order in which they are to be looked at."""
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
        """Orders what is held, and lets go of what is beyond the wanted number."""
        assert self._keys is not None
        order = self._keys.order(self._turns)[: self._most]
        self._keys = self._keys.take(order)
        held = pa.Table.from_batches(self._kept).take(pa.array(order))
        self._kept = held.combine_chunks().to_batches()
        if len(order) == self._most:
            self._last_section = int(self._keys.section[-1])
