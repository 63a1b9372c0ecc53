r"""Turns a seller's table and photos into validated, sharded TFRecords.

Example:
  python tools/build_tfrecords.py --catalogue=shop/catalogue.csv --schema=shop/schema.yaml \
      --output_dir=shop/records --image_size=256
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.catalogue import splits
from attr_extractor.records import builder, plan
from attr_extractor.schema import Schema

F = flags.FLAGS
flags.DEFINE_string("catalogue", None, "The table: CSV or TSV.", required=True)
flags.DEFINE_string("schema", None, "The schema: YAML.", required=True)
flags.DEFINE_string("output_dir", None, "A new folder for the records.", required=True)
flags.DEFINE_string("image_root", None, "Where image paths start; default: the table's folder.")
flags.DEFINE_integer("image_size", 256, "Short side of the stored photos, pixels.")
flags.DEFINE_integer("shards", 0, "Shards of the training split; 0: about 1,024 photos each.")
flags.DEFINE_integer("num_workers", 2, "Processes.", lower_bound=1)
flags.DEFINE_string("split_fractions", "0.8,0.1,0.1", "Shares of train, validation, test.")
flags.DEFINE_integer("split_seed", 0, "Seed of the split, the cap and the order.")
flags.DEFINE_string("group_column", None, "Products of one group share the split.")
flags.DEFINE_string("split_column", None, "Column with train, validation or test.")
flags.DEFINE_integer("cap_per_category", 0, "At most so many training products; 0: no cap.")


def main() -> None:
    values: dict = {name: F[name].value for name in plan.Options.__annotations__}  # a flag each
    values["split_fractions"] = splits.parse_fractions(F.split_fractions)
    options, schema = plan.Options(**values), Schema.read(F.schema)
    built = builder.build(F.catalogue, schema, F.output_dir, F.image_root, options, F.num_workers)
    print(built.summary(F.output_dir))


if __name__ == "__main__":
    errors.run_program(main)
