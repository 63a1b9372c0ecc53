"""Draws a demo catalogue: synthetic product photos and a half-filled attribute table.

Example:
  python tools/make_demo_catalogue.py --output_dir=demo/catalogue --num_products=3000
"""

import shutil
from pathlib import Path

from absl import flags

from attr_extractor import errors
from attr_extractor.catalogue.demo.catalogue import write_demo_catalogue
from attr_extractor.schema import Schema

_SCHEMA = Path(__file__).resolve().parents[1] / "configs" / "schemas" / "demo.yaml"

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "new folder for the catalogue", required=True)
_NUM_PRODUCTS = flags.DEFINE_integer("num_products", 3000, "how many products to draw")
_SEED = flags.DEFINE_integer("seed", 0, "same seed, same files")
_SCHEMA_PATH = flags.DEFINE_string("schema", str(_SCHEMA), "attributes and values to draw")


def main() -> None:
    schema = Schema.read(_SCHEMA_PATH.value)
    output_dir = Path(_OUTPUT_DIR.value)
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise errors.InputError(f"{output_dir}: output_dir is not empty; name a new folder")
    write_demo_catalogue(output_dir, _NUM_PRODUCTS.value, _SEED.value, schema=schema)
    shutil.copyfile(_SCHEMA_PATH.value, output_dir / "schema.yaml")
    print(f"{_NUM_PRODUCTS.value} products: {output_dir / 'catalogue.csv'}")


if __name__ == "__main__":
    errors.run_program(main)
