r"""Builds an index for search by photo: one embedding per photo of a table.

Example:
  python tools/build_index.py --model=shop/models/shop --catalogue=shop/catalogue.csv \
      --output_dir=shop/index
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.search import build

F = flags.FLAGS
flags.DEFINE_string("model", None, "A version folder, or a folder of versions.", required=True)
flags.DEFINE_string("catalogue", None, "The table: .csv, .tsv, .parquet or .jsonl.", required=True)
flags.DEFINE_string("output_dir", None, "A new folder for the index.", required=True)
flags.DEFINE_string("image_root", None, "Where image paths start; default: the table's folder.")
flags.DEFINE_list("box_columns", [], "Product box, if the records were built with one.")


def main() -> None:
    facts = build.build(F.model, F.catalogue, F.output_dir, F.image_root, F.box_columns)
    print(f"{facts.rows:,} rows, {facts.photos:,} photos in the index ({facts.kind})")
    print(f"{facts.rejects:,} could not be read: rejects.csv\nindex: {F.output_dir}")


if __name__ == "__main__":
    errors.run_program(main)
