r"""Benchmark one component, compared with alternatives where they are installed.
Example: python tools/bench.py --what=step --config=configs/fake_data.yaml --count=10"""

import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is not installed

from attr_extractor import errors, storage
from attr_extractor.config import Config

with errors.from_checkout():
    from benchmarks.benches import BENCHES, On
    from benchmarks.timing import as_text

F = flags.FLAGS
flags.DEFINE_enum("what", None, list(BENCHES), "What to measure.", required=True)
flags.DEFINE_integer("count", None, str({k: v[0] for k, v in BENCHES.items()}), lower_bound=1)
flags.DEFINE_string("config", "configs/pretrained.yaml", "Config file (YAML).")
flags.DEFINE_multi_string("set", [], "section.key=value, overrides the config; repeatable.")
flags.DEFINE_string("schema", "configs/schemas/flipkart49.yaml", "Schema (YAML) of several.")
flags.DEFINE_string("records", "", "For input, predict, audit, bucket; optional for some.")
flags.DEFINE_string("run_dir", "", "For grad_cam: a run of a demo catalogue. For export: optional.")
flags.DEFINE_float("budget_minutes", 15.0, "For accelerator: it then ends.", lower_bound=0.1)
flags.DEFINE_string("output", "", "For accelerator: a new JSON file.")
flags.DEFINE_string("model", "", "For serve, skew, context: an exported model.")
flags.DEFINE_string("photos", "", "For serve, skew: a folder of photos.")


def main() -> None:
    count, bench = BENCHES[F.what]
    if F.output:
        storage.require_new_file(F.output, "--output")
    config = Config.read(F.config, F.set)
    on = On(config, F.schema, F.records, F.run_dir, F.budget_minutes, F.output, F.model, F.photos)
    print(as_text(bench(on, F.count or count)))


if __name__ == "__main__":
    errors.run_program(main)
