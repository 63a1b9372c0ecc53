r"""Measures a part of the work by itself, beside what others do where that can be had here.
Example: python tools/bench.py --what=step --config=configs/fake_data.yaml --count=10"""

from absl import flags

from attr_extractor import config, errors, schema
from attr_extractor.enrichment import measure_predict
from attr_extractor.evaluation import measure_audit, measure_grad_cam
from attr_extractor.model import measure_augmentation
from attr_extractor.records import measure_build, measure_input
from attr_extractor.serving import measure_export
from attr_extractor.training import measure, measure_growth, measure_step

F = flags.FLAGS
BENCHES = {  # --count by default, and what measures so many photos, rows, batches or steps
    "records": (8000, lambda c, n: measure_build.measure_photos(n)),
    "table": (10**6, lambda c, n: measure_build.measure_table(schema.Schema.read(F.schema), n)),
    "input": (200, lambda c, n: measure_input.table(measure_input.measure(F.records, c.data, n))),
    "step": (21, lambda c, n: measure_step.report(c, schema.Schema.read(F.schema), n, F.records)),
    "augment": (20, lambda c, n: measure_augmentation.measure(c, n, F.records)),
    "growth": (5, lambda c, n: measure_growth.table(measure_growth.measure(c, n))),
    "export": (8, lambda c, n: measure_export.report(c, schema.Schema.read(F.schema), n)),
    "predict": (2048, lambda c, n: measure_predict.measure(c, F.records, n)),
    "audit": (0, lambda c, n: measure_audit.measure(c, F.records)),
    "grad_cam": (200, lambda c, n: measure_grad_cam.report(F.run_dir, n)),
}
flags.DEFINE_enum("what", None, list(BENCHES), "What to measure.", required=True)
flags.DEFINE_integer("count", None, str({k: v[0] for k, v in BENCHES.items()}), lower_bound=1)
flags.DEFINE_string("config", "configs/modern.yaml", "The experiment: YAML.")
flags.DEFINE_multi_string("set", [], "section.key=value, instead of the file's; repeatable.")
flags.DEFINE_string("schema", "configs/schemas/flipkart49.yaml", "For table, step, export: YAML.")
flags.DEFINE_string(
    "records", "", "For input, predict, audit; step: the loop; augment: its photos."
)
flags.DEFINE_string("run_dir", "", "For grad_cam: a run of a demo catalogue.")


def main() -> None:
    count, bench = BENCHES[F.what]
    print(measure.as_text(bench(config.Config.read(F.config, F.set), F.count or count)))


if __name__ == "__main__":
    errors.run_program(main)
