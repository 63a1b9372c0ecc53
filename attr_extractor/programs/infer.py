"""Draft a schema from a table, to be checked by hand.

Example:
  attr-extractor infer --catalogue fashion.csv --output fashion.yaml --category articleType
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from attr_extractor import storage
from attr_extractor.catalogue.infer import infer_schema
from attr_extractor.catalogue.table import read_columns

F = flags.FLAGS
flags.DEFINE_string("catalogue", None, "Table: .csv, .tsv, .parquet or .jsonl.", required=True)
flags.DEFINE_string("output", None, "Schema: a new YAML file.", required=True)
flags.DEFINE_string("category", None, "Column of the category; guessed by default.")


def main() -> None:
    storage.require_new_file(F.output, "--output")
    table = read_columns(F.catalogue)
    name = Path(storage.file_name(F.output)).stem
    draft = infer_schema(table, name, F.category, origin=F.catalogue)
    draft.write(F.output)
    print(draft.summary())
    schema = draft.schema
    print(f"wrote {F.output}: {len(schema.attributes)} attributes, {schema.num_values} values")
