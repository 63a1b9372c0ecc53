"""The cells that the model contradicts: the surest of them, and the most frequent pairs of values.

Of a catalogue of any size at most about twice as many cells as are wanted are held, and of pairs no
more than the schema has.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attr_extractor.enrichment import cells
from attr_extractor.schema import SEPARATOR

EXAMPLES = 3  # products of a pair
COLUMNS = (
    "row",
    "product_id",
    "seller",
    "category",
    "attribute",
    "given",  # the seller's values, parted by |
    "given_score",  # the lowest of theirs
    "proposed",  # the model's best value that is none of them
    "proposed_score",
    "image",
)
_READ = [name for name in COLUMNS if name != "proposed_score"] + ["answer", "proposed_scores"]


class Pair(NamedTuple):
    """A value that sellers gave and the one that the model sees instead."""

    attribute: str
    given: str
    proposed: str


class Contradictions:
    """Gathers from batches that `CellsFile` checked.

    Args:
      most: how many cells are kept, the surest: of the highest proposed_score - given_score.
    """

    def __init__(self, most: int):
        self.most, self.found = most, 0
        self.pairs: Counter[Pair] = Counter()
        self._examples: dict[Pair, list[tuple[float, int, str]]] = {}
        self._kept: list[pa.Table] = []
        self._held, self._limit = 0, -np.inf

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes the contradicted cells of a batch."""
        contradicted = pc.equal(batch.column("verdict"), cells.CONTRADICTED)
        table = pa.Table.from_batches([batch]).select(_READ).filter(contradicted)
        rows = table.to_pylist()
        for row in rows:
            self._judge(row)
        self.found += len(rows)
        self._keep([row for row in rows if row["sureness"] >= self._limit])

    def table(self) -> pa.Table:
        """The kept cells, the surest first, of equal ones the first of the table: COLUMNS."""
        self._prune()
        return self._kept[0].select(COLUMNS) if self._kept else pa.table({n: [] for n in COLUMNS})

    def examples(self, pair: Pair) -> list[str]:
        """Product ids of a pair, the surest first."""
        return [product for _, _, product in self._examples[pair]]

    def _judge(self, row: dict[str, Any]) -> None:
        """Adds proposed, its score and sureness to a cell, and counts its pairs."""
        given, answer = row["given"].split(SEPARATOR), row.pop("answer").split(SEPARATOR)
        proposals = zip(row["proposed"], row.pop("proposed_scores"))
        # none: the seller has listed all that the model proposes
        best = next((p for p in proposals if p[0] not in given), ("", 0.0))
        row["proposed"], row["proposed_score"] = best
        row["sureness"] = best[1] - (row["given_score"] or 0.0)
        for value in given:
            if value in answer:  # of several values not every one is contradicted
                continue
            pair = Pair(row["attribute"], value, best[0])
            self.pairs[pair] += 1
            known = self._examples.get(pair, [])
            product = (-row["sureness"], row["row"], row["product_id"])
            self._examples[pair] = sorted([*known, product])[:EXAMPLES]

    def _keep(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        self._kept.append(pa.Table.from_pylist(rows, _FORM))
        self._held += len(rows)
        if self._held > 2 * self.most:
            self._prune()

    def _prune(self) -> None:
        """Orders what is held, and lets go of what is beyond the wanted number."""
        if not self._kept:
            return
        held = pa.concat_tables(self._kept)
        sureness = held.column("sureness").to_numpy()
        order = np.lexsort((held.column("row").to_numpy(), -sureness))[: self.most]
        self._kept, self._held = [held.take(pa.array(order)).combine_chunks()], len(order)
        if len(order) == self.most:
            self._limit = sureness[order[-1]]


_FORM = pa.schema(
    [
        *(cells.SCHEMA.field(name) for name in COLUMNS if not name.startswith("proposed")),
        ("proposed", pa.string()),
        ("proposed_score", pa.float32()),
        ("sureness", pa.float64()),
    ]
)
