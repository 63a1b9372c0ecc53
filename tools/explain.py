r"""Shows where in a photo a run's answers come from: Grad-CAM per value, and attention maps.

Without --value: the attribute's answered values, or its best one. Without --attribute: all answers.
Example:
  python tools/explain.py --run_dir=shop/run --images=a.jpg,b.jpg --attribute=neck_type \
      --value=v-neck
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.evaluation import explain_photos

F = flags.FLAGS
flags.DEFINE_string("run_dir", None, "The folder of train.py.", required=True)
flags.DEFINE_list("images", None, "Photo files, parted by commas.", required=True)
flags.DEFINE_string("attribute", None, "One attribute instead of all.")
flags.DEFINE_string("value", None, "One of its values, whether it is answered or not.")
flags.DEFINE_string("output_dir", None, "Where pictures go; default: explain/ in the run.")


def main() -> None:
    page, count = explain_photos.explain_photos(
        F.run_dir, F.images, F.attribute, F.value, F.output_dir
    )
    print(f"{count} pictures of values, {len(F.images)} photos: {page}")


if __name__ == "__main__":
    errors.run_program(main)
