"""Write a folder of reports on a catalogue's quality, from predict's cells file.

catalogue_report.html   the report as a page
quality.json            the figures of the report
contradictions.csv      cells that the model contradicts, the surest first
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional

from tqdm import tqdm

from attr_extractor import files, storage, working_copy
from attr_extractor.catalogue.csv_rows import write_csv
from attr_extractor.enrichment.cells import CellsFile, MadeBy, schema_of
from attr_extractor.enrichment.quality import fill_costs
from attr_extractor.enrichment.quality.contradictions import COLUMNS, Contradictions
from attr_extractor.enrichment.quality.counts import FILLED, CellCounts
from attr_extractor.enrichment.quality.figures import GroupFigures, group_figures
from attr_extractor.schema import Schema
from attr_extractor.web import pages

REPORT, FIGURES, LIST = "catalogue_report.html", "quality.json", "contradictions.csv"
MOST_SELLERS = 200
MOST_PAIRS = 200
MOST_CATEGORIES = 1000  # on the page


@dataclass(frozen=True)
class PairFigures:
    """Contradicted cells with one pair of values."""

    attribute: str
    given: str
    proposed: str  # "" if the seller listed every value that the model proposes
    cells: int
    products: List[str]  # examples


@dataclass(frozen=True)
class QualityReport:
    """Figures of a catalogue; the fields are the keys in quality.json."""

    schema: str  # fingerprint
    rows: int  # of the table that have a cell
    cells: int
    all: Optional[GroupFigures]  # of all cells; None without cells
    attributes: Dict[str, GroupFigures]  # by name, as are the next two
    categories: Dict[str, GroupFigures]  # "": unknown category
    sellers: Dict[str, GroupFigures]  # the worst MOST_SELLERS; none without --seller_column
    sellers_left_out: int
    pairs: List[PairFigures]  # the MOST_PAIRS most frequent
    pairs_left_out: int
    thresholds: Optional[List[fill_costs.ThresholdCost]] = None  # None without a run
    validation_photos: Optional[int] = None  # of the run; not in quality.json without a run

    def as_json(self) -> dict[str, Any]:
        """Return the content of quality.json."""
        content = dataclasses.asdict(self)
        if self.validation_photos is None:
            del content["validation_photos"]
        return content

    def summary(self) -> str:
        """Return a one-line summary for the terminal."""
        line = f"{self.rows:,} products, {self.cells:,} cells"
        if self.all is None:
            return line
        before, after = 100 * (self.all.complete or 0), 100 * (self.all.complete_after or 0)
        return (
            f"{line}: {before:.1f} % filled by sellers, {after:.1f} % after the model; "
            f"{self.all.contradicted:,} of {self.all.judged:,} sellers' cells contradicted"
        )


def qualify(
    cells: str | Path,
    output_dir: str | Path,
    schema: str | Path | None = None,
    model: str | Path | None = None,
    run_dir: str | Path | None = None,
    most: int = 100_000,
    escape_formulas: bool = False,
) -> QualityReport:
    """Count the cells of a file and write the folder.

    Args:
      cells: the cells file.
      output_dir: a new folder.
      schema: YAML file; or pass `model`.
      model: an exported model, whose assets contain the schema.
      run_dir: the model's run, measured on validation, for the costs of thresholds.
      most: maximum number of rows of contradictions.csv.
      escape_formulas: see `csv_rows.write_csv`.

    Raises:
      InputError: if an input cannot be used, or if the folder is not empty.
    """
    used, described = schema_of(schema, model)
    source = CellsFile(cells, used, described)
    validation = None
    if run_dir is not None:
        source.require_run(run_dir)
        of_older = None if described is None else MadeBy.of(described)
        validation = fill_costs.read_validation(run_dir, used, source.made_by or of_older)
    with working_copy.new(output_dir, "--output_dir") as folder:
        counts, contradictions = CellCounts(used), Contradictions(most)
        with tqdm(total=len(source), unit="cell", desc="counting") as progress:
            for batch in source.batches():
                counts.add(batch)
                contradictions.add(batch)
                progress.update(len(batch))
        report = compute_report(counts, contradictions, validation)
        write_contradictions(folder / LIST, contradictions, escape_formulas)
        files.write_json(folder / FIGURES, report.as_json())
        storage.write(folder / REPORT, render(used, report).encode())
        return report


def compute_report(
    counts: CellCounts,
    contradictions: Contradictions,
    validation: fill_costs.Validation | None = None,
) -> QualityReport:
    """Compute the figures; without `validation`, those that do not need a run."""
    pairs = sorted(contradictions.pairs.items(), key=lambda item: (-item[1], item[0]))
    total = counts.of_attribute.sum(axis=0, keepdims=True)
    named = list(counts.sellers) != [""]  # attr-extractor predict ran with --seller_column
    thresholds = None
    if validation is not None:
        empty = counts.of_attribute[:, FILLED:].sum(axis=1)
        thresholds = fill_costs.threshold_costs(counts.schema, counts.scores, empty, validation)
    return QualityReport(
        schema=counts.schema.fingerprint,
        rows=counts.rows,
        cells=int(total.sum()),
        all=group_figures(["all"], total).get("all"),
        attributes=group_figures(counts.schema.names, counts.of_attribute),
        categories=group_figures(counts.categories, counts.of_category),
        sellers=group_figures(list(counts.sellers), counts.of_seller, MOST_SELLERS)
        if named
        else {},
        sellers_left_out=max(0, len(counts.sellers) - MOST_SELLERS),
        pairs=[
            PairFigures(*pair, count, contradictions.examples(pair))
            for pair, count in pairs[:MOST_PAIRS]
        ],
        pairs_left_out=max(0, len(pairs) - MOST_PAIRS),
        thresholds=thresholds,
        validation_photos=None if validation is None else validation.photos,
    )


def write_contradictions(path: Path, contradictions: Contradictions, escape_formulas: bool) -> None:
    """Write contradictions.csv."""

    def rows() -> Iterator[Iterable[object]]:
        for batch in contradictions.surest_cells().to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                scores = {n: round(row[n] or 0.0, 4) for n in COLUMNS if n.endswith("_score")}
                yield {**row, **scores}.values()

    write_csv(path, COLUMNS, rows(), escape_formulas)


def render(schema: Schema, report: QualityReport) -> str:
    """Return catalogue_report.html."""
    return pages.render(
        "quality/page.html",
        title=f"{schema.name}: the catalogue, {report.rows:,} products",
        folder="quality",
        sections=[
            ("complete", "Before and after"),
            ("judged", "Sellers' values"),
            ("thresholds", "Thresholds"),
            ("pairs", "Contradictions"),
            ("categories", "Categories"),
            ("sellers", "Sellers"),
        ],
        schema=schema,
        report=report,
        most_categories=MOST_CATEGORIES,
        chart=_cost_chart(report.thresholds or []),
    )


@dataclass(frozen=True)
class CostChart:
    """Points and ticks of the chart of wrong fills over the share of empty cells filled."""

    points: list[tuple[float, float]]
    y_ticks: list[tuple[float, str]]


def _cost_chart(costs: list[fill_costs.ThresholdCost]) -> CostChart | None:
    """Return the chart of at least two thresholds that fill cells at a known error rate."""
    points = [
        (c.share, c.wrong)
        for c in costs
        if c.filled and c.share is not None and c.wrong is not None
    ]
    if len(points) < 2:
        return None
    top = max(0.05, -(-max(wrong for _, wrong in points) // 0.05) * 0.05)
    return CostChart(points, [(y, f"{100 * y:.3g} %") for y in (0.0, top / 2, top)])
