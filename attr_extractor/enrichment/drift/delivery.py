"""The delivery's table, read in chunks and in one pass: label counts and a sample of photos.

Rows are handled as in a build. Only counts, the product names (to find duplicates) and the sample
are kept in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from attr_extractor import labels
from attr_extractor.catalogue import boxes, table
from attr_extractor.enrichment.drift import sampling
from attr_extractor.enrichment.drift.label_counts import LabelCounts, UnknownValues
from attr_extractor.errors import InputError
from attr_extractor.records import rows
from attr_extractor.schema import Schema


class ListedPhoto(NamedTuple):
    """A photo listed in the table."""

    product: str
    image: str  # path below the image root
    box: list[str]  # four cells, or none


@dataclass
class Delivery:
    """Counts and sample of the table."""

    counts: LabelCounts
    unknown: dict[str, UnknownValues]  # by attribute
    columns: list[str] = field(default_factory=list)
    rows: int = 0
    products: int = 0  # rows that a build would use
    rejects: Counter[str] = field(default_factory=Counter)  # rejected rows by reason
    sample: list[ListedPhoto] = field(default_factory=list)


def read_delivery(
    catalogue: str | Path,
    schema: Schema,
    box_columns: Sequence[str],
    sample: int,
    seed: int,
) -> Delivery:
    """Read the whole table; an attribute without a column counts as empty cells.

    Args:
      sample: number of products to sample, with one photo each.

    Raises:
      InputError: if the table is unreadable, or no row is usable.
    """
    encoder = labels.Encoder(schema)
    unknown = {name: UnknownValues() for name in schema.names}
    delivery = Delivery(LabelCounts.zeros(schema), unknown)
    sampled = sampling.ProductSample["tuple[str, list[str]]"](sample, seed)
    seen = set[str]()
    with tqdm(unit="row", desc="reading the table") as progress:
        for chunk in table.chunks(catalogue, schema, require_all=False):
            delivery.columns = list(chunk.columns)
            box = boxes.columns(box_columns, delivery.columns, schema, catalogue)
            kept, rejected = rows.usable(chunk, seen)
            delivery.rows += len(chunk)
            delivery.products += len(kept)
            delivery.rejects.update(reason for *_, reason in rejected)
            cells = {name: kept[name].tolist() for name in schema.names if name in kept}
            encoded = encoder.encode(cells, len(kept))
            images = kept[table.IMAGE].tolist()
            photos = np.array([len(table.image_paths(cell)) for cell in images], np.int64)
            delivery.counts.add(schema, encoded.labels, photos)
            for _, issue in encoded.issues:
                if issue.kind == labels.UNKNOWN_VALUE:
                    unknown[issue.attribute].add(issue.cell, issue.nearest)
            box_cells = kept[box].to_numpy().tolist() if box else [[]] * len(kept)
            for product, cell, four in zip(kept[table.PRODUCT_ID].tolist(), images, box_cells):
                sampled.offer(product, (cell, four))
            progress.update(len(chunk))
    if not delivery.products:
        (reason, _), *_ = delivery.rejects.most_common(1)
        raise InputError(f"{catalogue}: none of {delivery.rows:,} rows can be used: {reason}")
    delivery.sample = [_photo(product, *data, seed) for product, data in sampled.products()]
    return delivery


def _photo(product: str, cell: str, box: Sequence[str], seed: int) -> ListedPhoto:
    paths = table.image_paths(cell)
    index = sampling.choose_photo(product, range(len(paths)), seed)
    return ListedPhoto(product, paths[index], boxes.of_photos(boxes.join(box), len(paths))[index])
