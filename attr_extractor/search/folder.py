"""What an index folder holds, and its description.

index.faiss     the vectors, numbered from 0
photos.parquet  a row per vector: the table's row, product_id, image, image_index, and of every
                attribute `seller.<name>`: the seller's values in the schema's spelling, parted by |
rejects.csv     photos that could not be read: row, product_id, image, reason
index.json      which model, schema and kind; written last: where it is, all is there
parts/          while it is built
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


class Facts(yaml_files.Model):
    """index.json."""

    model: str  # Description.digest of the model
    fingerprint: str  # of its schema
    kind: str  # vectors.EXACT or vectors.CELLS
    width: int  # D
    rows: int
    photos: int
    rows_with_photo: int  # with a photo that could be read
    rejects: int
    image_root: str
    bytes: int  # of index.faiss


def read_facts(path: str | Path) -> Facts:
    """The description of a finished index; raises InputError where it is not one."""
    folder = require_folder(path, "the index")
    if not (folder / FACTS).is_file():
        if (folder / PARTS).is_dir():
            raise InputError(
                f"{folder}: half built: no {FACTS} there; the same build_index.py command goes on"
            )
        raise InputError(f"{folder}: not an index: no {FACTS} there; make it with build_index.py")
    content = files.read_json(folder / FACTS, "the index's description")
    facts = yaml_files.validate(Facts, content, str(folder / FACTS))
    vectors = folder / VECTORS
    size = vectors.stat().st_size if vectors.is_file() else 0
    if size != facts.bytes:
        raise InputError(
            f"{vectors}: has {size:,} bytes, {FACTS} says {facts.bytes:,}: a half copy; "
            "copy or build it again"
        )
    return facts


def seller_column(attribute: str) -> str:
    """Where photos.parquet holds the seller's values of an attribute."""
    return f"seller.{attribute}"


def photos_schema(schema: Schema) -> pa.Schema:
    """The columns of photos.parquet."""
    fields = [
        (ROW, pa.int64()),  # of the table, from 1
        (PRODUCT, pa.string()),
        (IMAGE, pa.string()),  # path below the image root
        (IMAGE_INDEX, pa.int32()),  # which photo of the row, from 0
    ]
    return pa.schema([*fields, *((seller_column(name), pa.string()) for name in schema.names)])
