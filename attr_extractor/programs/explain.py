r"""Show which parts of a photo lead to a run's answers: Grad-CAM per value, and attention maps.

Without --value: the attribute's answered values, else its best one. Without --attribute: all.
Example:
  attr-extractor explain --run_dir=shop/run --images=a.jpg,b.jpg --attribute=neck_type \
      --value=v-neck
"""

from absl import flags

from attr_extractor.errors import InputError
from attr_extractor.evaluation.explain import explain_photos

F = flags.FLAGS
flags.DEFINE_string("run_dir", None, "Run directory of attr-extractor train.", required=True)
flags.DEFINE_list("images", None, "Photo files, separated by commas.", required=True)
flags.DEFINE_string("attribute", None, "One attribute instead of all.")
flags.DEFINE_string("value", None, "One value of --attribute, even if it is not answered.")
flags.DEFINE_multi_string("known", [], "ATTRIBUTE=VALUE, a known cell of the product; repeatable.")
flags.DEFINE_string("text", "", "The product's text, such as its title.")
flags.DEFINE_string("output_dir", None, "Output folder; default: explain/ in the run.")


def main() -> None:
    cells = [cell.partition("=") for cell in F.known]
    for name, equals, value in cells:
        if not (name and equals and value):
            raise InputError(f"--known={name}{equals}{value}: write it as attribute=value")
    known: dict[str, str] = {}
    for name, _, value in cells:
        known[name] = f"{known[name]}|{value}" if name in known else value
    page, count = explain_photos.explain_photos(
        F.run_dir, F.images, F.attribute, F.value, F.output_dir, known, F.text
    )
    print(f"{count} pictures of values, {len(F.images)} photos: {page}")
