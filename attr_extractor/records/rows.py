"""Read and check the seller's table in chunks, in one pass.

Texts are kept as Arrow columns, and labels in a file with int8[V] per row: a million rows of 49
attributes need far less than a GiB of memory. All contradictions are known before a photo is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from attr_extractor import labels, storage
from attr_extractor.catalogue import boxes, table
from attr_extractor.catalogue import texts as texts_of
from attr_extractor.catalogue.csv_rows import CsvWriter
from attr_extractor.schema import SEPARATOR, Schema

ISSUES = ("row", "product_id", "attribute", "cell", "issue", "nearest")
COLUMNS = pa.schema(
    [
        ("number", pa.int64()),  # row of the table, from 1
        ("product_id", pa.string()),
        ("image", pa.string()),  # the cell: paths separated by |
        ("box", pa.string()),  # four cells of the product box, joined; "" if none
        ("group", pa.string()),  # rows of one group share a split; by default the product
        ("split", pa.string()),  # cell of the split column; "" without one
        ("category", pa.int64()),  # position; -1 if unknown
        ("text", pa.string()),  # see `texts.join`; "" without text columns
    ]
)
BOX = pa.list_(pa.string())
CELLS_LISTED = 100_000  # distinct cells with an issue that are counted individually


class Reject(NamedTuple):
    """A row, or a photo of a row, that was not used."""

    row: int  # from 1; 0 for a photo whose product is not in the table
    product_id: str
    image: str
    reason: str


@dataclass
class Findings:
    """Counts over the usable rows, for C categories and last for rows without a known category."""

    states: np.ndarray  # int64 [C + 1, T, 3], rows: answered, not applicable, missing
    present: np.ndarray  # int64 [C + 1, V], rows with each value
    issues: Counter[str] = field(default_factory=Counter)  # cells by kind of issue
    cells: Counter[labels.Issue] = field(default_factory=Counter)  # the first CELLS_LISTED


@dataclass
class Rows:
    """The R usable rows: each has a unique product and at least one photo."""

    texts: pa.Table  # COLUMNS
    labels_file: Path  # int8 [R, V]
    num_values: int  # V
    read: int  # rows of the table, usable or not
    rejects: list[Reject]
    findings: Findings

    def labels(self, positions: np.ndarray) -> np.ndarray:
        """Return int8 [n, V], the labels of the rows at the given positions."""
        # read instead of memory-mapped, because mapped pages count as memory of this process
        found = np.empty([len(positions), self.num_values], np.int8)
        with open(self.labels_file, "rb", buffering=0) as file:
            for labels_of_row, position in zip(found, positions.tolist()):
                file.seek(position * self.num_values)
                file.readinto(labels_of_row.data)
        return found


def read_rows(
    catalogue: str | Path,
    schema: Schema,
    scratch: Path,
    group_column: str | None = None,
    split_column: str | None = None,
    box_columns: Sequence[str] = (),
) -> Rows:
    """Read and check the whole table; write labels.int8 and label_issues.csv into `scratch`.

    Raises:
      InputError: if the table is unreadable, or a column named by the schema or a flag is missing.
    """
    encoder = labels.Encoder(schema)
    num_categories, num_attributes = len(schema.allowed), len(schema.attributes)
    findings = Findings(
        states=np.zeros([num_categories + 1, num_attributes, 3], np.int64),
        present=np.zeros([num_categories + 1, schema.num_values], np.int64),
    )
    texts, rejects, number_read = [COLUMNS.empty_table()], [], 0
    seen: set[str] = set()
    with (
        storage.writable(scratch),
        open(scratch / "labels.int8", "wb") as labels_file,
        open(scratch / "label_issues.csv", "w", newline="", encoding="utf-8") as issues_file,
        tqdm(unit="row", desc="reading the table") as progress,
    ):
        issues = CsvWriter(issues_file)
        issues.writerow(ISSUES)
        for chunk in table.chunks(catalogue, schema):
            group, split = (
                c and table.require_column(c, chunk.columns, schema, catalogue)
                for c in (group_column, split_column)
            )
            box = boxes.columns(box_columns, chunk.columns, schema, catalogue)
            text = texts_of.columns(chunk.columns, schema, str(catalogue))
            kept, not_usable = usable(chunk, seen)
            rejects += not_usable
            number_read += len(chunk)
            cells = {name: kept[name].tolist() for name in schema.names}
            encoded = encoder.encode(cells, len(kept))
            labels_file.write(encoded.labels.tobytes())
            texts.append(_texts(kept, encoded.category, group, split, box, text))
            _count(findings, schema, encoded)
            products, numbers = kept[table.PRODUCT_ID].tolist(), kept.index.tolist()
            for row, i in encoded.issues:
                issue = (i.attribute, i.cell, i.kind, i.nearest)
                issues.writerow((numbers[row], products[row], *issue))
            progress.update(len(chunk))
    return Rows(
        texts=pa.concat_tables(texts).combine_chunks(),
        labels_file=scratch / "labels.int8",
        num_values=schema.num_values,
        read=number_read,
        rejects=rejects,
        findings=findings,
    )


def usable(chunk: pd.DataFrame, seen: set[str]) -> tuple[pd.DataFrame, list[Reject]]:
    """Return the rows of a chunk with a new product and a photo, and the rejected rows.

    Args:
      seen: products of earlier chunks; the products of this chunk are added.
    """
    products = chunk[table.PRODUCT_ID].str.strip()
    rejects: list[Reject] = []
    keep = np.zeros(len(chunk), bool)
    for i, (number, product, image) in enumerate(zip(chunk.index, products, chunk[table.IMAGE])):
        if not product:
            reason = "no product_id"
        elif not table.image_paths(image):
            reason = "no image named"
        elif product in seen:
            reason = "product_id stands twice; only its first row counts"
        else:
            keep[i] = True
            seen.add(product)
            continue
        rejects.append(Reject(number, product, image, reason))
    return chunk.assign(**{table.PRODUCT_ID: products})[keep], rejects


def photos_of(texts: pa.Table) -> pa.Table:
    """Return the photos of the given rows, in order.

    Args:
      texts: COLUMNS, R rows.

    Returns:
      `owner`, the position of the photo's row; `image`, its path; `image_index`, from 0 within the
      product; `box`, the four cells of the photo's product box, or none.
    """
    cells = texts["image"].combine_chunks()
    listed = pc.split_pattern(cells, SEPARATOR)
    paths = pc.utf8_trim_whitespace(listed.flatten())
    named = pc.not_equal(paths, "")
    owner = pc.list_parent_indices(listed).filter(named).to_numpy().astype(np.int64)
    counts = np.bincount(owner, minlength=len(texts))
    image_index = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    of_photo: list[list[str]] | pa.Array = pa.array([[]] * len(owner), BOX)
    if pc.any(pc.not_equal(texts["box"], "")).as_py():
        rows = zip(texts["box"].to_pylist(), counts.tolist())
        of_photo = [cells for box, count in rows for cells in boxes.of_photos(box, count)]
    return pa.table(
        {
            "owner": owner,
            "image": paths.filter(named),
            "image_index": image_index,
            "box": pa.array(of_photo, BOX),
        }
    )


def rejects_of(texts: pa.Table, which: np.ndarray, reason: str) -> list[Reject]:
    """Return rejects with one reason for the rows selected by `which`, bool [R]."""
    left_out = texts.filter(pa.array(which)).select(["number", "product_id", "image"]).to_pylist()
    return [Reject(row["number"], row["product_id"], row["image"], reason) for row in left_out]


def category_names(schema: Schema, category: pa.ChunkedArray) -> pa.Array:
    """Return the names of categories by position, "" for -1."""
    names = np.array([*schema[schema.category].values, ""], object)  # -1 selects the last
    return pa.array(names[category.to_numpy()], pa.string())


def _texts(
    usable: pd.DataFrame,
    category: np.ndarray,
    group: str | None,
    split: str | None,
    box: list[str],
    text: list[str],
) -> pa.Table:
    products = usable[table.PRODUCT_ID]
    none = pd.Series("", index=usable.index)
    groups = usable[group].where(usable[group].str.strip() != "", products) if group else products
    joined = usable[box].agg(boxes.join, axis=1) if box and len(usable) else none
    splits = usable[split] if split else none
    columns = [usable.index, products, usable[table.IMAGE], joined, groups, splits, category]
    arrays = [pa.array(column.tolist()) for column in columns]
    arrays.append(pa.array(texts_of.of_rows(usable, text), pa.string()))
    return pa.table(arrays, COLUMNS.names).cast(COLUMNS)


def _count(findings: Findings, schema: Schema, encoded: labels.Encoded) -> None:
    states, present = labels.states(encoded.labels, schema.sizes), encoded.labels == labels.PRESENT
    for category in np.unique(encoded.category):  # -1 counts as the last
        rows = encoded.category == category
        findings.states[category] += states[rows].sum(axis=0)
        findings.present[category] += present[rows].sum(axis=0)
    for _, issue in encoded.issues:
        findings.issues[issue.kind] += 1
        if issue in findings.cells or len(findings.cells) < CELLS_LISTED:
            findings.cells[issue] += 1
