r"""Migrate the seller's table, a trained run, or both to a changed schema.

Example:
  attr-extractor migrate --old_schema=old.yaml --schema=new.yaml --mapping=mapping.yaml \
      --catalogue=shop/catalogue.csv --output=shop/catalogue_new.csv
  attr-extractor migrate --run_dir=shop/run --schema=new.yaml --mapping=mapping.yaml \
      --records=shop/records_new --output_dir=shop/start
"""

from absl import flags

from attr_extractor.enrichment.migration.migrate import migrate

F = flags.FLAGS
flags.DEFINE_string("schema", None, "New schema file (YAML).", required=True)
flags.DEFINE_string("mapping", None, "Mapping from old to new names (YAML).", required=True)
flags.DEFINE_string("old_schema", None, "Schema of the table; default: that of the run.")
flags.DEFINE_string("catalogue", None, "Table under the old schema.")
flags.DEFINE_string("output", None, "Migrated table: a new CSV file.")
flags.DEFINE_string("run_dir", None, "Trained run of the old schema.")
flags.DEFINE_string("records", None, "Records of the new schema, for the priors of new values.")
flags.DEFINE_string("output_dir", None, "New run directory, for train.init_from.")


def main() -> None:
    table = {"catalogue": F.catalogue, "output": F.output}
    run = {"run_dir": F.run_dir, "records": F.records, "output_dir": F.output_dir}
    print(migrate(F.schema, F.mapping, F.old_schema, **table, **run))
