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
from attr_extractor.evaluation.audit.findings import probabilities
from attr_extractor.evaluation.audit.heads import Heads, fit_heads
from attr_extractor.schema import Schema
from attr_extractor.sources import writer
from attr_extractor.sources.writer import SourceRow

SOURCE = "heads"
LIKELY = 0.5  # minimum probability of a value, if the attribute may have several
_ROWS = 4096  # products per block


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
        for start in range(0, len(products.labels), _ROWS):
            rows = list(_answers(products, heads, schema, start))
            append(rows)
            count += len(rows)
    return count


def _answers(products: Products, heads: Heads, schema: Schema, start: int) -> Iterator[SourceRow]:
    """Yield the answers for a block of products: the best value, or every likely one."""
    block = slice(start, start + _ROWS)
    names = products.sources["product_id"].slice(start, _ROWS).to_pylist()
    logits = heads.logits(products.features[block], start)
    chances = probabilities(schema, logits, np.array(products.labels[block]))  # [R, V]
    for attribute in schema.attributes:
        chance = chances[:, schema.slices[attribute.name]]
        if attribute.exclusive:
            best = chance.argmax(axis=1)[:, np.newaxis] == np.arange(chance.shape[1])
            named = best & (chance > 0)
        else:
            named = chance >= LIKELY
        for row, value in zip(*np.nonzero(named)):
            yield SourceRow(
                names[row],
                attribute.name,
                attribute.values[value],
                float(chance[row, value]),
                SOURCE,
            )
