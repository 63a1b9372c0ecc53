"""Writes an exported model in other forms, each compared with it on photos of the records.

Example:
  python tools/convert.py --model=shop/models/shop --records=shop/records --output_dir=shop/forms
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.serving import convert, forms

F = flags.FLAGS
flags.DEFINE_string("model", None, "A version folder, or a folder of them.", required=True)
flags.DEFINE_string("records", None, "Of the model's schema, with a test split.", required=True)
flags.DEFINE_string("output_dir", None, "Gets the files.", required=True)
flags.DEFINE_multi_enum("form", list(forms.FORMS), list(forms.FORMS), "Repeatable. Default: all.")
flags.DEFINE_integer("count", 256, "Photos to compare on.", lower_bound=1)


def main() -> None:
    print(convert.table(convert.convert(F.model, F.records, F.output_dir, F.form, F.count)))


if __name__ == "__main__":
    errors.run_program(main)
