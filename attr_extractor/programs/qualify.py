r"""Report on the quality of a catalogue, from the cells file of attr-extractor predict --cells.

Example:
  attr-extractor qualify --cells=cells.parquet --model=shop/models/shop --run_dir=shop/run \
      --output_dir=shop/quality
"""

from absl import flags

from attr_extractor.enrichment.quality import qualify

F = flags.FLAGS
flags.DEFINE_string("cells", None, "Cells file of attr-extractor predict --cells.", required=True)
flags.DEFINE_string("schema", None, "Schema file (YAML).")
flags.DEFINE_string("model", None, "Exported model, instead of --schema.")
flags.DEFINE_string("run_dir", None, "Run measured on validation, for the costs of thresholds.")
flags.DEFINE_string("output_dir", None, "A new output folder.", required=True)
flags.DEFINE_integer("most", 100_000, "Maximum rows of contradictions.csv.", lower_bound=1)
flags.DEFINE_bool("escape_formulas", False, "Prefix =, +, -, @ with an apostrophe (spreadsheets).")


def main() -> None:
    report = qualify.qualify(
        F.cells, F.output_dir, F.schema, F.model, F.run_dir, F.most, F.escape_formulas
    )
    print(report.summary())
    print(f"report: {F.output_dir}/{qualify.REPORT}, with {qualify.FIGURES} and {qualify.LIST}")
