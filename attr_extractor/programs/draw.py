"""Draw a demo catalogue: synthetic product photos and a partly filled attribute table.

Example:
  attr-extractor draw --output_dir=demo/catalogue --num_products=3000
"""

import shutil

from absl import flags

from attr_extractor import storage, working_copy, yaml_files
from attr_extractor.demo.catalogue import write_demo_catalogue
from attr_extractor.schema import Schema

F = flags.FLAGS
flags.DEFINE_string("output_dir", None, "A new folder for the catalogue.", required=True)
flags.DEFINE_integer("num_products", 3000, "Number of products to draw.")
flags.DEFINE_integer("seed", 0, "The same seed gives the same files.", lower_bound=0)
flags.DEFINE_string("schema", "demo", "Schema file with the attributes and values to draw.")


def main() -> None:
    schema = Schema.read(F.schema)
    with working_copy.new(F.output_dir, "the output folder") as output_dir:
        write_demo_catalogue(output_dir, F.num_products, F.seed, schema=schema)
        schema_file = yaml_files.find(F.schema, yaml_files.CONFIGS / "schemas", "the schema")
        with storage.writable(output_dir / "schema.yaml"):
            shutil.copyfile(schema_file, output_dir / "schema.yaml")
    print(f"{F.num_products} products: {output_dir / 'catalogue.csv'}")
