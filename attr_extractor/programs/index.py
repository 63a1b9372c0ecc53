r"""Build an index for search by photo: one embedding per photo of a table.

Example:
  attr-extractor index --model=shop/models/shop --catalogue=shop/catalogue.csv \
      --output_dir=shop/index
"""

from absl import flags

from attr_extractor.enrichment.search import build

F = flags.FLAGS
flags.DEFINE_string("model", None, "Exported model: a version folder or its parent.", required=True)
flags.DEFINE_string("catalogue", None, "Table: .csv, .tsv, .parquet or .jsonl.", required=True)
flags.DEFINE_string("output_dir", None, "A new folder for the index.", required=True)
flags.DEFINE_string("image_root", None, "Root of image paths; default: the table's folder.")
flags.DEFINE_list("box_columns", [], "Product box columns, if the records were built with them.")


def main() -> None:
    facts = build.build(F.model, F.catalogue, F.output_dir, F.image_root, F.box_columns)
    print(f"{facts.rows:,} rows, {facts.photos:,} photos in the index ({facts.kind})")
    print(f"{facts.rejects:,} unreadable: rejects.csv\nindex: {F.output_dir}")
