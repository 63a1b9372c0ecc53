"""A table's empty cells, filled by an exported model; what the seller wrote stays as it is.

Every input column is kept. Per attribute `<name>_confidence` and `<name>_source` are added, and
`error`: why a row's photos could not be read.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from attr_extractor import labels
from attr_extractor.catalogue import boxes, photos, table
from attr_extractor.errors import InputError, require_folder, require_new_file
from attr_extractor.model.answers import MAX_ANSWERS
from attr_extractor.schema import SEPARATOR, Attribute, Schema
from attr_extractor.serving.model_dir import ExportedModel, load

ROWS_PER_BATCH = 32
READ_AHEAD = 3  # batches
ERROR = "error"
SELLER, MODEL, NO_ANSWER, NOT_APPLICABLE = "seller", "model", "no answer", "not applicable"


@dataclass
class Summary:
    """What came of a table."""

    rows: int = 0
    rows_with_error: int = 0
    cells: Counter[str] = field(default_factory=Counter)  # by source


def fill(
    model_path: str | Path,
    catalogue: str | Path,
    output: str | Path,
    image_root: str | Path | None = None,
    answer: Literal["threshold", "best"] = "threshold",
    box_columns: Sequence[str] = (),
) -> Summary:
    """Writes the filled table, in the order of the input.

    Args:
      answer: `threshold` leaves a cell empty where no score is above the threshold; `best` always
        gives the best value.

    Raises:
      InputError: the model, the table or the output cannot be used.
    """
    output = require_new_file(output, "--output")
    model = load(model_path)
    schema = model.schema
    rows = table.read_catalogue(catalogue, schema, require_all=False)
    root = require_folder(image_root or Path(catalogue).parent, "the image root")
    header = _header(rows, schema, catalogue)
    box = boxes.columns(box_columns, rows.columns, schema, catalogue)

    summary = Summary()
    temporary = output.with_name(output.name + ".tmp")
    with _writable(temporary) as file:
        writer = csv.DictWriter(file, list(header.values()), lineterminator="\n")
        writer.writeheader()
        progress = tqdm(total=len(rows), unit="row", desc="filling")
        for batch, scores, errors in _scored(model, rows, root, box):
            for row in _filled(model, batch, scores, errors, answer, summary):
                writer.writerow({header[name]: cell for name, cell in row.items()})
            progress.update(len(batch))
        progress.close()
    temporary.replace(output)
    return summary


def _writable(path: Path) -> TextIO:
    try:
        return open(path, "w", newline="", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: the output cannot be written: {error.strerror}") from error


def _header(rows: pd.DataFrame, schema: Schema, catalogue: str | Path) -> dict[str, str]:
    """Our name of every output column -> the name it is written under."""
    names = [*rows.columns, *(name for name in schema.names if name not in rows.columns)]
    added = [f"{name}_{what}" for name in schema.names for what in ("confidence", "source")]
    columns = [schema.column(name) for name in names]
    for name in [*added, ERROR]:
        if name in columns or name in names:
            raise InputError(
                f"{catalogue}: the column {name!r} is one that the filled table adds; rename it"
            )
    return dict(zip(names, columns)) | {n: n for n in [*added, ERROR]}


def _scored(
    model: ExportedModel, rows: pd.DataFrame, root: Path, box: Sequence[str]
) -> Iterator[tuple[list[dict[str, str]], np.ndarray, list[str]]]:
    """Batches of rows with pooled scores float32 [rows, V] and what was wrong with their photos.

    Photos of one product are pooled by the mean of their scores. The next batches are read from
    disk while the model works on this one.
    """
    records = table.cells_of(rows)
    starts = range(0, len(records), ROWS_PER_BATCH)
    with ThreadPoolExecutor(max_workers=READ_AHEAD) as pool:

        def read(start: int) -> list[tuple[int, bytes, str]]:
            batch = records[start : start + ROWS_PER_BATCH]
            return _read_photos(batch, root, model.facts.photo_short_side, box)

        # not pool.map: it would read the whole table's photos ahead of the model, into memory
        ahead = deque(pool.submit(read, start) for start in starts[:READ_AHEAD])
        for i, start in enumerate(starts):
            found = ahead.popleft().result()
            ahead.extend(pool.submit(read, s) for s in starts[i + READ_AHEAD : i + READ_AHEAD + 1])
            batch = records[start : start + ROWS_PER_BATCH]
            yield (batch, *_pool(model, len(batch), found))


def _read_photos(
    batch: list[dict[str, str]], root: Path, short_side: int, box: Sequence[str]
) -> list[tuple[int, bytes, str]]:
    """(row in the batch, stored photo, "") or (row, b"", reason) of every photo listed."""
    found = []
    for i, row in enumerate(batch):
        paths = table.image_paths(row[table.IMAGE])
        if not paths:
            found.append((i, b"", "no image named"))
        of_photos = boxes.of_photos(boxes.join([row[column] for column in box]), len(paths))
        for path, cells in zip(paths, of_photos):
            try:
                raw = photos.read_raw(root, path)
                photo = photos.store(raw, short_side, photos.parse_box(cells))
                found.append((i, photo.encoded, ""))
            except photos.PhotoError as error:
                found.append((i, b"", f"{path}: {error}"))
    return found


def _pool(
    model: ExportedModel, size: int, found: list[tuple[int, bytes, str]]
) -> tuple[np.ndarray, list[str]]:
    """Mean scores float32 [size, V], NaN for a row without a readable photo; errors per row."""
    stored = [(i, encoded) for i, encoded, _ in found if encoded]
    reasons = [(i, reason) for i, _, reason in found if reason]
    pooled = np.full([size, model.schema.num_values], np.nan, np.float32)
    if stored:
        result = model.signatures["scores"](image_bytes=tf.constant([e for _, e in stored]))
        refused = [error.decode() for error in result["error"].numpy()]
        reasons += [(i, error) for (i, _), error in zip(stored, refused) if error]
        by_row: dict[int, list[np.ndarray]] = defaultdict(list)
        for (i, _), scores, error in zip(stored, result["scores"].numpy(), refused):
            if not error:
                by_row[i].append(scores)
        for i, of_photos in by_row.items():
            pooled[i] = np.mean(of_photos, axis=0)
    return pooled, ["; ".join(reason for j, reason in reasons if j == i) for i in range(size)]


def _filled(
    model: ExportedModel,
    batch: list[dict[str, str]],
    scores: np.ndarray,
    errors: list[str],
    answer: str,
    summary: Summary,
) -> Iterator[dict[str, str]]:
    """The rows of a batch with their cells filled, in order; counts them in the summary."""
    schema = model.schema
    given = [labels.encode_category(schema, row.get(schema.category, ""))[0] for row in batch]
    chosen = model.answers.chosen(
        tf.constant(np.nan_to_num(scores)),
        category=tf.constant([-1 if c is None else c for c in given]),
        always=answer == "best",
    ).numpy()
    chosen &= np.isfinite(scores)  # a row without a readable photo has no answer
    for row, category, row_scores, row_chosen, error in zip(batch, given, scores, chosen, errors):
        filled = dict(row)
        for attribute in schema.attributes:
            name, where = attribute.name, schema.slices[attribute.name]
            cell, confidence, source = _cell(
                schema, attribute, row.get(name, ""), category, row_scores[where], row_chosen[where]
            )
            filled[name] = cell
            filled[f"{name}_confidence"] = f"{confidence:.4f}" if np.isfinite(confidence) else ""
            filled[f"{name}_source"] = source
            summary.cells[source] += 1
        filled[ERROR] = error
        summary.rows += 1
        summary.rows_with_error += bool(error)
        yield filled


def _cell(
    schema: Schema,
    attribute: Attribute,
    cell: str,
    category: int | None,
    scores: np.ndarray,
    chosen: np.ndarray,
) -> tuple[str, float, str]:
    """Text, confidence and source of one cell.

    The confidence is the lowest score among the cell's values, NaN where there is none: a cell is
    no surer than its least sure value.

    Args:
      scores: float32 [V_t], NaN where no photo could be read.
      chosen: bool [V_t].
    """
    if not schema.is_missing(cell):
        values = labels.parse(attribute, cell, schema)[0]
        return cell, float(scores[values].min()) if values else np.nan, SELLER
    if category is not None and not schema.allowed[category, schema.slices[attribute.name]].any():
        return cell, np.nan, NOT_APPLICABLE
    best_first = [v for v in np.argsort(-scores, kind="stable") if chosen[v]][:MAX_ANSWERS]
    if not best_first:
        return cell, np.nan, NO_ANSWER
    text = SEPARATOR.join(attribute.values[v] for v in best_first)
    return text, float(scores[best_first[-1]]), MODEL
