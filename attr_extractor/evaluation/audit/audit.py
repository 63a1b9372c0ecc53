"""Label audit: audit.csv, the suspicious cells of the catalogue, most confident findings first.

Linear heads are refitted on the run's frozen features by cross-validation, and judge the products
that they were not trained on. The trunk was trained on the training split's labels, including
wrong ones; docs/figures.csv has the cost. cleanlab is not used: it requires all labels and all
predictions in memory, and multi-label attributes that are labelled for every product.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from attr_extractor import ownership
from attr_extractor.catalogue.csv_rows import write_csv
from attr_extractor.evaluation.audit import answers
from attr_extractor.evaluation.audit.features import Products, collect_features
from attr_extractor.evaluation.audit.findings import LabelThresholds, blocks, find_cells
from attr_extractor.evaluation.audit.heads import Heads, assign_folds, fit_heads, require_folds
from attr_extractor.labels import PRESENT
from attr_extractor.schema import SEPARATOR, Schema
from attr_extractor.sources import writer
from attr_extractor.training.run_dir import RunDir

WRONG, FILL = "probably wrong", "could be filled"
COLUMNS = (
    "product_id",
    "attribute",
    "seller",  # values in the records, separated by |; empty if there are none
    "proposed",  # separated by |; empty: none of the attribute's values
    "score",  # 0 .. 1. Wrong cell: 1 - probability of the seller's value / its threshold. Empty
    # cell: probability of the proposed value
    "kind",  # WRONG (listed first) or FILL
    "split",
    "image",  # paths of the product's photos, separated by |
    "image_index",
)


@dataclass(frozen=True)
class AuditSummary:
    """Counts of an audit."""

    products: int
    cells: int  # filled cells that were judged
    found: dict[str, int]  # cells by kind, including those beyond `most`
    listed: int  # rows of audit.csv
    skipped: list[str]  # attributes with fewer than two known values


class Candidate(NamedTuple):
    """A cell to list; sorts by its score, highest first."""

    negative_score: float
    product: int
    attribute: int
    seller: str
    proposed: str


class Top:
    """The best candidates of one kind; keeps `most`, at most twice that before pruning."""

    def __init__(self, most: int):
        self.most, self.count, self._limit = most, 0, -1.0
        self._rows: list[Candidate] = []

    def add(
        self, scores: np.ndarray, rows: np.ndarray, t: int, texts: Iterable[tuple[str, str]]
    ) -> None:
        """Add cells of attribute t: float32 [n], int64 [n] and (seller, proposed) of each."""
        self.count += len(scores)
        self._rows += [
            Candidate(-score, row, t, *text)
            for score, row, text in zip(scores.tolist(), rows.tolist(), texts)
            if score > self._limit
        ]
        if len(self._rows) > 2 * self.most:
            self._rows = self.best()
            self._limit = -self._rows[-1].negative_score

    def best(self) -> list[Candidate]:
        """Return the candidates, highest score first."""
        return sorted(self._rows)[: self.most]


def audit(
    run_dir: str | Path,
    output: str | Path,
    records: str | Path | None = None,
    folds: int = 5,
    most: int = 100_000,
    seed: int = 0,
    escape_formulas: bool = False,
    answers_file: str | Path | None = None,
) -> AuditSummary:
    """Write audit.csv for the products of all splits.

    Args:
      records: records to use instead of the run's own; must have the same schema.
      folds: number of folds; each fold is judged by heads trained on the others.
      most: maximum number of listed rows of each kind.
      escape_formulas: see `csv_rows.write_csv`.
      answers_file: a new label source, CSV or Parquet: what heads of the training split answer
        out of fold.

    Raises:
      InputError: if the trained run or the records are missing, `folds` is invalid, or an output
        exists or cannot be written.
    """
    with contextlib.ExitStack() as owned:
        owned.enter_context(ownership.new_file(output, "--output"))
        if answers_file:
            writer.require_format(answers_file, "--answers")
            owned.enter_context(ownership.new_file(answers_file, "--answers"))
        run = RunDir.read(run_dir)
        manifest = run.manifest(records)
        products = sum(split.products for split in manifest.splits.values())
        require_folds(products, folds)
        with tempfile.TemporaryDirectory() as scratch:
            folder = records or run.records
            collected = collect_features(run, folder, manifest, Path(scratch))
            fold = assign_folds(collected.sources["group"].to_pylist(), folds, seed)
            heads = fit_heads(collected.features, collected.labels, run.schema, fold, seed)
            summary, rows = _list_cells(collected, heads, run.schema, most)
            write_csv(output, COLUMNS, rows, escape_formulas)
            if answers_file:
                answers.write(answers_file, collected, run.schema, fold, seed)
        return summary


def _list_cells(
    products: Products, heads: Heads, schema: Schema, most: int
) -> tuple[AuditSummary, list[tuple]]:
    """Return the summary and the CSV rows, from two passes: thresholds, then findings."""
    thresholds = LabelThresholds(schema)
    for _, chances, codes in blocks(products, heads, schema):
        thresholds.add(chances, codes)
    cells = 0
    tops = {WRONG: Top(most), FILL: Top(most)}
    for start, chances, codes in blocks(products, heads, schema):
        for found in find_cells(thresholds, chances, codes):
            name, values = found.attribute.name, found.attribute.values
            given = codes[:, schema.slices[name]] == PRESENT
            cells += 0 if found.empty else int(given.any(axis=1).sum())
            pairs = zip(given[found.rows], found.proposed)
            texts = ((_text(values, seller), _text(values, proposed)) for seller, proposed in pairs)
            top = tops[FILL if found.empty else WRONG]
            top.add(found.scores, start + found.rows, schema.index[name], texts)
    rows: list[tuple] = []
    for kind, top in tops.items():
        best = top.best()
        products_of_rows = pa.array([candidate.product for candidate in best], pa.int64())
        sources = products.sources.take(products_of_rows).to_pylist()
        for (negative_score, _, t, seller, proposed), source in zip(best, sources):
            cell = (source["product_id"], schema.names[t], seller, proposed)
            rows.append(
                (
                    *cell,
                    round(-negative_score, 6),
                    kind,
                    source["split"],
                    source["image"],
                    source["image_index"],
                )
            )
    counts = {kind: top.count for kind, top in tops.items()}
    summary = AuditSummary(len(products.labels), cells, counts, len(rows), thresholds.skipped())
    return summary, rows


def _text(values: list[str], chosen: np.ndarray) -> str:
    return SEPARATOR.join(values[v] for v in np.flatnonzero(chosen))
