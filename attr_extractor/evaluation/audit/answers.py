"""Out-of-fold answers of a run as a label source: what heads say of products they did not see.

The heads are fitted on the training split only, so no label of a held-out photo reaches the
training labels. Filled cells are answered as well: `add-sources` judges the answers by them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from attr_extractor.errors import InputError
from attr_extractor.evaluation.audit.features import Products
from attr_extractor.evaluation.audit.findings import LIKELY, blocks, is_best
from attr_extractor.evaluation.audit.heads import fit_heads
from attr_extractor.schema import Schema
from attr_extractor.sources import writer
from attr_extractor.sources.writer import SourceRow

SOURCE = "heads"


def write(path: str | Path, products: Products, schema: Schema, fold: np.ndarray, seed: int) -> int:
    """Write the answers for the products of all splits; return their number.

    Args:
      path: a new file of `writer.require_format`.
      fold: int8 [P], see `heads.assign_folds`.

    Raises:
      InputError: if there are no training products; see also `writer.writing`.
    """
    train = np.array(products.sources["split"]) == "train"
    if not train.any():
        raise InputError(f"{path}: the records have no training products to fit heads on")
    heads = fit_heads(products.features, products.labels, schema, fold, seed, train)
    count = 0
    with writer.writing(path) as append:
        for start, chances, _ in blocks(products, heads, schema):
            names = products.sources["product_id"].slice(start, len(chances)).to_pylist()
            rows = list(_answers(names, chances, schema))
            append(rows)
            count += len(rows)
    return count


def _answers(names: list[str], chances: np.ndarray, schema: Schema) -> Iterator[SourceRow]:
    """Yield the best value of each attribute, or every likely one; float32 [R, V]."""
    for attribute in schema.attributes:
        chance = chances[:, schema.slices[attribute.name]]
        named = is_best(chance) & (chance > 0) if attribute.exclusive else chance >= LIKELY
        for row, value in zip(*np.nonzero(named)):
            of_value = (attribute.values[value], float(chance[row, value]))
            yield SourceRow(names[row], attribute.name, *of_value, SOURCE)
