"""Score a trained run per attribute, with the most frequent value as the baseline.

Exit code 1, with a line for each failure, if a requirement of `--require` is not met.

Example:
  attr-extractor evaluate --run_dir=shop/run --compare=shop/last_month \
    --require='mean_average_accuracy>=0.7,attribute.neck_type>=0.6,regression<=0.01'
"""

import sys

from absl import flags

from attr_extractor.evaluation import evaluate, score_table

F = flags.FLAGS
flags.DEFINE_string("run_dir", None, "Run directory of attr-extractor train.", required=True)
flags.DEFINE_string("split", "test", "train, validation or test.")
flags.DEFINE_string("records", None, "Other records of the same schema; default: the run's.")
flags.DEFINE_string("compare", None, "Another run, to compare on the same photos.")
flags.DEFINE_list("use", ["photo"], "What the model reads: photo, known (other cells), text.")
flags.DEFINE_string("require", "", "NAME>=NUMBER or NAME<=NUMBER, separated by commas.")


def main() -> None:
    measured = evaluate.evaluate(F.run_dir, F.split, F.records, F.compare, F.require, F.use)
    print(score_table.format_scores(measured))
    if F.compare:
        print(score_table.format_comparison(measured))
    print(f"report: {F.run_dir}/{measured['report']}; metrics: {F.run_dir}/metrics.json")
    for line in measured.get("failed_requirements", []):
        print(f"failed: {line}", file=sys.stderr)
    sys.exit(bool(measured.get("failed_requirements")))
