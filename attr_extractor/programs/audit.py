"""List cells that are probably wrong in the catalogue and empty cells that the model could fill.

Example:
  attr-extractor audit --run_dir=shop/run --output=audit.csv
"""

from absl import flags

from attr_extractor.evaluation.audit import audit

F = flags.FLAGS
flags.DEFINE_string("run_dir", None, "Run directory of attr-extractor train.", required=True)
flags.DEFINE_string("output", None, "Output: a new CSV file.", required=True)
flags.DEFINE_string("records", None, "Other records of the same schema; default: the run's.")
flags.DEFINE_integer("folds", 5, "Folds of products; each is judged by heads trained on the rest.")
flags.DEFINE_integer("most", 100_000, "Maximum rows of each kind.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of the folds.", lower_bound=0)
flags.DEFINE_string(
    "answers",
    None,
    "Also write this label source, CSV or Parquet: what the heads answer out of fold.",
)
flags.DEFINE_bool("escape_formulas", False, "Prefix =, +, -, @ with an apostrophe (spreadsheets).")


def main() -> None:
    found = audit.audit(
        F.run_dir, F.output, F.records, F.folds, F.most, F.seed, F.escape_formulas, F.answers
    )
    for name in found.skipped:
        print(f"{name}: skipped, fewer than two of its values are known")
    counts = ", ".join(f"{count:,} {kind}" for kind, count in found.found.items())
    print(f"{found.products:,} products, {found.cells:,} filled cells judged: {counts}")
    print(f"{found.listed:,} rows, worst first: {F.output}")
