"""Which rows can be used, and which split and shard each product goes to.

Everything here depends on the table, the photos' bytes and the options, never on timing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Tuple

import numpy as np
import pandas as pd

from attr_extractor import labels
from attr_extractor.catalogue import photos, splits, table
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema

PHOTOS_PER_SHARD = 1024  # about 15 MiB at a short side of 256 pixels

Reject = Tuple[int, str, str, str]  # row number, product, image, reason


@dataclass(frozen=True)
class Options:
    """What decides the content of the records, besides the table and its photos."""

    image_size: int = 256
    shards: int = 0  # of the training split; 0: PHOTOS_PER_SHARD decides
    split_fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    split_seed: int = 0
    group_column: str | None = None  # products of one group share the split; product by default
    split_column: str | None = None
    cap_per_category: int = 0  # products of the training split; 0: no cap

    def __post_init__(self) -> None:
        for name, least in {"image_size": 32, "shards": 0, "cap_per_category": 0}.items():
            if getattr(self, name) < least:
                raise InputError(f"--{name} {getattr(self, name)}: must be at least {least}")


def usable(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[Reject]]:
    """Rows with a product of their own and a photo, indexed by row number from 1, and the rest."""
    rows = rows.set_axis(range(1, len(rows) + 1))
    rows = rows.assign(**{table.PRODUCT_ID: rows[table.PRODUCT_ID].str.strip()})
    reasons = pd.Series("", index=rows.index)
    reasons[rows[table.IMAGE].map(lambda cell: not table.image_paths(cell))] = "no image named"
    reasons[rows[table.PRODUCT_ID] == ""] = "no product_id"
    again = rows[table.PRODUCT_ID][reasons == ""].duplicated()
    reasons[again.index[again]] = "product_id stands twice; only its first row counts"
    left_out = rows[reasons != ""]
    rejects = [
        (row, product, image, reasons[row])
        for row, product, image in zip(
            left_out.index, left_out[table.PRODUCT_ID], left_out[table.IMAGE]
        )
    ]
    return rows[reasons == ""], rejects


def digest(image_root: Path, path: str) -> str:
    """A digest of a photo's bytes; of its path where it cannot be read, to be rejected later."""
    try:
        data = photos.read_raw(image_root, path)
    except photos.PhotoError:
        data = b"unreadable " + path.encode()
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def place(products: pd.DataFrame, digests: dict[str, str], options: Options) -> pd.Series:
    """The split of every product.

    Args:
      digests: content digest of each image path in the table.

    Raises:
      InputError: the table lacks the group or split column, or a split has another name.
    """
    for column in (options.group_column, options.split_column):
        if column and column not in products.columns:
            raise InputError(f"the catalogue has no column {column!r} to group or split by")
    groups = products[options.group_column or table.PRODUCT_ID]
    groups = groups.where(groups.str.strip() != "", products[table.PRODUCT_ID])  # no group: alone
    content = [[digests[p] for p in table.image_paths(cell)] for cell in products[table.IMAGE]]
    keys = splits.connect(groups.tolist(), content)
    if options.split_column:
        cells = dict(zip(products.index, products[options.split_column]))
        names = splits.by_column(cells, keys)
    else:
        names = splits.by_hash(keys, options.split_fractions, options.split_seed)
    return pd.Series(names, index=products.index)


def cap(
    products: pd.DataFrame, split: pd.Series, schema: Schema, options: Options
) -> tuple[pd.DataFrame, list[Reject]]:
    """Leaves out training products beyond the cap of their category (the paper's down-sampling)."""
    if not options.cap_per_category:
        return products, []
    training = products[split == "train"]
    categories = [labels.encode_category(schema, cell)[0] for cell in training[schema.category]]
    over = splits.over_cap(
        training[table.PRODUCT_ID].tolist(),
        ["" if c is None else str(c) for c in categories],
        options.cap_per_category,
        options.split_seed,
    )
    left_out = products[table.PRODUCT_ID].isin(over)
    reason = f"beyond the cap of {options.cap_per_category} training products per category"
    rejects = [
        (row, product, image, reason)
        for row, product, image in zip(
            products.index[left_out],
            products[table.PRODUCT_ID][left_out],
            products[table.IMAGE][left_out],
        )
    ]
    return products[~left_out], rejects


def shards(
    products: pd.DataFrame, split: pd.Series, options: Options
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Split name, file name and products of every shard, sizes equal within one product or so."""
    size = PHOTOS_PER_SHARD
    for name in splits.SPLITS:
        members = products[split.loc[products.index] == name]
        order = [splits.uniform("order", options.split_seed, p) for p in members[table.PRODUCT_ID]]
        members = members.iloc[np.argsort(order, kind="stable")]
        number_of_photos = sum(len(table.image_paths(cell)) for cell in members[table.IMAGE])
        if name == "train" and options.shards:
            size = max(1, math.ceil(number_of_photos / options.shards))
            count = options.shards
        else:
            count = math.ceil(number_of_photos / size)
        count = min(count, len(members))  # no shard without a product
        for index, rows in enumerate(
            np.array_split(np.arange(len(members)), count) if count else []
        ):
            yield name, f"{name}-{index:05d}-of-{count:05d}.tfrecord", members.iloc[rows]
