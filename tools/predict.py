"""Fills the empty cells of a table with an exported model; seller's cells are never changed.

The same command goes on where a killed one stopped.
Example:
  python tools/predict.py --model=shop/models/shop --catalogue=shop/new.csv --output=filled.csv
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.enrichment import predict
from attr_extractor.records import runner

F = flags.FLAGS
flags.DEFINE_string("model", None, "A version folder, or a folder of versions.", required=True)
flags.DEFINE_string("catalogue", None, "The table: .csv, .tsv, .parquet or .jsonl.", required=True)
flags.DEFINE_string("output", None, "The filled table, a new CSV file.", required=True)
flags.DEFINE_string("image_root", None, "Where image paths start; default: the table's folder.")
flags.DEFINE_enum("answer", "threshold", ["threshold", "best"], "best: always the best value.")
flags.DEFINE_list("box_columns", [], "Product box, if the records were built with one.")
flags.DEFINE_string("cells", None, "A new Parquet file: what seller and model say of each cell.")
flags.DEFINE_string("seller_column", "", "For --cells: who wrote the row.")
flags.DEFINE_float("sure", 0.9, "For --cells: the score that contradicts a seller.")
flags.DEFINE_string("server", "", "grpc://HOST:PORT/MODEL of a running server; --model says what.")
flags.DEFINE_bool("escape_formulas", False, "An apostrophe before =, +, -, @: for spreadsheets.")
flags.DEFINE_enum("runner", "local", ["local", "beam"], "This process, or Apache Beam.")
flags.DEFINE_multi_string("beam", [], "A flag for Beam, such as --beam=--runner=FlinkRunner.")


def main() -> None:
    given = (F.answer, tuple(F.box_columns), F.seller_column, F.sure, F.server)
    options = predict.Options(*given, F.escape_formulas)
    beam = runner.Beam(F.beam) if F.runner == "beam" else None
    paths = (F.model, F.catalogue, F.output, F.image_root)
    summary = predict.predict(*paths, options, F.cells, beam)
    cells = ", ".join(f"{count:,} {source}" for source, count in summary.cells.most_common())
    print(f"{summary.rows:,} rows, {summary.rows_with_error:,} with a photo that failed")
    print(f"cells by source: {cells}\nfilled table: {F.output}")


if __name__ == "__main__":
    errors.run_program(main)
