r"""Measures a part of the pipeline by itself; so far the training step on made-up pixels.

Example:
  python tools/bench.py --what=step --config=configs/fake_data.yaml \
      --schema=configs/schemas/flipkart49.yaml
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.config import Config
from attr_extractor.schema import Schema
from attr_extractor.training import measure

F = flags.FLAGS
flags.DEFINE_enum("what", None, ["step"], "What to measure.", required=True)
flags.DEFINE_string("config", None, "The experiment: YAML.", required=True)
flags.DEFINE_string("schema", None, "The schema: YAML.", required=True)
flags.DEFINE_integer("steps", 20, "Steps to take the median of.", lower_bound=1)
flags.DEFINE_multi_string("set", [], "section.key=value, instead of the file's; repeatable.")


def main() -> None:
    config, schema = Config.read(F.config, F.set), Schema.read(F.schema)
    print(f"{schema.name}: {len(schema.attributes)} attributes, {schema.num_values} values")
    for name, value in measure.measure_step(config, schema, F.steps).items():
        print(f"{name:20} {value}")


if __name__ == "__main__":
    errors.run_program(main)
