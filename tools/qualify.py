r"""A report on a catalogue's quality, from what predict.py wrote with --cells.

Example:
  python tools/qualify.py --cells=cells.parquet --model=shop/models/shop --run_dir=shop/run \
      --output_dir=shop/quality
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.enrichment import qualify

F = flags.FLAGS
flags.DEFINE_string("cells", None, "What predict.py wrote with --cells.", required=True)
flags.DEFINE_string("schema", None, "The schema: YAML.")
flags.DEFINE_string("model", None, "Instead: the exported model.")
flags.DEFINE_string("run_dir", None, "Its run, measured on validation: what thresholds cost.")
flags.DEFINE_string("output_dir", None, "A new folder.", required=True)
flags.DEFINE_integer("most", 100_000, "Rows of contradictions.csv.", lower_bound=1)
flags.DEFINE_bool("escape_formulas", False, "An apostrophe before =, +, -, @: for spreadsheets.")


def main() -> None:
    found = qualify.qualify(
        F.cells, F.output_dir, F.schema, F.model, F.run_dir, F.most, F.escape_formulas
    )
    print(qualify.summary(found))
    print(
        f"report: {F.output_dir}/{qualify.REPORT}; {qualify.FIGURES} and {qualify.LIST} beside it"
    )


if __name__ == "__main__":
    errors.run_program(main)
