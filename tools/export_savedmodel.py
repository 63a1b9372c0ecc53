"""Exports a trained run as a SavedModel for TF Serving, post-processing included.

Example:
  python tools/export_savedmodel.py --run_dir=shop/run --output_dir=shop/models/shop
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.serving import export

F = flags.FLAGS
flags.DEFINE_string("run_dir", None, "The folder of train.py.", required=True)
flags.DEFINE_string("output_dir", None, "Gets a folder per version.", required=True)
flags.DEFINE_integer("version", None, "Default: one more than the highest there.", lower_bound=1)
flags.DEFINE_integer("parts", 1, "That a CPU's cores compute side by side: 2 for 2 cores.", 1, 64)


def main() -> None:
    print(f"SavedModel: {export.export(F.run_dir, F.output_dir, F.version, F.parts)}")


if __name__ == "__main__":
    errors.run_program(main)
