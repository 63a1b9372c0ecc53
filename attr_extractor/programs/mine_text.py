r"""Find values of the schema in titles and descriptions; write them as a label source.

The confidence of a row is the measured precision of its value, on the cells that the seller filled.

Example:
  attr-extractor mine-text --catalogue=shop/catalogue.csv --schema=shop/schema.yaml \
      --output=shop/text.parquet --columns=title,description
"""

from absl import flags

from attr_extractor.schema import Schema
from attr_extractor.sources import text

F = flags.FLAGS
flags.DEFINE_string("catalogue", None, "Table: .csv, .tsv, .parquet or .jsonl.", required=True)
flags.DEFINE_string("schema", None, "Schema file (YAML).", required=True)
flags.DEFINE_string("output", None, "Label source: a new .parquet or .csv file.", required=True)
flags.DEFINE_list("columns", [], "Text columns; default: the schema's.")
flags.DEFINE_string("report", None, "A new CSV file: counts and precision of each value.")


def main() -> None:
    schema = Schema.read(F.schema)
    precision = text.mine_text(F.catalogue, schema, F.output, F.columns, F.report)
    print(precision.summary())
    print(f"label source: {F.output}")
