"""Convert an exported model to other formats and compare each with it on photos of the records.

Example:
  attr-extractor convert --model=shop/models/shop --records=shop/records --output_dir=shop/forms
"""

from absl import flags

from attr_extractor.serving import convert

F = flags.FLAGS
FORMS = list(convert.FORMS)
FAST = [form for form in FORMS if form != "openvino_int8"]
flags.DEFINE_string("model", None, "Exported model: a version folder or its parent.", required=True)
flags.DEFINE_string("records", None, "Records of the same schema with a test split.", required=True)
flags.DEFINE_string("output_dir", None, "Output folder.", required=True)
flags.DEFINE_multi_enum(
    "form", FAST, FORMS, "Repeatable. Default: all but openvino_int8, which takes a minute."
)
flags.DEFINE_integer("count", 256, "Photos for the comparison.", lower_bound=1)


def main() -> None:
    print(convert.format_report(convert.convert(F.model, F.records, F.output_dir, F.form, F.count)))
