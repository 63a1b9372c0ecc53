"""Draw a demo catalogue: synthetic product photos and a partly filled attribute table.

Example:
  python tools/make_demo_catalogue.py --output_dir=demo/catalogue --num_products=3000
"""

import shutil
from pathlib import Path

from absl import flags

from attr_extractor import errors, ownership, storage
from attr_extractor.demo.catalogue import write_demo_catalogue
from attr_extractor.schema import Schema

SCHEMA = Path(__file__).resolve().parents[1] / "configs" / "schemas" / "demo.yaml"

F = flags.FLAGS
flags.DEFINE_string("output_dir", None, "A new folder for the catalogue.", required=True)
flags.DEFINE_integer("num_products", 3000, "Number of products to draw.")
flags.DEFINE_integer("seed", 0, "The same seed gives the same files.", lower_bound=0)
flags.DEFINE_string("schema", str(SCHEMA), "Schema file with the attributes and values to draw.")


def main() -> None:
    schema = Schema.read(F.schema)
    with ownership.new_folder(F.output_dir, "the output folder") as output_dir:
        write_demo_catalogue(output_dir, F.num_products, F.seed, schema=schema)
        with storage.writable(output_dir / "schema.yaml"):
            shutil.copyfile(F.schema, output_dir / "schema.yaml")
    print(f"{F.num_products} products: {output_dir / 'catalogue.csv'}")


if __name__ == "__main__":
    errors.run_program(main)
