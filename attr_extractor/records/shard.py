"""One shard, written whole by one process: products in, a TFRecord file and its statistics out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from attr_extractor import labels
from attr_extractor.catalogue import photos, table
from attr_extractor.records import example
from attr_extractor.schema import Schema


@dataclass(frozen=True)
class Task:
    """Where to write what. `products` has the table's columns, indexed by row number."""

    path: Path
    products: pd.DataFrame
    image_root: Path
    image_size: int
    schema: Schema


@dataclass
class Result:
    """What came of a task."""

    name: str
    present: np.ndarray  # int64[V], photos with each value
    states: np.ndarray  # int64[T, 3], photos answered, not applicable, missing
    records: int = 0
    bytes: int = 0
    rows: list[int] = field(default_factory=list)  # row numbers of the products written
    rejects: list[tuple[int, str, str, str]] = field(default_factory=list)  # photo by photo
    issues: list[tuple[int, str, str, str, str, str]] = field(default_factory=list)

    @property
    def products(self) -> int:
        """Products written."""
        return len(self.rows)


def write(task: Task) -> Result:
    """Writes the shard of a task under a temporary name and renames it when it is whole."""
    schema = task.schema
    result = Result(
        name=task.path.name,
        present=np.zeros(schema.num_values, np.int64),
        states=np.zeros([len(schema.attributes), 3], np.int64),
    )
    temporary = task.path.with_name(task.path.name + ".tmp")
    with tf.io.TFRecordWriter(str(temporary)) as writer:
        for row, cells in zip(task.products.index, table.cells_of(task.products)):
            product_id = cells[table.PRODUCT_ID]
            codes, issues = labels.encode(schema, cells)
            written = 0
            for index, path in enumerate(table.image_paths(cells[table.IMAGE])):
                try:
                    photo = photos.store(photos.read_raw(task.image_root, path), task.image_size)
                except photos.PhotoError as error:
                    result.rejects.append((row, product_id, path, str(error)))
                    continue
                record = {
                    "image/encoded": photo.encoded,
                    "image/height": photo.height,
                    "image/width": photo.width,
                    "image/index": index,
                    "product_id": product_id.encode(),
                    "labels": codes,
                }
                writer.write(example.serialize(record))
                written += 1
            if written:
                result.rows.append(row)
                result.records += written
                result.present += written * (codes == labels.PRESENT)
                result.states += written * _states(schema, codes)
                result.issues += [
                    (row, product_id, i.attribute, i.cell, i.kind, i.nearest) for i in issues
                ]
    temporary.replace(task.path)
    result.bytes = task.path.stat().st_size
    return result


def _states(schema: Schema, codes: np.ndarray) -> np.ndarray:
    """int64[T, 3]: one-hot rows for answered, not applicable, missing."""
    states = np.zeros([len(schema.attributes), 3], np.int64)
    for t, where in enumerate(schema.slices.values()):
        part = codes[where]
        answered = (part == labels.PRESENT).any()
        missing = (part == labels.MISSING).all()
        states[t, 0 if answered else 2 if missing else 1] = 1
    return states
