r"""Fill missing cells of training records with soft labels of label sources.

A source is a table (product_id, attribute, value, confidence, source), or one with a column per
attribute: a vendor's tagger, values mined from texts, a model's answers. How far each is believed
is fitted on cells that the seller filled. No photo is decoded; a rerun replaces the soft labels.
Example:
  attr-extractor add-sources --records=shop/records --source=vendor.csv --source=text.parquet
"""

from absl import flags

from attr_extractor.records import runner, soft_labels

F = flags.FLAGS
flags.DEFINE_string("records", None, "Records of attr-extractor build.", required=True)
flags.DEFINE_multi_string("source", None, "Table of a source; repeatable.", required=True)
flags.DEFINE_list(
    "fit_on",
    "validation",
    "Splits with whose filled cells the sources are judged: validation, train. Add train only if "
    "no source was trained on these records.",
)
flags.DEFINE_float(
    "min_probability", 0.5, "Of the most probable value; attributes below it stay missing."
)
flags.DEFINE_integer("num_workers", 2, "Processes that copy shards.", lower_bound=1)


def main() -> None:
    with runner.Local(F.num_workers) as workers:
        added = soft_labels.add(F.records, F.source, workers, F.fit_on, F.min_probability)
    print(soft_labels.table(added.report))
    print(f"{F.records}/{soft_labels.REPORT}: all figures and the cells that were not used")
