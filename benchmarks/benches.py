"""Benchmarks of bench.py by name: each module defines its own; this one collects them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attr_extractor.config import Config
from attr_extractor.errors import extra
from attr_extractor.schema import Schema
from benchmarks import (
    accelerator,
    audit,
    augmentation,
    build_records,
    grad_cam,
    growth,
    input_pipeline,
    predict,
    skew,
    step,
)


@dataclass(frozen=True)
class On:
    """Inputs of the benchmarks; no benchmark needs all of them."""

    config: Config
    schema_file: str | Path
    records: str | Path
    run_dir: str | Path
    budget_minutes: float = 15.0
    output: str = ""
    model: str = ""
    photos: str = ""

    @property
    def schema(self) -> Schema:
        """The schema, read from `schema_file` on each access."""
        return Schema.read(self.schema_file)


def _search(count: int) -> str:
    with extra("search"):
        from benchmarks import search
    return search.made_up(count)


def _export(on: On, count: int) -> str:
    with extra("serving"):
        from benchmarks import export
    return export.report(on.config, on.schema, count, str(on.run_dir), str(on.records))


def _bucket(on: On, count: int) -> str:
    with extra("dev"):
        from benchmarks import bucket
    return bucket.report(on.config, str(on.records), count)


def _serve(on: On, count: int) -> str:
    with extra("serving"):
        from benchmarks import latency
    return latency.report(on.model, on.photos, count)


def _context(on: On, count: int) -> str:
    with extra("serving"):
        from benchmarks import context_cost
    return context_cost.report(on.config, on.schema, count, on.model)


def _accelerator(on: On, count: int) -> str:
    records, minutes = str(on.records), on.budget_minutes
    return accelerator.report(on.config, on.schema, count, records, minutes, on.output)


# By name: the default count, and a function that measures that many photos, rows, vectors or steps
BENCHES: dict[str, tuple[int, Callable[[On, int], str | dict[str, float]]]] = {
    "records": (8000, lambda on, n: build_records.measure_photos(n)),
    "table": (10**6, lambda on, n: build_records.measure_table(on.schema, n)),
    "input": (
        200,
        lambda on, n: input_pipeline.table(input_pipeline.measure(on.records, on.config.data, n)),
    ),
    "step": (21, lambda on, n: step.report(on.config, on.schema, n, str(on.records))),
    "bucket": (200, _bucket),
    "augment": (20, lambda on, n: augmentation.measure(on.config, n, str(on.records))),
    "growth": (5, lambda on, n: growth.table(growth.measure(on.config, n))),
    "export": (8, _export),
    "context": (21, _context),
    "predict": (2048, lambda on, n: predict.measure(on.config, on.records, n)),
    "skew": (800, lambda on, n: skew.measure(on.model, on.photos, n)),
    "serve": (1024, _serve),
    "search": (10**6, lambda on, n: _search(n)),
    "audit": (0, lambda on, n: audit.measure(on.config, on.records)),
    "accelerator": (0, _accelerator),
    "grad_cam": (200, lambda on, n: grad_cam.report(on.run_dir, n)),
}
