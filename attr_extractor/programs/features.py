r"""Compute the features of a frozen trunk before the training, on several processes or hosts.

`train` with the same config finds them and starts at once; without this program it computes them
itself, in one process. Rerun the command to resume.
Example:
  attr-extractor features --config=frozen --records=s3://shop/records --runner=beam \
      --beam=--runner=PortableRunner --beam=--job_endpoint=localhost:8099
"""

from absl import flags

from attr_extractor.config import Config
from attr_extractor.records import runner
from attr_extractor.training import feature_tasks

F = flags.FLAGS
flags.DEFINE_string("config", None, "Experiment: a YAML file or a name.", required=True)
flags.DEFINE_string("records", None, "Records of attr-extractor build.", required=True)
flags.DEFINE_multi_string("set", [], "Overrides the config: section.key=value; repeatable.")
flags.DEFINE_enum("runner", "local", ["local", "beam"], "Local processes or Apache Beam.")
flags.DEFINE_integer("num_workers", 2, "Processes of the local runner.", lower_bound=1)
flags.DEFINE_multi_string("beam", [], "A Beam flag, e.g. --beam=--runner=FlinkRunner; repeatable.")


def main() -> None:
    config = Config.read(F.config, F.set)
    with runner.Beam(F.beam) if F.runner == "beam" else runner.Local(F.num_workers) as workers:
        planned = feature_tasks.compute(config, F.records, workers)
    print(f"features: {planned.folder}")
