"""Scores of a trained run, per attribute, beside always answering the most frequent value.

Example:
  python tools/evaluate.py --run_dir=shop/run --split=test
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.evaluation import evaluate

F = flags.FLAGS
flags.DEFINE_string("run_dir", None, "The folder of train.py.", required=True)
flags.DEFINE_string("split", "test", "train, validation or test.")
flags.DEFINE_string("records", None, "Other records of the same schema; default: the run's own.")


def main() -> None:
    measured = evaluate.evaluate(F.run_dir, F.split, F.records)
    print(evaluate.table(measured))
    print(f"report: {F.run_dir}/report.html; figures: {F.run_dir}/metrics.json")


if __name__ == "__main__":
    errors.run_program(main)
