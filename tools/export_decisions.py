r"""Writes the seller's table with what was decided on the page of review.py.

build_tfrecords.py --relabel takes it.

Example:
  python tools/export_decisions.py --decisions=decisions.sqlite --catalogue=table.csv \
      --schema=schema.yaml --output=corrected.csv
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.review import export_decisions
from attr_extractor.schema import Schema

F = flags.FLAGS
flags.DEFINE_string("decisions", None, "The SQLite file of review.py.", required=True)
flags.DEFINE_string("catalogue", None, "The table that was predicted.", required=True)
flags.DEFINE_string("schema", None, "The schema: YAML.", required=True)
flags.DEFINE_string("output", None, "The corrected table, a new CSV file.", required=True)
flags.DEFINE_string("log", None, "A new CSV file: who decided what, and when. Default: none.")


def main() -> None:
    schema = Schema.read(F.schema)
    done = export_decisions.export(F.decisions, F.catalogue, schema, F.output, F.log)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in done.decisions.most_common())
    print(f"{done.rows:,} rows, {sum(done.decisions.values()):,} decisions ({kinds or 'none'})")
    cells = ", ".join(f"{count:,} of {name}" for name, count in done.changed.most_common())
    print(f"{sum(done.changed.values()):,} cells changed{f': {cells}' if cells else ''}")
    print(f"corrected table: {F.output}")


if __name__ == "__main__":
    errors.run_program(main)
