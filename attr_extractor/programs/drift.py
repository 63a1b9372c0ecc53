r"""Test a delivery for drift from a model's training data: labels, photos, scores, embeddings.

Exit code 1, with a line for each drift, if drift is found.

Example:
  attr-extractor drift --catalogue=delivery/table.csv --records=shop/records \
      --model=shop/models/shop --output_dir=shop/drift
"""

import sys

from absl import flags

from attr_extractor.enrichment.drift import drift
from attr_extractor.enrichment.drift.drift import ASPECTS, DriftOptions

F = flags.FLAGS
flags.DEFINE_string("catalogue", None, "Table of the delivery.", required=True)
flags.DEFINE_string("records", None, "Records folder of attr-extractor build.", required=True)
flags.DEFINE_string("output_dir", None, "A new output folder.", required=True)
flags.DEFINE_string("model", None, "Exported model, to test scores and embeddings.")
flags.DEFINE_string("image_root", None, "Root of image paths; default: the table's folder.")
flags.DEFINE_string("schema", None, "Schema file (YAML), if columns or spellings differ.")
flags.DEFINE_list("box_columns", None, "Product box columns; default: those of the records.")
flags.DEFINE_list("parts", [], f"What to compare: {', '.join(ASPECTS)}; default: all available.")
DEFAULTS = DriftOptions()
flags.DEFINE_string("split", DEFAULTS.split, "Split of the records to compare photos with.")
flags.DEFINE_integer("sample", DEFAULTS.sample, "Number of products per side, with one photo each.")
flags.DEFINE_integer("seed", DEFAULTS.seed, "Seed of the sample and of the permutations.")
flags.DEFINE_float("psi", DEFAULTS.psi, "Drift threshold of the PSI beyond chance.")
flags.DEFINE_float("share", DEFAULTS.share, "Drift threshold of the increase of an unwanted share.")
flags.DEFINE_float("auc", DEFAULTS.auc, "Drift threshold of the embeddings' AUC; 0.5 is chance.")
flags.DEFINE_float("alpha", DEFAULTS.alpha, "Probability of a false alarm, over all comparisons.")


def main() -> None:
    options = DriftOptions(
        tuple(aspect for aspect in F.parts if aspect),
        *(F.split, F.sample, F.seed, F.psi, F.share, F.auc, F.alpha),
    )
    paths = (F.catalogue, F.records, F.output_dir, F.image_root, F.model, F.schema)
    report = drift.drift(*paths, F.box_columns, options)
    print("\n".join(report.lines()))
    print(f"report: {F.output_dir}/{drift.PAGE}; figures: {F.output_dir}/{drift.FIGURES}")
    sys.exit(report.drifted)
