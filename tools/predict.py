"""Fills the empty cells of a table with an exported model; seller's cells are never changed.

Example:
  python tools/predict.py --model=shop/models/shop --catalogue=shop/new.csv --output=filled.csv
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.enrichment import fill

F = flags.FLAGS
flags.DEFINE_string("model", None, "A version folder, or a folder of versions.", required=True)
flags.DEFINE_string("catalogue", None, "The table to fill.", required=True)
flags.DEFINE_string("output", None, "The filled table, a new CSV file.", required=True)
flags.DEFINE_string("image_root", None, "Where image paths start; default: the table's folder.")
flags.DEFINE_enum("answer", "threshold", ["threshold", "best"], "best: always the best value.")
flags.DEFINE_list("box_columns", [], "Product box, if the records were built with one.")


def main() -> None:
    summary = fill.fill(F.model, F.catalogue, F.output, F.image_root, F.answer, F.box_columns)
    cells = ", ".join(f"{count:,} {source}" for source, count in summary.cells.most_common())
    print(f"{summary.rows:,} rows, {summary.rows_with_error:,} with a photo that failed")
    print(f"cells by source: {cells}")
    print(f"filled table: {F.output}")


if __name__ == "__main__":
    errors.run_program(main)
