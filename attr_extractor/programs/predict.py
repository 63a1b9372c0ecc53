"""Fill the empty cells of a table with an exported model; sellers' cells are never changed.

Rerun the command to resume an interrupted run.
Example:
  attr-extractor predict --model=shop/models/shop --catalogue=shop/new.csv --output=filled.csv
"""

from absl import flags

from attr_extractor.enrichment.fill import predict
from attr_extractor.records import runner

F = flags.FLAGS
flags.DEFINE_string("model", None, "Exported model: a version folder or its parent.", required=True)
flags.DEFINE_string("catalogue", None, "Table: .csv, .tsv, .parquet or .jsonl.", required=True)
flags.DEFINE_string("output", None, "Filled table: a new CSV file.", required=True)
flags.DEFINE_string("image_root", None, "Root of image paths; default: the table's folder.")
flags.DEFINE_enum("answer", "threshold", ["threshold", "best"], "best: ignore thresholds.")
flags.DEFINE_list("box_columns", [], "Product box columns, if the records were built with them.")
flags.DEFINE_list("use", [], "photo, known (other cells), text; default: all that there is.")
flags.DEFINE_string("cells", None, "A new Parquet file: values of seller and model per cell.")
flags.DEFINE_string("seller_column", "", "For --cells: column of the row's seller.")
flags.DEFINE_float("sure", 0.9, "For --cells: minimum score to contradict a seller.")
flags.DEFINE_string("server", "", "grpc://HOST:PORT/NAME of a server that runs --model.")
flags.DEFINE_bool("escape_formulas", False, "Prefix =, +, -, @ with an apostrophe (spreadsheets).")
flags.DEFINE_enum("runner", "local", ["local", "beam"], "This process or Apache Beam.")
flags.DEFINE_multi_string("beam", [], "A Beam flag, e.g. --beam=--runner=FlinkRunner; repeatable.")


def main() -> None:
    options = predict.PredictOptions(
        answer=F.answer,
        box_columns=tuple(F.box_columns),
        seller_column=F.seller_column,
        sure=F.sure,
        use=tuple(F.use),
        server=F.server,
        escape_formulas=F.escape_formulas,
    )
    beam = runner.Beam(F.beam) if F.runner == "beam" else None
    paths = (F.model, F.catalogue, F.output, F.image_root)
    summary = predict.predict(*paths, options, F.cells, beam)
    cells = ", ".join(f"{count:,} {source}" for source, count in summary.cells.most_common())
    print(f"{summary.rows:,} rows, {summary.rows_with_error:,} with an unreadable photo")
    print(f"cells by source: {cells}\nfilled table: {F.output}")
