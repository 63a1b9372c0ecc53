r"""Measure the benefit of a review round: corrupt labels, correct some, continue training.

Example:
  attr-extractor simulate-review --catalogue=shop/catalogue.csv --schema=shop/schema.yaml \
      --records=shop/records --config=pretrained --output_dir=shop/review_simulation
"""

from absl import flags

from attr_extractor.config import Config
from attr_extractor.enrichment.review import simulate
from attr_extractor.records import runner
from attr_extractor.schema import Schema

F = flags.FLAGS
flags.DEFINE_string("catalogue", None, "Table of the catalogue.", required=True)
flags.DEFINE_string("schema", None, "Schema file (YAML).", required=True)
flags.DEFINE_string("records", None, "Records of the table; they are copied.", required=True)
flags.DEFINE_string("config", None, "Config file (YAML).", required=True)
flags.DEFINE_multi_string("set", [], "section.key=value, overrides the config; repeatable.")
flags.DEFINE_string("output_dir", None, "A new folder for tables, records and runs.", required=True)
flags.DEFINE_float("spoiled", 0.2, "Fraction of training labels to corrupt.")
flags.DEFINE_integer("looks", 300, "Cells that the reviewer checks.", lower_bound=1)
flags.DEFINE_integer("epochs", 3, "Epochs of the continued training.", lower_bound=1)
flags.DEFINE_string("image_root", None, "Root of image paths; default: the table's folder.")
flags.DEFINE_list("box_columns", [], "Product box columns, if the records were built with them.")
flags.DEFINE_integer("seed", 0, "Seed of the corruption and the random selection.", lower_bound=0)


def main() -> None:
    options = simulate.SimulateOptions(
        F.spoiled, F.looks, F.epochs, F.seed, F.image_root, F.box_columns
    )
    config = Config.read(F.config, F.set)
    with runner.Local(2) as workers:
        paths = (F.catalogue, Schema.read(F.schema), F.records, config, F.output_dir)
        print(simulate.as_text(simulate.simulate(*paths, workers, options)))
