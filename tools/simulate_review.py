r"""Measures what a round of review is worth: spoils labels, puts some right, trains on.

Example:
  python tools/simulate_review.py --catalogue=shop/catalogue.csv --schema=shop/schema.yaml \
      --records=shop/records --config=configs/pretrained.yaml --output_dir=shop/review_simulation
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.config import Config
from attr_extractor.records import runner
from attr_extractor.review import simulate
from attr_extractor.schema import Schema

F = flags.FLAGS
flags.DEFINE_string("catalogue", None, "The table.", required=True)
flags.DEFINE_string("schema", None, "The schema: YAML.", required=True)
flags.DEFINE_string("records", None, "Its records; they are copied.", required=True)
flags.DEFINE_string("config", None, "The experiment: YAML.", required=True)
flags.DEFINE_multi_string("set", [], "section.key=value, instead of the file's; repeatable.")
flags.DEFINE_string("output_dir", None, "A new folder for tables, records, runs.", required=True)
flags.DEFINE_float("spoiled", 0.2, "Share of training labels that get another value.")
flags.DEFINE_integer("looks", 300, "Cells that a reviewer looks at.", lower_bound=1)
flags.DEFINE_integer("epochs", 3, "Of the training that goes on.", lower_bound=1)
flags.DEFINE_string("image_root", None, "Where image paths start; default: beside the table.")
flags.DEFINE_list("box_columns", [], "As the records were built with.")
flags.DEFINE_integer("seed", 0, "Of what is spoiled and of the random choice.", lower_bound=0)


def main() -> None:
    options = simulate.Options(F.spoiled, F.looks, F.epochs, F.seed, F.image_root, F.box_columns)
    config = Config.read(F.config, F.set)
    with runner.Local(2) as workers:
        paths = (F.catalogue, Schema.read(F.schema), F.records, config, F.output_dir)
        print(simulate.as_text(simulate.simulate(*paths, workers, options)))


if __name__ == "__main__":
    errors.run_program(main)
