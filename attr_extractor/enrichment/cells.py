"""cells.parquet: seller value and model prediction of each cell, one row per row and attribute.

It is the input of the catalogue report, the review page and a spreadsheet. Attributes that do not
apply to a product's category have no row. The file's metadata names the model that predicted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict

import pyarrow as pa

from attr_extractor import yaml_files

if TYPE_CHECKING:
    from attr_extractor.serving.model_dir import ModelFacts  # TensorFlow

# cells with a seller's value, compared with the model
AGREED, CONTRADICTED, DOUBTFUL = "agreed", "contradicted", "doubtful"
# empty cells
FILLED, UNANSWERED = "filled", "unanswered"
UNSEEN = "unseen"  # either kind, if no photo was readable
VERDICTS = (AGREED, CONTRADICTED, DOUBTFUL, FILLED, UNANSWERED, UNSEEN)
BOX = "box"

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),  # row number in the table, from 1
        ("product_id", pa.string()),
        ("seller", pa.string()),  # the cell of --seller_column, "" without that flag
        ("category", pa.string()),  # the seller's, in the schema's spelling; "" if unknown
        ("attribute", pa.string()),
        ("given", pa.string()),  # seller's known values in the schema's spelling, separated by |
        ("given_score", pa.float32()),  # lowest score of the given values; null if none is known
        ("answer", pa.string()),  # values above their thresholds, best first, separated by |
        ("proposed", pa.list_(pa.string())),  # the best allowed values, at most MAX_ANSWERS
        ("proposed_scores", pa.list_(pa.float32())),  # scores of `proposed`, best first
        ("verdict", pa.dictionary(pa.int32(), pa.string())),
        ("image", pa.string()),  # the table's cell: paths below the image root, separated by |
        (BOX, pa.string()),  # the row's product boxes, see `boxes.join`; "" without
        ("error", pa.string()),  # why photos of the row are unreadable, "" if all were read
    ]
)
METADATA = b"attr_extractor"  # key in the Parquet metadata; the value is a MadeBy as JSON


class MadeBy(yaml_files.Model):
    """The model that predicted the answers and scores of a cells file."""

    model: str  # digest of the exported model
    weights: str  # digest of the run's weights; empty in an older export
    fingerprint: str
    temperatures: Dict[str, float]  # by attribute

    @classmethod
    def of(cls, facts: ModelFacts) -> MadeBy:
        """Return the MadeBy of a described model."""
        attributes = facts.thresholds.attributes
        return cls(
            model=facts.digest,
            weights=facts.weights,
            fingerprint=facts.fingerprint,
            temperatures={name: attributes[name].temperature for name in attributes},
        )

    @classmethod
    def metadata(cls, facts: ModelFacts) -> dict[bytes, bytes]:
        """Return the metadata of a cells file; empty if an older version exported the model."""
        return {METADATA: cls.of(facts).model_dump_json().encode()} if facts.digest else {}
