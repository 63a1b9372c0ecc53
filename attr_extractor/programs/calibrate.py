"""Choose temperatures and thresholds of a trained run on its validation split.

Example:
  attr-extractor calibrate --run_dir=shop/run --goal=f1,neck_type=precision:0.95
"""

from absl import flags

from attr_extractor.evaluation import calibrate

F = flags.FLAGS
flags.DEFINE_string("run_dir", None, "Run directory of attr-extractor train.", required=True)
flags.DEFINE_list(
    "goal", "f1", "f1, equation_2 or precision:0.95; attribute=goal for a single one."
)
flags.DEFINE_enum("per", "attribute", ["attribute", "value"], "Granularity of the thresholds.")


def main() -> None:
    section = calibrate.calibrate(F.run_dir, F.goal, F.per == "value")
    print(calibrate.table(section))
    print(f"thresholds: {F.run_dir}/thresholds.json; metrics: {F.run_dir}/metrics.json")
