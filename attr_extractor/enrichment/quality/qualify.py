"""Write a folder of reports on a catalogue's quality, from the cells file of predict.py --cells.

catalogue_report.html   the report as a page
quality.json            the figures of the report
contradictions.csv      cells that the model contradicts, the surest first
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from attr_extractor import files, ownership, storage
from attr_extractor.catalogue.csv_rows import write_csv
from attr_extractor.enrichment.cells import MadeBy
from attr_extractor.enrichment.quality import counts as quality
from attr_extractor.enrichment.quality import fill_costs, rates
from attr_extractor.enrichment.quality import report as quality_report
from attr_extractor.enrichment.quality.contradictions import COLUMNS, Contradictions
from attr_extractor.enrichment.quality.counts import KINDS, Quality
from attr_extractor.enrichment.read_cells import CellsFile, schema_of
from attr_extractor.schema import Schema

REPORT, FIGURES, LIST = "catalogue_report.html", "quality.json", "contradictions.csv"
MOST_SELLERS = 200
MOST_PAIRS = 200


def qualify(
    cells: str | Path,
    output_dir: str | Path,
    schema: str | Path | None = None,
    model: str | Path | None = None,
    run_dir: str | Path | None = None,
    most: int = 100_000,
    escape_formulas: bool = False,
) -> dict[str, Any]:
    """Count the cells of a file and write the folder.

    Args:
      cells: the cells file.
      output_dir: a new folder.
      schema: YAML file; or pass `model`.
      model: an exported model, whose assets contain the schema.
      run_dir: the model's run, measured on validation, for the costs of thresholds.
      most: maximum number of rows of contradictions.csv.
      escape_formulas: see `csv_rows.write_csv`.

    Returns:
      The content of quality.json: `rows`, `cells`; `all`, the figures of all cells (for the keys
      see `_groups`), and the same per name in `attributes`, `categories` and `sellers` (the worst
      MOST_SELLERS; `sellers_left_out` counts the others); `pairs`, the MOST_PAIRS most frequent
      pairs of contradicted and proposed value; `thresholds`, see `fill_costs.costs`, None without
      a run.

    Raises:
      InputError: if an input cannot be used, or if the folder is not empty.
    """
    used, described = schema_of(schema, model)
    source = CellsFile(cells, used, described)
    validation = None
    if run_dir is not None:
        source.require_run(run_dir)
        of_older = None if described is None else MadeBy.of(described)
        validation = fill_costs.read(run_dir, used, source.made_by or of_older)
    with ownership.new_folder(output_dir, "--output_dir") as folder:
        return _qualify(source, used, validation, folder, most, escape_formulas)


def _qualify(
    source: CellsFile,
    used: Schema,
    validation: fill_costs.Validation | None,
    folder: Path,
    most: int,
    escape_formulas: bool,
) -> dict[str, Any]:
    counted, contradicted = Quality(used), Contradictions(most)
    with tqdm(total=len(source), unit="cell", desc="counting") as progress:
        for batch in source.batches():
            counted.add(batch)
            contradicted.add(batch)
            progress.update(len(batch))
    found = figures(counted, contradicted)
    if validation is not None:
        empty = counted.of_attribute[:, quality.FILLED :].sum(axis=1)
        found["validation_photos"] = validation.photos
        found["thresholds"] = fill_costs.costs(used, counted.scores, empty, validation)
    _write_list(folder / LIST, contradicted, escape_formulas)
    files.write_json(folder / FIGURES, found)
    page = quality_report.render(used, found)
    storage.write(folder / REPORT, page.encode())
    return found


def summary(found: dict[str, Any]) -> str:
    """Return a one-line summary for the terminal."""
    line = f"{found['rows']:,} products, {found['cells']:,} cells"
    if found["all"] is None:
        return line
    before, after = (100 * found["all"][key] for key in ("complete", "complete_after"))
    contradicted, judged = found["all"]["contradicted"], found["all"]["judged"]
    line += f": {before:.1f} % filled by sellers, {after:.1f} % after the model; "
    return line + f"{contradicted:,} of {judged:,} sellers' cells contradicted"


def figures(counted: Quality, contradicted: Contradictions) -> dict[str, Any]:
    """Return the figures that do not need a run; for the keys see `qualify`."""
    sellers = _groups(list(counted.sellers), counted.of_seller, MOST_SELLERS)
    if list(counted.sellers) == [""]:  # predict.py ran without --seller_column
        sellers = {}
    pairs = sorted(contradicted.pairs.items(), key=lambda item: (-item[1], item[0]))
    total = counted.of_attribute.sum(axis=0, keepdims=True)
    return {
        "schema": counted.schema.fingerprint,
        "rows": counted.rows,
        "cells": int(total.sum()),
        "all": _groups(["all"], total).get("all"),
        "attributes": _groups(counted.schema.names, counted.of_attribute),
        "categories": _groups(counted.categories, counted.of_category),
        "sellers": sellers,
        "sellers_left_out": max(0, len(counted.sellers) - MOST_SELLERS),
        "pairs": [
            {**pair._asdict(), "cells": count, "products": contradicted.examples(pair)}
            for pair, count in pairs[:MOST_PAIRS]
        ],
        "pairs_left_out": max(0, len(pairs) - MOST_PAIRS),
        "thresholds": None,
    }


def _groups(
    names: list[str], counts: np.ndarray, most: int | None = None
) -> dict[str, dict[str, Any]]:
    """Return figures of the groups that have cells, in descending order of `low`.

    Args:
      names: names of the G groups.
      counts: int64 [G, KINDS].
      most: maximum number of groups, by default all.

    Returns:
      A dict per name: the counts of KINDS; `given` and `empty`, cells with and without a seller's
      value; `complete`, the share of given cells; `complete_after`, that of given and filled
      cells; `filled_share`, the share of empty cells that are filled; `judged`, given cells with a
      readable photo; `agreed_share`, `contradicted_share` and `doubtful_share` of the judged cells
      (unlisted values are doubtful); `rate`, `low` and `high`, the contradicted share and its
      interval, see `rates.shrunk`.
    """
    judged = counts[:, : quality.UNJUDGED].sum(axis=1)
    rate, low, high = rates.shrunk(counts[:, quality.CONTRADICTED], judged)
    order = np.lexsort((np.arange(len(counts)), -judged, -low))
    found = {}
    for g in order[counts[order].sum(axis=1) > 0][:most].tolist():
        by_kind = dict(zip(KINDS, counts[g].tolist()))
        given = int(counts[g, : quality.FILLED].sum())
        empty = int(counts[g, quality.FILLED :].sum())
        of = int(judged[g])
        found[names[g]] = {
            **by_kind,
            "given": given,
            "empty": empty,
            "complete": _share(given, given + empty),
            "complete_after": _share(given + by_kind["filled"], given + empty),
            "filled_share": _share(by_kind["filled"], empty),
            "judged": of,
            "agreed_share": _share(by_kind["agreed"], of),
            "contradicted_share": _share(by_kind["contradicted"], of),
            "doubtful_share": _share(by_kind["doubtful"] + by_kind["unlisted"], of),
            "rate": round(float(rate[g]), 6),
            "low": round(float(low[g]), 6),
            "high": round(float(high[g]), 6),
        }
    return found


def _share(part: int, of: int) -> float | None:
    return round(part / of, 6) if of else None


def _write_list(path: Path, contradicted: Contradictions, escape_formulas: bool) -> None:
    def rows() -> Iterator[Iterable[object]]:
        for batch in contradicted.table().to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                scores = {n: round(row[n] or 0.0, 4) for n in COLUMNS if n.endswith("_score")}
                yield {**row, **scores}.values()

    write_csv(path, COLUMNS, rows(), escape_formulas)
