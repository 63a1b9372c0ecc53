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
flags.DEFINE_enum(
    "precision", "float32", ["float32", "bfloat16"], "bfloat16: faster on CPUs that multiply it."
)
flags.DEFINE_string("records", None, "Photos to compare bfloat16 on. Default: the run's records.")
flags.DEFINE_bool("webp", False, "Read WebP files; TensorFlow 2.15 cannot load the graph.")


def main() -> None:
    path = export.export(
        F.run_dir, F.output_dir, F.version, F.parts, F.precision, F.records, F.webp
    )
    print(f"SavedModel: {path}")
