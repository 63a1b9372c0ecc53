"""Export a trained run as a SavedModel for TF Serving, including post-processing.

Example:
  attr-extractor export --run_dir=shop/run --output_dir=shop/models/shop
"""

from absl import flags

from attr_extractor.serving import export

F = flags.FLAGS
flags.DEFINE_string("run_dir", None, "Run directory of attr-extractor train.", required=True)
flags.DEFINE_string("output_dir", None, "Model folder; one subfolder per version.", required=True)
flags.DEFINE_integer("version", None, "Version number. Default: highest + 1.", lower_bound=1)
flags.DEFINE_integer("parts", 1, "Parallel parts of the graph: 2 for 2 CPU cores.", 1, 64)


def main() -> None:
    print(f"SavedModel: {export.export(F.run_dir, F.output_dir, F.version, F.parts)}")
