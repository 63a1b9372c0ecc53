"""Counts of a catalogue's cells in one pass: per attribute, category and seller.

Only counts are kept in memory: per attribute, category and seller, and of empty cells' scores.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attr_extractor.enrichment import cells
from attr_extractor.evaluation.curves import CUT_OFFS
from attr_extractor.schema import Schema

# kinds of cells: with a seller's value
AGREED, CONTRADICTED, DOUBTFUL, UNLISTED, UNJUDGED = range(5)
# empty cells; UNSEEN: without a readable photo
FILLED, UNANSWERED, UNSEEN = range(5, 8)
KINDS = (
    "agreed",
    "contradicted",
    "doubtful",
    "unlisted",  # doubtful: the seller's value is not in the schema
    "unjudged",  # no photo was readable
    "filled",
    "unanswered",
    "unseen",
)


class CellCounts:
    """Counts of the cells of batches that `CellsFile` has checked."""

    def __init__(self, schema: Schema):
        self.schema = schema
        self.rows = 0  # rows of the table with a cell; the cells of a row are consecutive
        self.categories = [*schema[schema.category].values, ""]  # last: unknown category
        self.of_attribute = np.zeros([len(schema.names), len(KINDS)], np.int64)
        self.of_category = np.zeros([len(self.categories), len(KINDS)], np.int64)
        self.sellers: dict[str, int] = {}  # index of each seller in `of_seller`
        self._of_seller = np.zeros([64, len(KINDS)], np.int64)
        # empty cells with a readable photo by how many of CUT_OFFS their best score is above
        self.scores = np.zeros([len(schema.names), 1 + len(CUT_OFFS)], np.int64)
        self._row: int | None = None

    @property
    def of_seller(self) -> np.ndarray:
        """Counts per seller, int64 [sellers, KINDS]."""
        return self._of_seller[: len(self.sellers)]

    def add(self, batch: pa.RecordBatch) -> None:
        """Count the cells of a batch."""
        if not len(batch):
            return
        rows = batch.column("row").to_numpy()
        self.rows += int((rows[1:] != rows[:-1]).sum()) + int(rows[0] != self._row)
        self._row = int(rows[-1])
        kind = _kinds(batch)
        attribute = _indices(batch.column("attribute"), self.schema.names)
        _count(self.of_attribute, attribute, kind)
        _count(self.of_category, _indices(batch.column("category"), self.categories), kind)
        self._add_sellers(batch.column("seller"), kind)
        self._add_scores(batch, attribute, kind)

    def _add_scores(self, batch: pa.RecordBatch, attribute: np.ndarray, kind: np.ndarray) -> None:
        read = pc.greater(pc.list_value_length(batch.column("proposed")), 0).to_numpy(False)
        empty = np.flatnonzero(read & ((kind == FILLED) | (kind == UNANSWERED)))
        scores = batch.column("proposed_scores").take(pa.array(empty))
        best = cells.first_of_lists(scores).to_numpy()
        passed = np.searchsorted(CUT_OFFS, best, side="left")
        _count(self.scores, attribute[empty], passed)

    def _add_sellers(self, sellers: pa.Array, kind: np.ndarray) -> None:
        encoded = pc.dictionary_encode(sellers)
        names, index = encoded.dictionary.to_pylist(), self.sellers
        rows = np.array([index.setdefault(name, len(index)) for name in names])
        while len(index) > len(self._of_seller):
            self._of_seller = np.concatenate([self._of_seller, np.zeros_like(self._of_seller)])
        counts = np.zeros([len(names), len(KINDS)], np.int64)
        _count(counts, encoded.indices.to_numpy(), kind)
        self._of_seller[rows] += counts  # each seller occurs once among the names


def _kinds(batch: pa.RecordBatch) -> np.ndarray:
    """Return the kind of each cell, int64 [C], as positions in KINDS."""
    verdict = _indices(batch.column("verdict"), cells.VERDICTS)
    empty = pc.equal(batch.column("given"), "").to_numpy(False)
    kinds = {
        cells.AGREED: (AGREED, AGREED),
        cells.CONTRADICTED: (CONTRADICTED, CONTRADICTED),
        cells.DOUBTFUL: (DOUBTFUL, UNLISTED),
        cells.FILLED: (FILLED, FILLED),
        cells.UNANSWERED: (UNANSWERED, UNANSWERED),
        cells.UNSEEN: (UNJUDGED, UNSEEN),
    }
    return np.array([kinds[name] for name in cells.VERDICTS])[verdict, empty.astype(int)]


def _indices(texts: pa.Array, known: list[str] | tuple[str, ...]) -> np.ndarray:
    return pc.index_in(texts, value_set=pa.array(known, pa.string())).to_numpy()


def _count(counts: np.ndarray, group: np.ndarray, kind: np.ndarray) -> None:
    """Add one to counts[group, kind] for each cell."""
    width = counts.shape[1]
    counts += np.bincount(group * width + kind, minlength=counts.size).reshape(counts.shape)
