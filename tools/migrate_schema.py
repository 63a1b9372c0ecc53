r"""Carries the seller's table, a trained run, or both over to a changed schema.

Example:
  python tools/migrate_schema.py --old_schema=old.yaml --schema=new.yaml --mapping=mapping.yaml \
      --catalogue=shop/catalogue.csv --output=shop/catalogue_new.csv
  python tools/migrate_schema.py --run_dir=shop/run --schema=new.yaml --mapping=mapping.yaml \
      --records=shop/records_new --output_dir=shop/start
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.migration.migrate import migrate

F = flags.FLAGS
flags.DEFINE_string("schema", None, "The new schema: YAML.", required=True)
flags.DEFINE_string("mapping", None, "What becomes of what: YAML.", required=True)
flags.DEFINE_string("old_schema", None, "The table's schema; default: the run's.")
flags.DEFINE_string("catalogue", None, "A table under the old schema.")
flags.DEFINE_string("output", None, "The CSV to write; a new file.")
flags.DEFINE_string("run_dir", None, "A trained run of the old schema.")
flags.DEFINE_string("records", None, "Records of the new schema, for the priors of what is new.")
flags.DEFINE_string("output_dir", None, "The run directory to write, for train.init_from.")


def main() -> None:
    table = {"catalogue": F.catalogue, "output": F.output}
    run = {"run_dir": F.run_dir, "records": F.records, "output_dir": F.output_dir}
    print(migrate(F.schema, F.mapping, F.old_schema, **table, **run))


if __name__ == "__main__":
    errors.run_program(main)
