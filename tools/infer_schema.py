"""Writes a first schema from your own table, to be checked by hand.

Example:
  python tools/infer_schema.py --catalogue fashion.csv --output fashion.yaml --category articleType
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from attr_extractor import errors
from attr_extractor.catalogue.infer import infer_schema
from attr_extractor.catalogue.table import read_columns

CATALOGUE = flags.DEFINE_string("catalogue", None, "CSV or TSV table of products.", required=True)
OUTPUT = flags.DEFINE_string("output", None, "YAML file to write; a new one.", required=True)
CATEGORY = flags.DEFINE_string("category", None, "The category's column; guessed by default.")


def main() -> None:
    output = Path(OUTPUT.value)
    if output.exists():
        raise errors.InputError(f"{output}: exists already; name a new file or remove it")
    table = read_columns(CATALOGUE.value)
    draft = infer_schema(table, output.stem, CATEGORY.value, origin=CATALOGUE.value)
    draft.write(output)
    print(draft.summary())
    schema = draft.schema
    print(f"wrote {output}: {len(schema.attributes)} attributes, {schema.num_values} values")


if __name__ == "__main__":
    errors.run_program(main)
