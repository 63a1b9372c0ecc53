r"""Write the seller's table with the decisions made in attr-extractor review.

attr-extractor build --relabel reads the result.

Example:
  attr-extractor export-decisions --decisions=decisions.sqlite --catalogue=table.csv \
      --schema=schema.yaml --output=corrected.csv
"""

from absl import flags

from attr_extractor.enrichment.review import export_decisions
from attr_extractor.schema import Schema

F = flags.FLAGS
flags.DEFINE_string("decisions", None, "SQLite file of attr-extractor review.", required=True)
flags.DEFINE_string("catalogue", None, "Table given to attr-extractor predict.", required=True)
flags.DEFINE_string("schema", None, "Schema file (YAML).", required=True)
flags.DEFINE_string("output", None, "Corrected table: a new CSV file.", required=True)
flags.DEFINE_string("log", None, "Decisions, reviewer and time: a new CSV file. Default: none.")


def main() -> None:
    schema = Schema.read(F.schema)
    done = export_decisions.export(F.decisions, F.catalogue, schema, F.output, F.log)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in done.decisions.most_common())
    print(f"{done.rows:,} rows, {sum(done.decisions.values()):,} decisions ({kinds or 'none'})")
    cells = ", ".join(f"{count:,} of {name}" for name, count in done.changed.most_common())
    print(f"{sum(done.changed.values()):,} cells changed{f': {cells}' if cells else ''}")
    print(f"corrected table: {F.output}")
