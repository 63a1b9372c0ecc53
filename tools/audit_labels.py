"""Cells that the catalogue probably has wrong, and empty ones that the model could fill.

Example:
  python tools/audit_labels.py --run_dir=shop/run --output=audit.csv
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.evaluation import audit

F = flags.FLAGS
flags.DEFINE_string("run_dir", None, "The folder of train.py.", required=True)
flags.DEFINE_string("output", None, "The list, a new CSV file.", required=True)
flags.DEFINE_string("records", None, "Other records of the same schema; default: the run's own.")
flags.DEFINE_integer("folds", 5, "Parts of the products; each is judged by heads of the others.")
flags.DEFINE_integer("most", 100_000, "Rows of either kind that are listed.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Decides the folds.", lower_bound=0)
flags.DEFINE_bool("escape_formulas", False, "An apostrophe before =, +, -, @: for spreadsheets.")


def main() -> None:
    found = audit.audit(F.run_dir, F.output, F.records, F.folds, F.most, F.seed, F.escape_formulas)
    for name in found.skipped:
        print(f"{name}: skipped, fewer than two of its values are known")
    counts = ", ".join(f"{count:,} {kind}" for kind, count in found.found.items())
    print(f"{found.products:,} products, {found.cells:,} filled cells judged: {counts}")
    print(f"{found.listed:,} rows, worst first: {F.output}")


if __name__ == "__main__":
    errors.run_program(main)
