"""cells.parquet: what seller and model say of each cell, one row per table row and attribute.

It is what the catalogue report, the review page and a spreadsheet start from. Attributes that do
not apply to a product's category have no row. The file's metadata says which model answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict

import pyarrow as pa

from attr_extractor import yaml_files

if TYPE_CHECKING:
    from attr_extractor.serving.model_dir import Facts  # TensorFlow

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
METADATA = b"attr_extractor"  # key of the Parquet file's, for a MadeBy as JSON


class MadeBy(yaml_files.Model):
    """The model whose answers and scores a file of cells holds."""

    model: str  # its digest
    weights: str  # digest of its run's; empty in an older export
    fingerprint: str
    temperatures: Dict[str, float]  # by attribute

    @classmethod
    def of(cls, facts: Facts) -> MadeBy:
        """What a model's description says of it."""
        attributes = facts.thresholds.attributes
        return cls(
            model=facts.digest,
            weights=facts.weights,
            fingerprint=facts.fingerprint,
            temperatures={name: attributes[name].temperature for name in attributes},
        )

    @classmethod
    def metadata(cls, facts: Facts) -> dict[bytes, bytes]:
        """The metadata of a file; none where an older version exported the model."""
        return {METADATA: cls.of(facts).model_dump_json().encode()} if facts.digest else {}
