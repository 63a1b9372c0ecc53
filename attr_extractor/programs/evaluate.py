r"""Score a trained run per attribute, with the most frequent value as the baseline.

Exit code 1, with a line for each failure, if a requirement of `--require` is not met.

With `--answers`, tables of answers are scored on the same photos instead, beside the run if one is
named: a vendor's, a language model's, a reviewer's.

Example:
  attr-extractor evaluate --run_dir=shop/run --compare=shop/last_month \
    --require='mean_average_accuracy>=0.7,attribute.neck_type>=0.6,regression<=0.01'
  attr-extractor evaluate --run_dir=shop/run --answers=vendor.csv --answers=vlm.parquet \
    --price=vendor=0.002
"""

import sys

from absl import flags

from attr_extractor import storage
from attr_extractor.errors import InputError
from attr_extractor.evaluation import compare_answers, evaluate, score_table

F = flags.FLAGS
flags.DEFINE_string("run_dir", None, "Run directory; required, but not with --answers --records.")
flags.DEFINE_string("split", "test", "train, validation or test.")
flags.DEFINE_string("records", None, "Other records of the same schema; default: the run's.")
flags.DEFINE_string("compare", None, "Another run, to compare on the same photos.")
flags.DEFINE_list("use", ["photo"], "What the model reads: photo, known (other cells), text.")
flags.DEFINE_multi_string("answers", [], "Table of answers to score; repeatable.")
flags.DEFINE_multi_string("price", [], "TAGGER=PRICE of a cell answered by a table; repeatable.")
flags.DEFINE_string("output_dir", None, "Folder of a comparison without a run.")
flags.DEFINE_string("require", "", "NAME>=NUMBER or NAME<=NUMBER, separated by commas.")


def main() -> None:
    if F.answers:
        _compare_answers()
        return
    if F.run_dir is None:
        raise InputError("--run_dir is missing: the run directory of attr-extractor train")
    if F.price or F.output_dir:
        raise InputError("--price and --output_dir require --answers")
    measured = evaluate.evaluate(F.run_dir, F.split, F.records, F.compare, F.require, F.use)
    print(score_table.format_scores(measured))
    if F.compare:
        print(score_table.format_comparison(measured))
    print(f"report: {F.run_dir}/{measured['report']}; metrics: {F.run_dir}/metrics.json")
    for line in measured.get("failed_requirements", []):
        print(f"failed: {line}", file=sys.stderr)
    sys.exit(bool(measured.get("failed_requirements")))


def _compare_answers() -> None:
    if F.compare or F.require:
        raise InputError("--compare and --require cannot be combined with --answers")
    if F.run_dir and F.output_dir:
        raise InputError("--output_dir is for a comparison without a run; drop one of both")
    prices = compare_answers.prices_of(F.price)
    compared = compare_answers.compare(
        F.answers, F.split, F.run_dir, F.records, F.output_dir, prices, F.use
    )
    print(score_table.format_taggers(compared))
    folder = F.run_dir or F.output_dir
    page, figures = (storage.join(folder, compared[key]) for key in ("page", "figures"))
    print(f"comparison: {page}; figures: {figures}")
