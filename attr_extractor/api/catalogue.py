"""A schema and records from a seller's table; see `catalogue` and `records` for the steps."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from attr_extractor.api import child
from attr_extractor.catalogue import infer
from attr_extractor.catalogue.infer import Draft
from attr_extractor.catalogue.table import read_columns
from attr_extractor.errors import parsing
from attr_extractor.records import builder
from attr_extractor.records.manifest import Manifest
from attr_extractor.records.plan import BuildOptions
from attr_extractor.schema import Schema


def infer_schema(
    table: str | Path | pd.DataFrame, name: str = "catalogue", category: str | None = None
) -> Draft:
    """Infer a draft schema from a table, to be checked by a person.

    Args:
      table: a .csv, .tsv, .parquet or .jsonl file, or its rows. A list in a cell is several values.
      name: the schema's name.
      category: the category column; guessed if None.

    Returns:
      the draft; `draft.schema`, `draft.summary()` and `draft.write(path)`.

    Raises:
      InputError: if the table cannot be read, or no product id, photos, attributes or category are
        found.
    """
    if not isinstance(table, pd.DataFrame):
        return infer.infer_schema(read_columns(table), name, category, origin=str(table))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.parquet")  # one rule from values to cells, that of the reader
        with parsing("the table: it cannot be stored as Parquet"):
            table.to_parquet(path, index=False)
        return infer.infer_schema(read_columns(path), name, category, origin="the table")


def build_records(
    catalogue: str | Path,
    schema: Schema | str | Path,
    output_dir: str | Path,
    image_root: str | Path | None = None,
    options: BuildOptions | None = None,
) -> Manifest:
    """Build the records of a catalogue in a child process, resume a build, or add new rows.

    Args:
      catalogue: a .csv, .tsv, .parquet or .jsonl file.
      schema: the schema, its file, or the name of one that comes with the package.
      image_root: the folder that image paths are relative to; by default the folder of the table.

    Returns:
      the manifest: splits, counts and the records' digest.

    Raises:
      InputError: if the table, an option or the output folder is invalid, if no row is usable, or
        if the disk is full.
      TemporaryError: if another program is writing to the output folder.
    """
    schema = schema if isinstance(schema, Schema) else Schema.read(schema)
    return child.call(builder.build, catalogue, schema, output_dir, image_root, options)
