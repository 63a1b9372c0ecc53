r"""Show which parts of a photo lead to a run's answers: Grad-CAM per value, and attention maps.

Without --value: the attribute's answered values, else its best one. Without --attribute: all.
Example:
  attr-extractor explain --run_dir=shop/run --images=a.jpg,b.jpg --attribute=neck_type \
      --value=v-neck
"""

from absl import flags

from attr_extractor.evaluation.explain import explain_photos

F = flags.FLAGS
flags.DEFINE_string("run_dir", None, "Run directory of attr-extractor train.", required=True)
flags.DEFINE_list("images", None, "Photo files, separated by commas.", required=True)
flags.DEFINE_string("attribute", None, "One attribute instead of all.")
flags.DEFINE_string("value", None, "One value of --attribute, even if it is not answered.")
flags.DEFINE_string("output_dir", None, "Output folder; default: explain/ in the run.")


def main() -> None:
    page, count = explain_photos.explain_photos(
        F.run_dir, F.images, F.attribute, F.value, F.output_dir
    )
    print(f"{count} pictures of values, {len(F.images)} photos: {page}")
