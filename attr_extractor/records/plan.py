"""Assign every product to a split and a shard.

The result depends on the table, the photos' bytes, the options and earlier builds, but not on
timing or on the order of rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Optional, Tuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pydantic

from attr_extractor import yaml_files
from attr_extractor.catalogue import splits
from attr_extractor.errors import InputError

PHOTOS_PER_SHARD = 1024  # about 15 MiB at a short side of 256 pixels
NO_SPLIT = -1  # a product that is not in any split


_List = pydantic.Strict(False)  # a tuple is a list in JSON


class BuildOptions(yaml_files.Model):
    """Options that determine the content of the records, in addition to table and photos."""

    image_size: int = 256
    shards: int = 0
    split_fractions: Annotated[Tuple[float, float, float], _List] = (0.8, 0.1, 0.1)
    split_seed: int = 0
    group_column: Optional[str] = None
    split_column: Optional[str] = None
    cap_per_category: int = 0
    box_columns: Annotated[Tuple[str, ...], _List] = ()

    @pydantic.model_validator(mode="after")
    def _numbers_are_large_enough(self) -> BuildOptions:
        for name, least in {"image_size": 32, "shards": 0, "cap_per_category": 0}.items():
            if getattr(self, name) < least:
                raise InputError(f"--{name} {getattr(self, name)}: must be at least {least}")
        return self


_MEANING = {
    "image_size": "Short side of the stored photos, pixels.",
    "shards": f"Training shards of the first build; 0: about {PHOTOS_PER_SHARD:,} photos each.",
    "split_fractions": "Fractions of train, validation, test.",
    "split_seed": "Seed of the split, the cap and the record order.",
    "group_column": "Column of groups, such as sellers; rows of one group share a split.",
    "split_column": "Column with the split: train, validation or test.",
    "cap_per_category": "Maximum number of training products per category; 0: no cap.",
    "box_columns": "Four columns with left, top, right, bottom of the product, pixels.",
}
FLAGS: dict[str, tuple[Any, str]] = {  # default and meaning of each option
    name: (
        ",".join(map(str, o.default)) if isinstance(o.default, tuple) else o.default,
        _MEANING[name],
    )
    for name, o in BuildOptions.model_fields.items()
}


def from_flags(values: Mapping[str, Any]) -> BuildOptions:
    """Return the options from flag values named as in FLAGS.

    Raises:
      InputError: if a value is invalid.
    """
    boxes = tuple(column.strip() for column in values["box_columns"].split(",") if column.strip())
    fractions = splits.parse_fractions(values["split_fractions"])
    return BuildOptions(**{**values, "split_fractions": fractions, "box_columns": boxes})


def from_manifest(build: dict[str, Any], origin: str) -> BuildOptions:
    """Return the options in a manifest.

    Raises:
      InputError: if they are invalid, naming `origin`.
    """
    return yaml_files.validate(BuildOptions, build, f"{origin}: build")


def place(rows: pa.Table, photos: pa.Table, options: BuildOptions, placed: pa.Table) -> np.ndarray:
    """Return the split of every product.

    A product linked to an already placed product gets the same split. Otherwise the split comes
    from the split column, if one is given, or from a hash. Products are linked, directly or
    transitively, by their group or by an identical photo.

    Args:
      rows: of the new products: number, group, split.
      photos: of the new products: `owner`, the position of the row; `digest`.
      placed: photos written by earlier builds: group, digest, and `split`, the position in SPLITS.

    Returns:
      int8 [R], the position in SPLITS; NO_SPLIT for a product linked to two splits.

    Raises:
      InputError: if a cell of the split column is not the name of a split.
    """
    owner = photos["owner"].to_numpy()
    group_names = pa.chunked_array([*rows["group"].chunks, *placed["group"].chunks], pa.string())
    digests = pa.chunked_array([*photos["digest"].chunks, *placed["digest"].chunks])
    groups, names = _encode(group_names)
    contents, _ = _encode(digests)
    group_of_row, group_of_placed = np.split(groups, [len(rows)])
    component_of_group = splits.connect(
        np.concatenate([group_of_row[owner], group_of_placed]), contents
    )
    component = component_of_group[group_of_row]  # [R]

    # a component is identified by its smallest name, so that the order of rows does not matter
    by_name = pc.sort_indices(names).to_numpy()
    smallest = np.empty(component_of_group.max(initial=-1) + 1, np.int64)
    smallest[component_of_group[by_name[::-1]]] = by_name[::-1]
    distinct, position = np.unique(component, return_inverse=True)
    if options.split_column:
        cells = splits.by_name(rows["split"].to_pylist(), rows["number"].to_pylist())
        drawn = np.zeros(len(distinct), np.int8)
        np.maximum.at(drawn, position, cells)  # linked products get their last split in SPLITS
    else:
        keys = names.take(pa.array(smallest[distinct])).to_pylist()
        drawn = splits.by_hash(keys, options.split_fractions, options.split_seed)

    there = np.zeros([len(smallest), len(splits.SPLITS)], bool)  # splits of earlier builds
    there[component_of_group[group_of_placed], placed["split"].to_numpy()] = True
    there = there[distinct]
    drawn = np.where(there.any(axis=1), there.argmax(axis=1), drawn)
    return np.where(there.sum(axis=1) > 1, NO_SPLIT, drawn).astype(np.int8)[position]


def over_cap(
    products: pa.Array,
    categories: np.ndarray,
    split: np.ndarray,
    options: BuildOptions,
    there: Counter,
) -> np.ndarray:
    """Return bool [R], the training products beyond the cap of their category.

    This is the down-sampling of the paper.

    Args:
      categories: int64 [R], -1 if unknown.
      there: training products written by earlier builds, per position of the category.
    """
    if not options.cap_per_category:
        return np.zeros(len(products), bool)
    training = np.flatnonzero(split == splits.SPLITS.index("train"))
    names = products.take(pa.array(training)).to_pylist()
    known = ["" if c < 0 else str(c) for c in categories[training].tolist()]
    count = {str(category): number for category, number in there.items()}
    over = splits.over_cap(names, known, options.cap_per_category, options.split_seed, count)
    result = np.zeros(len(products), bool)
    result[training] = [name in over for name in names]
    return result


def shards(
    products: pa.Array, photos: np.ndarray, split: np.ndarray, options: BuildOptions, addition: int
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield split name, file name and product positions of every shard, with photos spread evenly.

    Args:
      photos: int64 [R], photos of each product.
      split: int8 [R], position in SPLITS; products with other values are left out.
      addition: 0 for the first build, then 1, 2, ...: shards of earlier builds keep their names.
    """
    prefix = f"added{addition}-" if addition else ""
    size = PHOTOS_PER_SHARD
    for position, name in enumerate(splits.SPLITS):
        members = np.flatnonzero(split == position)
        ids = products.take(pa.array(members)).to_pylist()
        drawn = [splits.uniform("order", options.split_seed, product) for product in ids]
        members = members[np.lexsort([ids, drawn])] if ids else members
        total = int(photos[members].sum())
        if name == "train" and options.shards and not addition:
            count = options.shards
            size = max(1, math.ceil(total / count))
        else:
            count = math.ceil(total / size)
        count = min(count, len(members))  # no empty shards
        if not count:
            continue
        # cut before the first product of the next shard's share of photos
        before = np.cumsum(photos[members]) - photos[members]
        k = np.arange(1, count)
        cuts = np.searchsorted(before, k * total / count)
        cuts = np.maximum.accumulate(np.maximum(cuts, k) - k) + k  # at least one product per shard
        cuts = np.minimum(cuts, len(members) - count + k)
        for index, part in enumerate(np.split(members, cuts)):
            yield name, f"{name}-{prefix}{index:05d}-of-{count:05d}.tfrecord", part


def _encode(values: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """Return int64 codes of the elements among the distinct values, and these values."""
    encoded = values.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary
