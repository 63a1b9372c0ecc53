r"""Test a delivery for drift from a model's training data: labels, photos, scores, embeddings.

Exit code 1, with a line for each drift, if drift is found.

Example:
  python tools/drift.py --catalogue=delivery/table.csv --records=shop/records \
      --model=shop/models/shop --output_dir=shop/drift
"""

import sys

from absl import flags

from attr_extractor import errors
from attr_extractor.enrichment.drift import drift, options

F = flags.FLAGS
flags.DEFINE_string("catalogue", None, "Table of the delivery.", required=True)
flags.DEFINE_string("records", None, "Records folder of build_tfrecords.py.", required=True)
flags.DEFINE_string("output_dir", None, "A new output folder.", required=True)
flags.DEFINE_string("model", None, "Exported model, to test scores and embeddings.")
flags.DEFINE_string("image_root", None, "Root of image paths; default: the table's folder.")
flags.DEFINE_string("schema", None, "Schema file (YAML), if columns or spellings differ.")
flags.DEFINE_list("box_columns", None, "Product box columns; default: those of the records.")
DEFINE: dict = {int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}
for name, (default, text) in options.FLAGS.items():
    DEFINE[type(default)](name, default, text)


def main() -> None:
    chosen = options.from_flags({name: F[name].value for name in options.FLAGS})
    paths = (F.catalogue, F.records, F.output_dir, F.image_root, F.model, F.schema)
    found = drift.drift(*paths, F.box_columns, chosen)
    print("\n".join(drift.lines(found)))
    print(f"report: {F.output_dir}/{drift.PAGE}; figures: {F.output_dir}/{drift.FIGURES}")
    sys.exit(drift.drifted(found))


if __name__ == "__main__":
    errors.run_program(main)
