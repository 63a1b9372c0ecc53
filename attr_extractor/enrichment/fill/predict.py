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
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Dict, List, Tuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pydantic
from tqdm import tqdm

from attr_extractor import files, labels, storage, yaml_files
from attr_extractor.catalogue import boxes, raw_files, table
from attr_extractor.catalogue import texts as texts_of
from attr_extractor.catalogue.csv_rows import CsvWriter
from attr_extractor.enrichment import cells, scoring
from attr_extractor.enrichment import job as jobs
from attr_extractor.enrichment.fill.fill import Filled, Filler, written_names
from attr_extractor.errors import InputError, require_file
from attr_extractor.evaluation.context import names_of
from attr_extractor.model import evidence
from attr_extractor.records.runner import Runner
from attr_extractor.schema import Schema
from attr_extractor.serving import model_dir
from attr_extractor.yaml_files import Count

ROWS_PER_PART = 2048
BATCHES_FILLED = 8  # per call of `fill` (256 rows), to reduce its overhead per call


class PredictOptions(yaml_files.Model):
    """Settings of a prediction."""

    answer: str = "threshold"  # or "best": always the best value
    box_columns: Annotated[Tuple[str, ...], pydantic.Strict(False)] = ()  # JSON has only lists
    seller_column: str = ""
    sure: float = 0.9  # score from which the model contradicts a seller
    # "photo", "known" (other cells) and "text"; empty: all that the model and the table have
    use: Annotated[Tuple[str, ...], pydantic.Strict(False)] = ()
    server: str = ""  # grpc://HOST:PORT/MODEL, instead of the model in memory
    escape_formulas: bool = False  # see `csv_rows.write_csv`

    @pydantic.field_validator("sure")
    @classmethod
    def _sure_excludes_two_values(cls, sure: float) -> float:
        if not 0.5 < sure <= 1:
            raise InputError(f"--sure={sure}: must be above 0.5 and at most 1")
        return sure


class _Settings(yaml_files.Model):
    """What the finished parts of an interrupted prediction depend on, and its outputs."""

    model_config = pydantic.ConfigDict(protected_namespaces=())

    model: str  # resolved path of the version folder
    model_description: str  # digest
    weights: str  # digest
    fingerprint: str
    catalogue: str  # digest
    image_root: str
    with_cells: bool
    set_of_outputs: Dict[str, str]
    cells: List[str]  # columns of the cells, which differ between releases
    options: PredictOptions


class _TableLayout(yaml_files.Model):
    """Columns and size of the table, and columns of the output."""

    rows: Count
    columns: List[str]  # of the table, by internal name
    header: List[str]  # of the output, by internal name
    written: List[str]  # of the output, as written
    box: List[str]  # columns of product boxes, by internal name
    seller: str  # column of the seller, by internal name; "" without
    context: List[str]  # what scores use besides photos: "known", "text"
    text: List[str]  # text columns, by internal name


class _Job(_Settings, _TableLayout):
    """The content of job.json."""

    @classmethod
    def read(cls, folder: str) -> _Job:
        origin = storage.join(folder, jobs.FILE)
        return yaml_files.validate(cls, jobs.read_job(folder), origin)


class _PartCounts(yaml_files.Model):
    """The content of a part's counts.json."""

    rows: Count
    rows_with_error: Count
    sources: Dict[str, Count]


@dataclass
class PredictSummary:
    """Counts of a filled table."""

    rows: int = 0
    rows_with_error: int = 0
    cells: Counter[str] = field(default_factory=Counter)  # by source


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
    outputs = {"--output": str(output)}
    if cells_output is not None:
        outputs["--cells"] = str(cells_output)
    with jobs.lock_outputs(outputs):
        return _predict(model, catalogue, outputs, image_root, options, runner)


def _predict(
    model: str | Path,
    catalogue: str | Path,
    outputs: dict[str, str],
    image_root: str | Path | None,
    options: PredictOptions,
    runner: Runner | None,
) -> PredictSummary:
    """Run `predict` on locked outputs, given by flag."""
    described = model_dir.describe(model)
    if not storage.is_remote(catalogue):
        require_file(catalogue, "the catalogue")
    settings = _Settings(
        model=storage.resolve(described.origin),
        model_description=described.description_digest(),
        weights=described.digest(),
        fingerprint=described.facts.fingerprint,
        image_root=raw_files.image_root_of(catalogue, image_root),
        catalogue=files.digest(catalogue),
        with_cells="--cells" in outputs,
        set_of_outputs=jobs.relative_paths(outputs),
        cells=cells.SCHEMA.names,
        options=options,
    )
    folder = jobs.parts_folder(outputs["--output"])
    job = _start_or_resume(folder, outputs, settings, catalogue, described)
    rows = [name for name in storage.names(folder) if name.endswith(".rows.parquet")]
    parts = [storage.join(folder, name) for name in rows]
    todo = [part for part in parts if not storage.exists(_file_of(part, "counts.json"))]
    if runner is None:
        finished = job.rows - sum(len(files.read_table(part)) for part in todo)
        with tqdm(total=job.rows, initial=finished, unit="row", desc="filling") as bar:
            for part in todo:
                fill_part(part, bar.update)
    else:
        runner.run(fill_part, todo, "filling")
    if settings.with_cells:
        metadata = cells.MadeBy.metadata(described.facts)
        _join_cells(parts, outputs["--cells"], cells.SCHEMA.with_metadata(metadata))
    # the filled table is last: it marks the run as finished
    _join_table(parts, outputs["--output"], job.written, options.escape_formulas)
    summary = _summary(parts)
    jobs.remove_job(folder)
    return summary


def fill_part(part: str, progress: Callable[[int], Any] = lambda rows: None) -> None:
    """Fill the rows of a part and write its files; the counts are last and mark it as finished."""
    job = _Job.read(storage.parent(part))
    options = job.options
    raw_files.require_root(job.image_root)  # on another host a folder may be missing
    described, score, context = _scorer(job.model, job.model_description, options.server)
    reader = scoring.Reader(job.image_root, described.facts.photo_short_side, tuple(job.box))
    filler = Filler(
        described.answers,
        always=options.answer == "best",
        sure=options.sure,
        seller=job.seller,
        box=job.box,
        with_cells=job.with_cells,
    )
    # columns by position: two may have no name, or a name may be invalid in Parquet
    *arrays, numbers = files.read_table(part).columns
    columns = dict(zip(job.columns, (array.to_pylist() for array in arrays)))
    first = numbers[0].as_py()
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    lines, tables = io.StringIO(newline=""), []
    writer = CsvWriter(lines, options.escape_formulas)
    sources: Counter[str] = Counter()
    rows_with_error = 0
    batches = scoring.in_batches(rows)
    scored = scoring.pooled(batches, reader.read, score, described.schema.num_values)
    present, texts = _context(job, described.schema, columns, len(rows))
    with ThreadPoolExecutor(1) as pool:  # filling overlaps with the model

        def fill(start: int, scores: scoring.Scores) -> Future[Filled]:
            end = start + len(scores.errors)
            batch = {name: column[start:end] for name, column in columns.items()}
            shares = None
            if context is not None and job.context:
                known = present[start:end], texts[start:end]
                scores = scores._replace(scores=context.combine(scores.scores, *known))
                shares = functools.partial(context.shares, *known)
            return pool.submit(filler.fill, batch, first + start, *scores, shares)

        filling = [fill(start, scores) for start, scores in _groups(scored, progress)]
    for filled in (future.result() for future in filling):
        writer.writerows(zip(*(filled.columns[name] for name in job.header)))
        tables.append(filled.cells)
        sources += filled.sources
        rows_with_error += filled.rows_with_error
    storage.write(_file_of(part, "filled.csv"), lines.getvalue().encode(), workers=True)
    if job.with_cells:
        with storage.whole(_file_of(part, "cells.parquet"), workers=True) as temporary:
            pq.write_table(pa.concat_tables(tables), temporary, compression="zstd")
    counts = _PartCounts(rows=len(rows), rows_with_error=rows_with_error, sources=dict(sources))
    storage.write(_file_of(part, "counts.json"), counts.model_dump_json().encode(), workers=True)


def _context(
    job: _Job, schema: Schema, columns: dict[str, list[str]], rows: int
) -> tuple[np.ndarray, list[str]]:
    """Return what is known of each row besides its photos: cells bool [R, V], and texts.

    A contradictory cell is not used; see `labels.encode`.
    """
    present, texts = np.zeros([rows, schema.num_values], bool), [""] * rows
    if evidence.KNOWN in job.context:
        given = {name: columns[name] for name in schema.names if name in columns}
        present = labels.Encoder(schema).encode(given, rows).labels == labels.PRESENT
    if evidence.TEXT in job.context:
        texts = texts_of.of_rows(pd.DataFrame(columns, dtype=object), job.text)
    return present, texts


def _groups(
    scored: Iterator[scoring.Scores], progress: Callable[[int], Any]
) -> Iterator[tuple[int, scoring.Scores]]:
    """Yield groups of batches of `scoring.pooled`, each with its first row, from 0."""

    def reported() -> Iterator[scoring.Scores]:
        for batch in scored:
            progress(len(batch.errors))
            yield batch

    start, batches = 0, reported()
    while group := list(itertools.islice(batches, BATCHES_FILLED)):
        scores, errors = zip(*group)
        joined = scoring.Scores(np.concatenate(scores), list(itertools.chain(*errors)))
        yield start, joined
        start += len(joined.errors)


@functools.lru_cache(maxsize=1)  # load the model once per worker process
def _scorer(
    model: str, description: str, server: str
) -> tuple[model_dir.ModelFolder, scoring.Scorer, scoring.Context | None]:
    described = model_dir.describe(model) if server else model_dir.load(model)
    if described.description_digest() != description:
        raise InputError(f"{model}: exported again during the prediction; restart the prediction")
    if isinstance(described, model_dir.ExportedModel):
        context = scoring.local_context(described) if described.context else None
        return described, scoring.local(described), context
    context = scoring.remote_context(server, described) if described.context else None
    return described, scoring.remote(server, described), context


def _start_or_resume(
    folder: str,
    outputs: dict[str, str],
    settings: _Settings,
    catalogue: str | Path,
    described: model_dir.ModelFolder,
) -> _Job:
    """Return the interrupted job; without one, split the table into parts and write a job."""
    problem = f"{folder}: contains an unfinished prediction"
    if jobs.require_resumable_or_new(outputs, settings.model_dump(mode="json"), problem):
        return _Job.read(folder)
    storage.remove_folder(folder)  # of a job that was interrupted before its job file was written
    storage.make_folder(folder)
    try:
        layout = _split_table(folder, catalogue, described, settings.options)
    except InputError:
        storage.remove_folder(folder)
        raise
    job = _Job(**dict(settings), **dict(layout))
    jobs.write_job(folder, job.model_dump(mode="json"))
    return job


def _split_table(
    folder: str, catalogue: str | Path, described: model_dir.ModelFolder, options: PredictOptions
) -> _TableLayout:
    """Write the rows of every part."""
    schema, seller = described.schema, options.seller_column
    rows, columns, box = 0, [], []
    context: list[str] = []
    text: list[str] = []
    names: dict[str, str] = {}
    for number, chunk in enumerate(table.chunks(catalogue, schema, False, ROWS_PER_PART)):
        if not number:
            columns = list(chunk.columns)
            names = written_names(columns, schema, str(catalogue))
            box = boxes.columns(options.box_columns, columns, schema, catalogue)
            seller = seller and table.require_column(seller, columns, schema, str(catalogue))
            context, text = _inputs(described, options.use, columns, str(catalogue))
        _write_rows(storage.join(folder, f"{number:06}.rows.parquet"), chunk)
        rows += len(chunk)
    return _TableLayout(
        rows=rows,
        columns=columns,
        header=list(names),
        written=list(names.values()),
        box=box,
        seller=seller,
        context=context,
        text=text,
    )


def _inputs(
    described: model_dir.ModelFolder, use: Sequence[str], columns: list[str], catalogue: str
) -> tuple[list[str], list[str]]:
    """Return what scores use besides photos, and the text columns, by internal name."""
    context = described.context
    if use:
        context = names_of(use, context, described.origin)
    if evidence.TEXT not in context:
        return context, []
    # a table to be filled may have no title
    text = texts_of.columns(columns, described.schema, catalogue, required=bool(use))
    return context if text else [name for name in context if name != evidence.TEXT], text


def _write_rows(path: str, chunk: pd.DataFrame) -> None:
    """Write the cells and, as the last column, the row numbers."""
    arrays = [pa.array(chunk.iloc[:, i], pa.string()) for i in range(chunk.shape[1])]
    arrays.append(pa.array(chunk.index, pa.int64()))
    with storage.whole(path) as temporary:
        pq.write_table(pa.table(arrays, [str(i) for i in range(len(arrays))]), temporary)


def _join_cells(parts: Sequence[str], output: str, schema: pa.Schema) -> None:
    open_writer = functools.partial(pq.ParquetWriter, schema=schema, compression="zstd")
    with storage.whole(output) as temporary, open_writer(temporary) as writer:
        for part in parts:
            writer.write_table(files.read_table(_file_of(part, "cells.parquet")))


def _join_table(
    parts: Sequence[str], output: str, header: Sequence[str], escape_formulas: bool
) -> None:
    first = io.StringIO(newline="")
    CsvWriter(first, escape_formulas).writerow(header)
    with storage.whole(output) as temporary, open(temporary, "wb") as file:
        file.write(first.getvalue().encode())
        for part in parts:
            with storage.open_read(_file_of(part, "filled.csv")) as lines:
                shutil.copyfileobj(lines, file)


def _summary(parts: Sequence[str]) -> PredictSummary:
    summary = PredictSummary()
    for part in parts:
        path = _file_of(part, "counts.json")
        counts = yaml_files.validate(_PartCounts, files.read_json(path, "a part's counts"), path)
        summary.rows += counts.rows
        summary.rows_with_error += counts.rows_with_error
        summary.cells.update(counts.sources)
    return summary


def _file_of(part: str, name: str) -> str:
    """Return the path of a file of a part, which is named by its file of rows."""
    return part.replace(".rows.parquet", f".{name}")
