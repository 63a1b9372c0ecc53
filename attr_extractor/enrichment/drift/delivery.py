"""Read the delivery's table in chunks, in one pass: count labels and sample photos.

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
from attr_extractor.enrichment.drift.label_counts import LabelCounts
from attr_extractor.errors import InputError
from attr_extractor.records import rows
from attr_extractor.schema import Schema, fold

MOST_SPELLINGS = 100_000  # unknown values that are counted individually


class Photo(NamedTuple):
    """A photo listed in the table."""

    product: str
    image: str  # path below the image root
    box: list[str]  # four cells, or none


@dataclass
class Unknown:
    """Cells of one attribute with a value that is not in the schema."""

    cells: int = 0
    spellings: Counter[str] = field(default_factory=Counter)  # folded
    nearest: dict[str, str] = field(default_factory=dict)

    def add(self, cell: str, nearest: str) -> None:
        """Count a cell."""
        self.cells += 1
        spelling = fold(cell)
        if spelling in self.spellings or len(self.spellings) < MOST_SPELLINGS:
            self.spellings[spelling] += 1
            self.nearest[spelling] = nearest


@dataclass
class Delivery:
    """Counts and sample of the table."""

    counts: LabelCounts
    unknown: dict[str, Unknown]  # by attribute
    columns: list[str] = field(default_factory=list)
    read: int = 0  # rows of the table
    products: int = 0  # rows that a build would use
    rejects: Counter[str] = field(default_factory=Counter)  # rejected rows by reason
    sample: list[Photo] = field(default_factory=list)


def read(
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
    found = Delivery(LabelCounts.none(schema), {name: Unknown() for name in schema.names})
    chosen, seen = sampling.Smallest(sample, seed), set[str]()
    with tqdm(unit="row", desc="reading the table") as progress:
        for chunk in table.chunks(catalogue, schema, require_all=False):
            found.columns = list(chunk.columns)
            box = boxes.columns(box_columns, found.columns, schema, catalogue)
            kept, not_usable = rows.usable(chunk, seen)
            found.read += len(chunk)
            found.products += len(kept)
            found.rejects.update(reason for *_, reason in not_usable)
            cells = {name: kept[name].tolist() for name in schema.names if name in kept}
            encoded = encoder.encode(cells, len(kept))
            images = kept[table.IMAGE].tolist()
            photos = np.array([len(table.image_paths(cell)) for cell in images], np.int64)
            found.counts.add(schema, encoded.labels, photos)
            for _, issue in encoded.issues:
                if issue.kind == labels.UNKNOWN_VALUE:
                    found.unknown[issue.attribute].add(issue.cell, issue.nearest)
            box_cells = kept[box].to_numpy().tolist() if box else [[]] * len(kept)
            for product, cell, four in zip(kept[table.PRODUCT_ID].tolist(), images, box_cells):
                chosen.offer(product, (cell, four))
            progress.update(len(chunk))
    if not found.products:
        (reason, _), *_ = found.rejects.most_common(1)
        raise InputError(f"{catalogue}: none of {found.read:,} rows can be used: {reason}")
    found.sample = [_photo(p, cell, box, seed) for p, (cell, box) in chosen.chosen()]
    return found


def _photo(product: str, cell: str, box: Sequence[str], seed: int) -> Photo:
    paths = table.image_paths(cell)
    index = sampling.photo_of(product, range(len(paths)), seed)
    return Photo(product, paths[index], boxes.of_photos(boxes.join(box), len(paths))[index])
