r"""Measures a part of the work by itself, beside what others do where that can be had here.

Example:
  python tools/bench.py --what=step --config=configs/fake_data.yaml --count=10
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.config import Config
from attr_extractor.records import measure_build, measure_input
from attr_extractor.schema import Schema
from attr_extractor.training import measure

F = flags.FLAGS
COUNTS = {"records": 8000, "table": 1_000_000, "input": 200, "step": 20}  # photos, rows, batches
flags.DEFINE_enum("what", None, list(COUNTS), "What to measure.", required=True)
flags.DEFINE_integer("count", None, f"How much, by default {COUNTS}.", lower_bound=1)
flags.DEFINE_string("config", "configs/efficientnetb0_112.yaml", "The experiment: YAML.")
flags.DEFINE_multi_string("set", [], "section.key=value, instead of the file's; repeatable.")
flags.DEFINE_string("schema", "configs/schemas/flipkart49.yaml", "For table and step: YAML.")
flags.DEFINE_string("records", "demo_output/records", "For input: a folder of records.")


def main() -> None:
    config, schema = Config.read(F.config, F.set), Schema.read(F.schema)
    count = F.count or COUNTS[F.what]
    if F.what == "input":
        print(measure_input.table(measure_input.measure(F.records, config.data, count)))
        return
    found: dict = {
        "records": lambda: measure_build.measure_photos(count),
        "table": lambda: measure_build.measure_table(schema, count),
        "step": lambda: measure.measure_step(config, schema, count),
    }[F.what]()
    print("\n".join(f"{name:42} {round(value, 4):,}" for name, value in found.items()))


if __name__ == "__main__":
    errors.run_program(main)
