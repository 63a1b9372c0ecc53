r"""Measures a part of the work by itself, beside what others do where that can be had here.

Example:
  python tools/bench.py --what=step --config=configs/fake_data.yaml --count=10
"""

from absl import flags

from attr_extractor import config, errors, schema
from attr_extractor.evaluation import measure_audit
from attr_extractor.model import measure_augmentation
from attr_extractor.records import measure_build, measure_input
from attr_extractor.training import measure, measure_growth, measure_step

F = flags.FLAGS
COUNTS = {"records": 8000, "table": 10**6, "input": 200, "step": 21, "augment": 20, "growth": 5}
flags.DEFINE_enum("what", None, [*COUNTS, "audit"], "What to measure.", required=True)
flags.DEFINE_integer("count", None, f"Photos, rows, batches or steps: {COUNTS}.", lower_bound=1)
flags.DEFINE_string("config", "configs/modern.yaml", "The experiment: YAML.")
flags.DEFINE_multi_string("set", [], "section.key=value, instead of the file's; repeatable.")
flags.DEFINE_string("schema", "configs/schemas/flipkart49.yaml", "For table and step: YAML.")
flags.DEFINE_string("records", "", "For input, audit; step adds the loop, augment its photos.")


def main() -> None:
    run, n = config.Config.read(F.config, F.set), F.count or COUNTS.get(F.what, 0)
    report = {
        "records": lambda: measure_build.measure_photos(n),
        "table": lambda: measure_build.measure_table(schema.Schema.read(F.schema), n),
        "input": lambda: measure_input.table(measure_input.measure(F.records or ".", run.data, n)),
        "step": lambda: measure_step.report(run, schema.Schema.read(F.schema), n, F.records),
        "augment": lambda: measure_augmentation.measure(run, n, F.records),
        "growth": lambda: measure_growth.table(measure_growth.measure(run, n)),
        "audit": lambda: measure_audit.measure(run, F.records or "."),
    }[F.what]()
    print(measure.as_text(report))


if __name__ == "__main__":
    errors.run_program(main)
