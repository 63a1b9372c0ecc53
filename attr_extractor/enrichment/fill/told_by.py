"""The cells and words that a proposed value rests on, as a column of the table of cells.

They are asked for the cells that a person may look at: all but those on which seller and model
agree, and those of products without a readable photo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attr_extractor.enrichment import cells
from attr_extractor.evaluation.explain import told
from attr_extractor.schema import Schema

# the best proposed values of R rows, int32 [R, T], positions among the V, -1 for none
# -> sources str and shares float32 [R, T, S], in log-odds, largest first
Shares = Callable[[np.ndarray], "tuple[np.ndarray, np.ndarray]"]


def add(table: pa.Table, rows: int, first: int, schema: Schema, shares: Shares) -> pa.Table:
    """Return a table of cells with its column `told_by` filled.

    Args:
      table: cells of consecutive rows, in order.
      rows: number of rows, R.
      first: number of the first row.
    """
    asked = pc.and_(
        pc.invert(
            pc.is_in(
                table.column("verdict").cast(pa.string()),
                value_set=pa.array([cells.AGREED, cells.UNSEEN]),
            )
        ),
        pc.greater(pc.list_value_length(table.column("proposed")), 0),
    )
    where = np.flatnonzero(asked.to_numpy())
    if not len(where):
        return table
    some = table.select(["row", "attribute", "proposed"]).take(pa.array(where))
    row = some.column("row").to_numpy() - first
    attribute = pc.index_in(some.column("attribute"), value_set=pa.array(schema.names)).to_numpy()
    best = pc.list_element(some.column("proposed"), 0)
    names = pc.binary_join_element_wise(some.column("attribute"), best, "=")
    value = np.full([rows, len(schema.names)], -1, np.int32)
    value[row, attribute] = pc.index_in(names, value_set=pa.array(schema.value_names)).to_numpy()
    source, log_odds = (each[row, attribute] for each in shares(value))
    texts = np.full(len(table), "", object)
    texts[where] = as_texts(source, log_odds)
    place = table.schema.get_field_index(cells.TOLD_BY)
    return table.set_column(place, cells.TOLD_BY, pa.array(texts, pa.string()))


def as_texts(source: np.ndarray, log_odds: np.ndarray) -> Sequence[str]:
    """Return a text of each cell's shares, see `told.as_text`.

    Args:
      source: str [C, S].
      log_odds: float32 [C, S].
    """
    pairs = zip(source.tolist(), log_odds.tolist())
    return [told.as_text(map(told.Share, *each)) for each in pairs]
