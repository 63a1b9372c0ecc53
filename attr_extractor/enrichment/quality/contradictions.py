"""Cells that the model contradicts: the surest cells, and the most frequent pairs of values.

Memory is bounded for a catalogue of any size: at most about twice `most` cells are kept, and at
most as many pairs as the schema has.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attr_extractor.enrichment import cells
from attr_extractor.schema import SEPARATOR

EXAMPLES = 3  # example products per pair
COLUMNS = (
    "row",
    "product_id",
    "seller",
    "category",
    "attribute",
    "given",  # the seller's values, separated by |
    "given_score",  # lowest score of the given values
    "proposed",  # the model's best value that the seller did not give
    "proposed_score",
    "image",
    cells.TOLD_BY,  # of `proposed`, if it is the model's best value of all
)
_READ = [name for name in COLUMNS if name != "proposed_score"] + ["answer", "proposed_scores"]


class ValuePair(NamedTuple):
    """A seller's value and the value that the model predicts instead."""

    attribute: str
    given: str
    proposed: str


class Contradictions:
    """Contradicted cells, collected from batches that `CellsFile` has checked."""

    def __init__(self, most: int):
        """Create an empty collection.

        Args:
          most: maximum number of cells kept; those with the highest proposed_score - given_score.
        """
        self.most, self.count = most, 0
        self.pairs: Counter[ValuePair] = Counter()
        self._examples: dict[ValuePair, list[tuple[float, int, str]]] = {}
        self._kept: list[pa.Table] = []
        self._held, self._limit = 0, -np.inf

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the contradicted cells of a batch."""
        contradicted = pc.equal(batch.column("verdict"), cells.CONTRADICTED)
        table = pa.Table.from_batches([batch]).select(_READ).filter(contradicted)
        rows = table.to_pylist()
        for row in rows:
            self._judge(row)
        self.count += len(rows)
        self._keep([row for row in rows if row["sureness"] >= self._limit])

    def surest_cells(self) -> pa.Table:
        """Return the kept cells, columns COLUMNS, the surest first; ties in order of the table."""
        self._prune()
        return self._kept[0].select(COLUMNS) if self._kept else pa.table({n: [] for n in COLUMNS})

    def examples(self, pair: ValuePair) -> list[str]:
        """Return example product ids of a pair, the surest first."""
        return [product for _, _, product in self._examples[pair]]

    def _judge(self, row: dict[str, Any]) -> None:
        """Add `proposed`, `proposed_score` and `sureness` to a cell, and count its pairs."""
        given, answer = row["given"].split(SEPARATOR), row.pop("answer").split(SEPARATOR)
        proposals = zip(row["proposed"], row.pop("proposed_scores"))
        # none is left if the seller has listed every value that the model proposes
        best_of_all = row["proposed"][:1]
        best = next((p for p in proposals if p[0] not in given), ("", 0.0))
        row["proposed"], row["proposed_score"] = best
        if best_of_all != [best[0]]:
            row[cells.TOLD_BY] = ""
        row["sureness"] = best[1] - (row["given_score"] or 0.0)
        for value in given:
            if value in answer:  # one of several values may agree with the model
                continue
            pair = ValuePair(row["attribute"], value, best[0])
            self.pairs[pair] += 1
            examples = self._examples.get(pair, [])
            product = (-row["sureness"], row["row"], row["product_id"])
            self._examples[pair] = sorted([*examples, product])[:EXAMPLES]

    def _keep(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        self._kept.append(pa.Table.from_pylist(rows, _KEPT_SCHEMA))
        self._held += len(rows)
        if self._held > 2 * self.most:
            self._prune()

    def _prune(self) -> None:
        """Sort the kept cells and drop all but the `most` surest."""
        if not self._kept:
            return
        held = pa.concat_tables(self._kept)
        sureness = held.column("sureness").to_numpy()
        order = np.lexsort((held.column("row").to_numpy(), -sureness))[: self.most]
        self._kept, self._held = [held.take(pa.array(order)).combine_chunks()], len(order)
        if len(order) == self.most:
            self._limit = sureness[order[-1]]


_KEPT_SCHEMA = pa.schema(
    [
        *(cells.SCHEMA.field(name) for name in COLUMNS if not name.startswith("proposed")),
        ("proposed", pa.string()),
        ("proposed_score", pa.float32()),
        ("sureness", pa.float64()),
    ]
)
