"""Build an index of the embeddings of a table's photos, part by part.

An interrupted build loses at most one part. During the build, parts/ contains job.json and, for
each part, its photos and then their embeddings.
"""

from __future__ import annotations

import functools
import io
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from attr_extractor import files, labels, ownership, storage, working_copy
from attr_extractor.catalogue import boxes, raw_files, table
from attr_extractor.catalogue.csv_rows import CsvWriter
from attr_extractor.enrichment import job as jobs
from attr_extractor.enrichment import scoring
from attr_extractor.enrichment.search import index as index_folder
from attr_extractor.enrichment.search import vectors
from attr_extractor.enrichment.search.query import Embedder
from attr_extractor.errors import InputError, require_file
from attr_extractor.schema import SEPARATOR, Schema
from attr_extractor.serving import model_dir

ROWS_PER_PART = 2048
_ERROR = "error"


@dataclass(frozen=True)
class _Job:
    """Content of job.json: only the same job resumes a build."""

    model: str  # ModelFolder.digest of the model
    fingerprint: str  # fingerprint of the schema
    catalogue: str  # digest of the table
    image_root: str
    box_columns: list[str]
    rows_per_part: int


@dataclass(frozen=True)
class _Part:
    """The photos of consecutive rows."""

    photos: pa.Table  # index_folder.photos_schema and `error`, including unreadable photos
    embeddings: np.ndarray  # float32 [P, D] of the readable photos


def build(
    model: str | Path,
    catalogue: str | Path,
    output_dir: str | Path,
    image_root: str | Path | None = None,
    box_columns: Sequence[str] = (),
) -> index_folder.IndexFacts:
    """Write an index folder. The same call resumes an interrupted build.

    Args:
      model: a version folder, or a folder of versions.
      catalogue: the table.
      output_dir: folder of the index.
      image_root: folder of the image paths; by default the table's folder.
      box_columns: four columns of the product box, if the records were built with one.

    Raises:
      InputError: if the model, the table or the folder cannot be used, if no photo could be read,
        or if the folder contains another unfinished index.
    """
    described = model_dir.describe(model)
    if not storage.is_remote(catalogue):
        require_file(catalogue, "the catalogue")
    root = raw_files.image_root_of(catalogue, image_root)
    job = _Job(
        model=described.digest(),
        fingerprint=described.facts.fingerprint,
        catalogue=files.digest(catalogue),
        image_root=root,
        box_columns=list(box_columns),
        rows_per_part=ROWS_PER_PART,
    )
    with working_copy.owned(output_dir, "the index") as output:
        parts = _prepare(output, job)
        if not (output / index_folder.FACTS).is_file():
            rows = _embed(described, catalogue, root, box_columns, parts)
            _join(output, parts, rows, job, described.schema)
        shutil.rmtree(parts)
        return index_folder.read_facts(output)


def _prepare(output: Path, job: _Job) -> Path:
    """Return the folder of parts, new or left by an interrupted run of the same build."""
    parts = output / index_folder.PARTS
    if jobs.is_interrupted(parts, asdict(job), f"{output}: contains an unfinished index"):
        return parts
    others = set(storage.names(output)) - {index_folder.PARTS}
    if not all(map(ownership.is_lock, others)):
        raise InputError(f"{output}: the index exists already; name a new folder or remove it")
    jobs.write_job(parts, asdict(job))
    return parts


def _embed(
    described: model_dir.ModelFolder,
    catalogue: str | Path,
    root: str,
    box_columns: Sequence[str],
    parts: Path,
) -> int:
    """Write the missing parts; return the number of rows of the table."""
    schema, rows, box = described.schema, 0, []
    embedder = functools.lru_cache(None)(lambda: Embedder(described.path))
    with tqdm(unit="row", desc="embedding") as bar:
        for number, chunk in enumerate(table.chunks(catalogue, schema, False, ROWS_PER_PART)):
            if not number:
                box = boxes.columns(box_columns, list(chunk.columns), schema, catalogue)
            name = parts / f"{number:06}"
            if not name.with_suffix(".npy").is_file():
                reader = scoring.Reader(root, described.facts.photo_short_side, tuple(box))
                part = _embed_rows(chunk, reader, embedder(), schema)
                files.write_table(name.with_suffix(".parquet"), part.photos)
                embeddings = io.BytesIO()
                np.save(embeddings, part.embeddings)
                storage.write(name.with_suffix(".npy"), embeddings.getvalue())
            rows += len(chunk)
            bar.update(len(chunk))
    return rows


def _embed_rows(
    chunk: pd.DataFrame, reader: scoring.Reader, embedder: Embedder, schema: Schema
) -> _Part:
    """Read and embed the photos of consecutive rows."""
    rows, first = table.cells_of(chunk), int(chunk.index[0])
    listed: list[tuple[int, str, int]] = []  # row within the part, path, photo index
    errors: list[str] = []
    waiting: list[tuple[int, bytes]] = []
    embeddings: list[np.ndarray] = []

    def flush(size: int) -> None:
        while waiting and len(waiting) >= size:
            batch = waiting[: scoring.BATCH]
            del waiting[: scoring.BATCH]
            embedding, reasons = embedder.stored([encoded for _, encoded in batch])
            for (number, _), reason in zip(batch, reasons):
                errors[number] = reason
            embeddings.append(embedding[[not reason for reason in reasons]])

    batches = scoring.read_ahead(scoring.in_batches(rows), reader.read)
    for batch, (_, photos) in enumerate(batches):
        before, index = -1, 0
        for within, encoded, reason in photos:
            index = index + 1 if within == before else 0
            before, row = within, batch * scoring.BATCH + within
            path = [*table.image_paths(rows[row][table.IMAGE]), ""][index]
            if not reason:
                waiting.append((len(listed), encoded))
            listed.append((row, path, index))
            prefix = f"{path}: "
            errors.append(reason[len(prefix) :] if reason.startswith(prefix) else reason)
        flush(scoring.BATCH)
    flush(1)
    seller = _seller_cells(chunk, schema)
    at = [row for row, _, _ in listed]
    columns = {
        index_folder.ROW: [first + row for row in at],
        index_folder.PRODUCT: [rows[row][table.PRODUCT_ID] for row in at],
        index_folder.IMAGE: [path for _, path, _ in listed],
        index_folder.IMAGE_INDEX: [index for _, _, index in listed],
        **{name: [cells[row] for row in at] for name, cells in seller.items()},
        _ERROR: errors,
    }
    columns_schema = index_folder.photos_schema(schema).append(pa.field(_ERROR, pa.string()))
    joined = np.concatenate(embeddings) if embeddings else np.zeros([0, 0], np.float32)
    return _Part(pa.table(columns, schema=columns_schema), joined)


def _seller_cells(chunk: pd.DataFrame, schema: Schema) -> dict[str, list[str]]:
    """Return each attribute's column of the seller's known values, in the schema's spelling."""
    result = {}
    for attribute in schema.attributes:
        cells = chunk[attribute.name] if attribute.name in chunk else [""] * len(chunk)
        known: dict[str, str] = {}
        for cell in set(cells):
            values = labels.parse(attribute, cell, schema)[0]
            known[cell] = SEPARATOR.join(attribute.values[value] for value in values)
        result[index_folder.seller_column(attribute.name)] = [known[cell] for cell in cells]
    return result


def _join(output: Path, parts_dir: Path, rows: int, job: _Job, schema: Schema) -> None:
    """Join the parts: photos to one table, embeddings to one index; write the description last."""
    names = sorted(path.with_suffix("") for path in parts_dir.glob("*.npy"))
    sizes = [len(np.load(f"{name}.npy", mmap_mode="r")) for name in names]
    count = sum(sizes)
    if not count:
        reason = _first_reason(names)
        shutil.rmtree(parts_dir)  # nothing to resume, and the next run may have another image root
        raise InputError(
            f"{output}: no photo could be read ({rows:,} rows); check --image_root. "
            f"The first: {reason}"
        )
    width = next(
        np.load(f"{name}.npy", mmap_mode="r").shape[1] for name, size in zip(names, sizes) if size
    )
    starts = np.cumsum([0, *sizes])

    def parts() -> Iterator[np.ndarray]:
        return (np.load(f"{name}.npy") for name, size in zip(names, sizes) if size)

    def sample(numbers: np.ndarray) -> np.ndarray:
        chosen = np.empty([len(numbers), width], np.float32)
        for i, name in enumerate(names):
            first, last = np.searchsorted(numbers, starts[i : i + 2])
            if first < last:
                stored = np.load(f"{name}.npy", mmap_mode="r")
                chosen[first:last] = stored[numbers[first:last] - starts[i]]
        return chosen

    kind = vectors.kind_for(count)
    index = vectors.build(kind, count, width, parts(), sample)
    vectors.write(index, output / index_folder.VECTORS)
    with_photo, rejects = _join_tables(output, names, schema)
    facts = index_folder.IndexFacts(
        model=job.model,
        fingerprint=job.fingerprint,
        kind=kind,
        width=width,
        rows=rows,
        photos=count,
        rows_with_photo=with_photo,
        rejects=rejects,
        image_root=job.image_root,
        bytes=(output / index_folder.VECTORS).stat().st_size,
    )
    files.write_json(output / index_folder.FACTS, facts.model_dump())


def _join_tables(output: Path, names: Sequence[Path], schema: Schema) -> tuple[int, int]:
    """Write photos.parquet and rejects.csv; return the numbers of rows with a photo and rejects."""
    with_photo = rejects = 0
    photos_schema = index_folder.photos_schema(schema)
    with (
        storage.whole(output / index_folder.REJECTS) as rejected,
        open(rejected, "w", encoding="utf-8", newline="") as file,
        storage.whole(output / index_folder.PHOTOS) as temporary,
        pq.ParquetWriter(temporary, photos_schema, compression="zstd") as writer,
    ):
        lines = CsvWriter(file)
        lines.writerow(index_folder.REJECT_COLUMNS)
        for name in names:
            part = files.read_table(f"{name}.parquet")
            errors = np.array(part[_ERROR].to_pylist(), object)
            failed = part.filter(pa.array(errors != ""))
            wanted = [index_folder.ROW, index_folder.PRODUCT, index_folder.IMAGE, _ERROR]
            lines.writerows(zip(*(failed[column].to_pylist() for column in wanted)))
            read = part.filter(pa.array(errors == "")).drop_columns([_ERROR])
            writer.write_table(read)
            with_photo += len(read[index_folder.ROW].unique())
            rejects += len(failed)
    return with_photo, rejects


def _first_reason(names: Sequence[Path]) -> str:
    part = files.read_table(f"{names[0]}.parquet")
    return " ".join(part[column][0].as_py() for column in (index_folder.IMAGE, _ERROR)).strip()
