"""Files of an index folder, and its description.

index.faiss     the vectors, numbered from 0
photos.parquet  one row per vector: row of the table, product_id, image, image_index, and per
                attribute `seller.<name>`: seller's values in the schema's spelling, separated by |
rejects.csv     unreadable photos: row, product_id, image, reason
index.json      model, schema and kind of the index; written last, it marks a finished index
parts/          only during the build
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from attr_extractor import files, yaml_files
from attr_extractor.errors import InputError, require_folder
from attr_extractor.schema import Schema

VECTORS, PHOTOS, REJECTS, FACTS, PARTS = (
    *("index.faiss", "photos.parquet", "rejects.csv", "index.json", "parts"),
)
REJECT_COLUMNS = ("row", "product_id", "image", "reason")
ROW, PRODUCT, IMAGE, IMAGE_INDEX = "row", "product_id", "image", "image_index"


class IndexFacts(yaml_files.Model):
    """Content of index.json."""

    model: str  # Description.digest of the model
    fingerprint: str  # fingerprint of the model's schema
    kind: str  # vectors.EXACT or vectors.CELLS
    width: int  # D
    rows: int
    photos: int
    rows_with_photo: int  # with a readable photo
    rejects: int
    image_root: str
    bytes: int  # size of index.faiss


def read_facts(path: str | Path) -> IndexFacts:
    """Read the description of a finished index; raise InputError if it is not one."""
    folder = require_folder(path, "the index")
    if not (folder / FACTS).is_file():
        if (folder / PARTS).is_dir():
            raise InputError(
                f"{folder}: unfinished: {FACTS} is missing; rerun the build_index.py command to "
                "resume"
            )
        raise InputError(f"{folder}: not an index: {FACTS} is missing; run build_index.py")
    content = files.read_json(folder / FACTS, "the index's description")
    facts = yaml_files.validate(IndexFacts, content, str(folder / FACTS))
    vectors = folder / VECTORS
    size = vectors.stat().st_size if vectors.is_file() else 0
    if size != facts.bytes:
        raise InputError(
            f"{vectors}: has {size:,} bytes, {FACTS} records {facts.bytes:,}: incomplete; "
            "copy or build it again"
        )
    return facts


def seller_column(attribute: str) -> str:
    """Return the column of photos.parquet with the seller's values of an attribute."""
    return f"seller.{attribute}"


def photos_schema(schema: Schema) -> pa.Schema:
    """Return the schema of photos.parquet."""
    fields = [
        (ROW, pa.int64()),  # row number in the table, from 1
        (PRODUCT, pa.string()),
        (IMAGE, pa.string()),  # path below the image root
        (IMAGE_INDEX, pa.int32()),  # index of the photo in its row, from 0
    ]
    return pa.schema([*fields, *((seller_column(name), pa.string()) for name in schema.names)])
