"""cells.parquet: what seller and model say of each cell, one row per table row and attribute.

It is what the catalogue report, the review page and a spreadsheet start from. Attributes that do
not apply to a product's category have no row.
"""

from __future__ import annotations

import pyarrow as pa

# what the seller wrote, held against the model
AGREED, CONTRADICTED, DOUBTFUL = "agreed", "contradicted", "doubtful"
# what the seller left empty
FILLED, UNANSWERED = "filled", "unanswered"
UNSEEN = "unseen"  # either, where no photo could be read
VERDICTS = (AGREED, CONTRADICTED, DOUBTFUL, FILLED, UNANSWERED, UNSEEN)
BOX = "box"

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),  # of the table, from 1
        ("product_id", pa.string()),
        ("seller", pa.string()),  # the cell of --seller_column, "" without that flag
        ("category", pa.string()),  # the seller's, in the schema's spelling; "" where it is unknown
        ("attribute", pa.string()),
        ("given", pa.string()),  # seller's known values in the schema's spelling, parted by |
        ("given_score", pa.float32()),  # the lowest of theirs; null where none is known
        ("answer", pa.string()),  # values above their thresholds, best first, parted by |
        ("proposed", pa.list_(pa.string())),  # the best allowed values, at most MAX_ANSWERS
        ("proposed_scores", pa.list_(pa.float32())),  # theirs, best first
        ("verdict", pa.dictionary(pa.int32(), pa.string())),
        ("image", pa.string()),  # the table's cell: paths below the image root, parted by |
        (BOX, pa.string()),  # the row's product boxes, as `boxes.join` has them; "" without
        ("error", pa.string()),  # why photos of the row could not be read, "" where all were
    ]
)
