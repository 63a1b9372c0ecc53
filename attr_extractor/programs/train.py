r"""Train one network for all attributes. Rerun the command to resume an interrupted run.

Example:
  attr-extractor train --config=demo --records=shop/records --run_dir=shop/run \
      --set train.epochs=20 --set train.learning_rate=5e-4
"""

from absl import flags

from attr_extractor import storage
from attr_extractor.config import Config
from attr_extractor.training import fit

F = flags.FLAGS
flags.DEFINE_string("config", None, "Config file (YAML).", required=True)
flags.DEFINE_string("records", None, "Records folder of attr-extractor build.", required=True)
flags.DEFINE_string("run_dir", None, "Run directory: new, or of an interrupted run.", required=True)
flags.DEFINE_multi_string("set", [], "section.key=value, overrides the config; repeatable.")


def main() -> None:
    fit.train(Config.read(F.config, F.set), F.records, F.run_dir)
    weights = storage.join(F.run_dir, "weights.npz")
    print(f"trained: {weights}; next: attr-extractor evaluate --run_dir={F.run_dir}")
