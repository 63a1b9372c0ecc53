r"""Convert a seller's table and photos into validated, sharded TFRecords.

Rerun the command to resume an interrupted build, or to add new rows to finished records.
Example:
  attr-extractor build --catalogue=shop/catalogue.csv --schema=shop/schema.yaml \
      --output_dir=shop/records --image_size=256
"""

from absl import flags

from attr_extractor.records import builder, plan, relabel, runner
from attr_extractor.schema import Schema

F = flags.FLAGS
flags.DEFINE_string("catalogue", None, "Table: .csv, .tsv, .parquet or .jsonl.", required=True)
flags.DEFINE_string("schema", None, "Schema file (YAML).", required=True)
flags.DEFINE_string("output_dir", None, "Folder for the records.", required=True)
flags.DEFINE_string("image_root", None, "Root of image paths; default: the table's folder.")
flags.DEFINE_bool("relabel", False, "Only update the labels of finished records.")
flags.DEFINE_enum("runner", "local", ["local", "beam"], "Local processes or Apache Beam.")
flags.DEFINE_integer("num_workers", 2, "Processes of the local runner.", lower_bound=1)
flags.DEFINE_multi_string("beam", [], "A Beam flag, e.g. --beam=--runner=FlinkRunner; repeatable.")
for name, (default, text) in plan.FLAGS.items():
    (flags.DEFINE_integer if isinstance(default, int) else flags.DEFINE_string)(name, default, text)


def main() -> None:
    schema, options = Schema.read(F.schema), plan.from_flags({n: F[n].value for n in plan.FLAGS})
    with runner.Beam(F.beam) if F.runner == "beam" else runner.Local(F.num_workers) as workers:
        if F.relabel:
            built = relabel.relabel(F.catalogue, schema, F.output_dir, workers)
        else:
            paths = (F.output_dir, F.image_root)
            built = builder.build(F.catalogue, schema, *paths, options, workers)
    print(built.summary(F.output_dir))
