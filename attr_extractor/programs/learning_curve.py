"""Measure the benefit of more labels: retrain a run on nested subsets of its training products.

Training time is proportional to the subset. Rerun the command to resume.
attr-extractor evaluate then shows the curve in report.html.

Example:
  attr-extractor learning-curve --run_dir=shop/run --fractions=0.125,0.25,0.5
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.evaluation import learning_curve

F = flags.FLAGS
flags.DEFINE_string("run_dir", None, "Run directory of attr-extractor train.", required=True)
flags.DEFINE_list("fractions", "0.125,0.25,0.5", "Fractions of the training products.")
flags.DEFINE_string("output_dir", None, "Folder for subsets and their runs; default: in the run.")


def main() -> None:
    try:
        fractions = [float(share) for share in F.fractions]
    except ValueError as error:
        raise errors.InputError(f"--fractions: {error}; write 0.125,0.25,0.5") from error
    print(learning_curve.table(learning_curve.measure(F.run_dir, fractions, F.output_dir)))
    print(f"results: {F.run_dir}/learning_curve.json; attr-extractor evaluate reports them")
