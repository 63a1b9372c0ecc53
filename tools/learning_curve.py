"""What more labels would buy: a trained run's recipe on nested parts of its training products.

Each part is a training of its own, as long as its share; an interrupted program goes on.
evaluate.py then shows the curve in report.html.

Example:
  python tools/learning_curve.py --run_dir=shop/run --fractions=0.125,0.25,0.5
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.evaluation import learning_curve

F = flags.FLAGS
flags.DEFINE_string("run_dir", None, "The folder of train.py.", required=True)
flags.DEFINE_list("fractions", "0.125,0.25,0.5", "Shares of the training products.")
flags.DEFINE_string("output_dir", None, "For parts and their runs; default: within the run.")


def main() -> None:
    try:
        fractions = [float(share) for share in F.fractions]
    except ValueError as error:
        raise errors.InputError(f"--fractions: {error}; write 0.125,0.25,0.5") from error
    print(learning_curve.table(learning_curve.measure(F.run_dir, fractions, F.output_dir)))
    print(f"figures: {F.run_dir}/learning_curve.json; evaluate.py shows them in its report.html")


if __name__ == "__main__":
    errors.run_program(main)
