"""Migration to a new schema: the seller's table, a trained run, or both, by one mapping."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from attr_extractor import ownership, working_copy
from attr_extractor.enrichment.migration import table
from attr_extractor.enrichment.migration.mapping import Mapping
from attr_extractor.enrichment.migration.plan import Plan
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema, require_same


def migrate(
    schema: str | Path,
    mapping: str | Path,
    old_schema: str | Path | None = None,
    catalogue: str | Path | None = None,
    output: str | Path | None = None,
    run_dir: str | Path | None = None,
    records: str | Path | None = None,
    output_dir: str | Path | None = None,
) -> str:
    """Write the new table, the run to start from, or both; return a summary to print.

    Args:
      schema: the new schema.
      old_schema: the schema of the table; default: that of the run.
      catalogue, output: the table under the old schema, and the CSV to write.
      run_dir, records, output_dir: a trained run, records of the new schema, and the run
        directory to write.

    Raises:
      InputError: if a file cannot be used, an output exists, the schema of the run is not
        `old_schema`, or the mapping is incomplete.
    """
    with_table = _all_given({"--catalogue": catalogue, "--output": output})
    with_run = _all_given({"--run_dir": run_dir, "--records": records, "--output_dir": output_dir})
    if not with_table and not with_run:
        raise InputError("nothing to migrate: give --catalogue, --run_dir or both")
    if old_schema is None and not with_run:
        raise InputError("--catalogue needs --old_schema, the schema of the table")
    old, new = Schema.read(old_schema) if old_schema else None, Schema.read(schema)
    parsed = Mapping.read(mapping)
    with ExitStack() as locks:
        if with_table:
            assert output
            locks.enter_context(ownership.new_file(output, "--output"))
        if not with_run:
            assert old and catalogue and output
            plan = parsed.plan(old, new, str(mapping))
            return f"{plan.summary()}\n{table.migrate_table(plan, catalogue, output).text(output)}"
        assert run_dir and records and output_dir
        folder = locks.enter_context(working_copy.owned(output_dir, "--output_dir"))
        plan = _migrate_run(parsed, str(mapping), old, new, run_dir, records, folder, with_table)
        lines = [plan.summary(), f"{output_dir}: start with --set train.init_from={output_dir}"]
        if with_table:
            assert catalogue and output
            lines.append(table.migrate_table(plan, catalogue, output).text(output))
        return "\n".join(lines)


def _migrate_run(
    mapping: Mapping,
    origin: str,
    old: Schema | None,
    new: Schema,
    run_dir: str | Path,
    records: str | Path,
    output_dir: Path,
    with_table: bool,
) -> Plan:
    # these import TensorFlow, which a table does not need
    from attr_extractor.enrichment.migration import start
    from attr_extractor.records.manifest import Manifest
    from attr_extractor.training.run_dir import RunDir, is_begun

    # an interrupted call may be resumed until the table, which is written last, is complete
    own = ["config.yaml", "metrics.json", "trunk", *["weights.npz"] * with_table]
    if not is_begun(output_dir, own):
        raise InputError(f"{output_dir}: exists already; name a new folder or remove it")
    run = RunDir.read(run_dir)
    if old is not None:
        require_same(run.schema.fingerprint, old, str(run_dir))
    plan = mapping.plan(old or run.schema, new, origin)
    start.write_start(plan, run, records, Manifest.read(records, new), output_dir)
    return plan


def _all_given(given: dict[str, str | Path | None]) -> bool:
    """Return whether flags that need each other are given; raise InputError if only some are."""
    missing = [flag for flag, value in given.items() if not value]
    if missing and len(missing) < len(given):
        present = next(flag for flag, value in given.items() if value)
        raise InputError(f"{present} needs {' and '.join(missing)}")
    return not missing
