"""Fill a table with an exported model, part by part; an interrupted run keeps its finished parts.

<output>                    the filled table, in the order of the input
<cells>                     optional: seller value and model prediction of each cell (cells.py)
<output>.parts/job.json     during the run: the settings and inputs of the prediction
<output>.parts/NNNNNN.*     of each part: its rows, then its filled rows, its cells, its counts
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from attr_extractor import files, storage
from attr_extractor.catalogue import boxes, raw_files, table
from attr_extractor.catalogue.csv_rows import CsvWriter
from attr_extractor.enrichment import cells, scoring
from attr_extractor.enrichment import job as jobs
from attr_extractor.enrichment.fill.fill import Filled, Filler, header
from attr_extractor.errors import InputError, require_file
from attr_extractor.records.runner import Runner
from attr_extractor.serving import model_dir

ROWS_PER_PART = 2048
BATCHES_FILLED = 8  # per call of `fill` (256 rows), to reduce its overhead per call


@dataclass(frozen=True)
class PredictOptions:
    """Settings of a prediction."""

    answer: str = "threshold"  # or "best": always the best value
    box_columns: tuple[str, ...] = ()
    seller_column: str = ""
    sure: float = 0.9  # score from which the model contradicts a seller
    server: str = ""  # grpc://HOST:PORT/MODEL, instead of the model in memory
    escape_formulas: bool = False  # see `csv_rows.write_csv`

    def __post_init__(self) -> None:
        if not 0.5 < self.sure <= 1:
            raise InputError(f"--sure={self.sure}: must be above 0.5 and at most 1")


@dataclass
class PredictSummary:
    """Counts of a filled table."""

    rows: int = 0
    rows_with_error: int = 0
    cells: Counter[str] = field(default_factory=Counter)  # by source

    def add(self, counts: dict[str, Any]) -> None:
        """Add the counts of a part."""
        self.rows += counts["rows"]
        self.rows_with_error += counts["rows_with_error"]
        self.cells.update(counts["sources"])


def predict(
    model: str | Path,
    catalogue: str | Path,
    output: str | Path,
    image_root: str | Path | None = None,
    options: PredictOptions | None = None,
    cells_output: str | Path | None = None,
    runner: Runner | None = None,
) -> PredictSummary:
    """Write the filled table. The same call resumes an interrupted run.

    Args:
      model: a version folder, or a folder of versions.
      catalogue: the table.
      output: the filled table, a new CSV file.
      image_root: folder of the image paths; by default the table's folder.
      options: settings.
      cells_output: Parquet file for the seller value and model prediction of each cell.
      runner: runs the parts; by default they run in this process, one after the other.

    Raises:
      InputError: if the model, the table or an output cannot be used, or if the folder of parts
        contains another unfinished prediction.
    """
    options = options or PredictOptions()
    outputs = {"--output": Path(output)}
    if cells_output is not None:
        outputs["--cells"] = Path(cells_output)
    with jobs.owned(outputs):
        return _predict(model, catalogue, outputs, image_root, options, runner)


def _predict(
    model: str | Path,
    catalogue: str | Path,
    outputs: dict[str, Path],
    image_root: str | Path | None,
    options: PredictOptions,
    runner: Runner | None,
) -> PredictSummary:
    """Run `predict` on locked outputs, given by flag."""
    output, cells_output = outputs["--output"], outputs.get("--cells")
    described = model_dir.describe(model)
    if not storage.is_remote(catalogue):
        require_file(catalogue, "the catalogue")
    root = raw_files.image_root_of(catalogue, image_root)
    folder = jobs.folder_of(output)
    job = {
        "model": str(described.path.resolve()),
        "model_description": described.description_digest(),
        "weights": described.digest(),
        "fingerprint": described.facts.fingerprint,
        "catalogue": files.digest(catalogue),
        "image_root": root,
        "with_cells": cells_output is not None,
        "set_of_outputs": jobs.names(outputs),
        "cells": cells.SCHEMA.names,  # parts of another release may have other columns
        "options": {**asdict(options), "box_columns": list(options.box_columns)},
    }
    names, rows = _prepare(outputs, job, catalogue, described, options)
    parts = [str(path) for path in sorted(folder.glob("*.rows.parquet"))]
    todo = [part for part in parts if not _done(part)]
    if runner is None:
        there = rows - sum(pq.read_metadata(part).num_rows for part in todo)
        with tqdm(total=rows, initial=there, unit="row", desc="filling") as bar:
            for part in todo:
                work(part, bar.update)
    else:
        runner.run(work, todo, "filling")
    form = cells.SCHEMA.with_metadata(cells.MadeBy.metadata(described.facts))
    return _join(parts, names, output, cells_output, form, folder, options.escape_formulas)


def work(part: str, progress: Callable[[int], Any] = lambda rows: None) -> None:
    """Fill the rows of a part and write its files; the counts are last and mark it as finished."""
    folder = Path(part).parent
    job = files.read_json(folder / jobs.FILE, "the prediction's job")
    options = PredictOptions(
        **{**job["options"], "box_columns": tuple(job["options"]["box_columns"])}
    )
    described, score = _scorer(job["model"], job["model_description"], options.server)
    reader = scoring.Reader(job["image_root"], described.facts.photo_short_side, job["box"])
    always, with_cells = options.answer == "best", job["with_cells"]
    asked = (always, options.sure, job["seller"], job["box"], with_cells)
    filler = Filler(described.answers, *asked)
    # columns by position: two may have no name, or a name may be invalid in Parquet
    *arrays, numbers = files.read_table(part).columns
    columns = dict(zip(job["columns"], (array.to_pylist() for array in arrays)))
    first = numbers[0].as_py()
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    lines, tables = io.StringIO(newline=""), []
    writer = CsvWriter(lines, options.escape_formulas)
    sources: Counter[str] = Counter()
    failed = 0
    scored = scoring.pooled(rows, reader, score, described.schema.num_values)
    with ThreadPoolExecutor(1) as pool:  # filling overlaps with the model

        def fill(start: int, scores: np.ndarray, errors: list[str]) -> Future[Filled]:
            batch = {name: column[start : start + len(errors)] for name, column in columns.items()}
            return pool.submit(filler.fill, batch, first + start, scores, errors)

        waiting = [fill(*group) for group in _groups(scored, progress)]
    for filled in (future.result() for future in waiting):
        writer.writerows(zip(*(filled.columns[name] for name in job["header"])))
        tables.append(filled.cells)
        sources += filled.sources
        failed += filled.rows_with_error
    storage.write(_beside(part, "filled.csv"), lines.getvalue().encode(), workers=True)
    if with_cells:
        with storage.whole(_beside(part, "cells.parquet"), workers=True) as temporary:
            pq.write_table(pa.concat_tables(tables), temporary, compression="zstd")
    counts = {"rows": len(rows), "rows_with_error": failed, "sources": sources}
    storage.write(_beside(part, "counts.json"), json.dumps(counts).encode(), workers=True)


def _groups(
    scored: Iterator[tuple[np.ndarray, list[str]]], progress: Callable[[int], Any]
) -> Iterator[tuple[int, np.ndarray, list[str]]]:
    """Yield groups of batches of `scoring.pooled`: (first row from 0, scores, errors)."""

    def seen() -> Iterator[tuple[np.ndarray, list[str]]]:
        for scores, errors in scored:
            progress(len(errors))
            yield scores, errors

    start, left = 0, seen()
    while batches := list(itertools.islice(left, BATCHES_FILLED)):
        scores, errors = zip(*batches)
        group = list(itertools.chain(*errors))
        yield start, np.concatenate(scores), group
        start += len(group)


@functools.lru_cache(maxsize=1)  # load the model once per worker process
def _scorer(
    model: str, description: str, server: str
) -> tuple[model_dir.Description, scoring.Scorer]:
    described = model_dir.describe(model) if server else model_dir.load(model)
    if described.description_digest() != description:
        raise InputError(f"{model}: exported again during the prediction; restart the prediction")
    if isinstance(described, model_dir.ExportedModel):
        return described, scoring.local(described)
    return described, scoring.remote(server, described)


def _prepare(
    outputs: dict[str, Path],
    job: dict[str, Any],
    catalogue: str | Path,
    described: model_dir.Description,
    options: PredictOptions,
) -> tuple[list[str], int]:
    """Split the table into parts if needed; return the output's header and number of rows."""
    folder = jobs.folder_of(outputs["--output"])
    found = jobs.left_or_new(outputs, job, f"{folder}: contains an unfinished prediction")
    if found is not None:
        return list(found["written"]), found["rows"]
    shutil.rmtree(folder, ignore_errors=True)  # interrupted before its job file was written
    storage.make_folder(folder)
    try:
        written = _cut(folder, catalogue, described, options)
    except InputError:
        shutil.rmtree(folder)
        raise
    jobs.begin(folder, {**job, **written})
    return written["written"], written["rows"]


def _cut(
    folder: Path, catalogue: str | Path, described: model_dir.Description, options: PredictOptions
) -> dict[str, Any]:
    """Write the rows of every part; return the job's entries on the table."""
    schema = described.schema
    rows, names, columns, box, seller = 0, {}, [], [], ""
    for number, chunk in enumerate(table.chunks(catalogue, schema, False, ROWS_PER_PART)):
        if not number:
            columns = list(chunk.columns)
            names = header(columns, schema, str(catalogue))
            box = boxes.columns(options.box_columns, columns, schema, catalogue)
            seller = options.seller_column
            seller = seller and table.require_column(seller, columns, schema, str(catalogue))
        _write_rows(folder / f"{number:06}.rows.parquet", chunk)
        rows += len(chunk)
    return {
        "rows": rows,
        "columns": columns,
        "header": list(names),
        "written": list(names.values()),
        "box": box,
        "seller": seller,
    }


def _write_rows(path: Path, chunk: pd.DataFrame) -> None:
    """Write the cells and, as the last column, the row numbers."""
    arrays = [pa.array(chunk.iloc[:, i], pa.string()) for i in range(chunk.shape[1])]
    arrays.append(pa.array(chunk.index, pa.int64()))
    with storage.whole(path) as temporary:
        pq.write_table(pa.table(arrays, [str(i) for i in range(len(arrays))]), temporary)


def _join(
    parts: Sequence[str],
    names: list[str],
    output: Path,
    cells_output: str | Path | None,
    form: pa.Schema,
    folder: Path,
    escape_formulas: bool,
) -> PredictSummary:
    """Join the parts to one file per output, the filled table last: it marks the run as done."""
    summary = PredictSummary()
    for part in parts:
        summary.add(files.read_json(_beside(part, "counts.json"), "a part's counts"))
    if cells_output is not None:
        write = functools.partial(pq.ParquetWriter, schema=form, compression="zstd")
        with storage.whole(cells_output) as temporary, write(temporary) as writer:
            for part in parts:
                writer.write_table(files.read_table(_beside(part, "cells.parquet")))
    with storage.whole(output) as temporary, open(temporary, "wb") as file:
        first = io.StringIO(newline="")
        CsvWriter(first, escape_formulas).writerow(names)
        file.write(first.getvalue().encode())
        for part in parts:
            with open(_beside(part, "filled.csv"), "rb") as lines:
                shutil.copyfileobj(lines, file)
    jobs.remove(folder)
    return summary


def _beside(part: str, what: str) -> str:
    return part.replace(".rows.parquet", f".{what}")


def _done(part: str) -> bool:
    return storage.exists(_beside(part, "counts.json"))
