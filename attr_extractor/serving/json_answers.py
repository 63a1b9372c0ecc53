"""Convert tensors to the JSON of a predict response, in TF Serving's two formats.

In the row format each photo is one object with named outputs; a single output has no name. TF
Serving sends outputs named `..._bytes` as base64; this package has no such outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attr_extractor.serving.status import Code, ServingError


def predictions(outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the row format: a list with an entry per row; objects if there are several outputs."""
    counts = {len(array) for array in outputs.values()}
    if len(counts) != 1:
        raise ServingError(Code.INTERNAL, f"the outputs differ in rows: {sorted(counts)}")
    columns = {name: _lists(array) for name, array in outputs.items()}
    if len(columns) == 1:
        (rows,) = columns.values()
    else:
        rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    return {"predictions": rows}


def outputs(columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the column format: a nested list per output, in an object if there are several."""
    lists = {name: _lists(array) for name, array in columns.items()}
    if len(lists) > 1:
        return {"outputs": lists}
    return {"outputs": next(iter(lists.values()))}


def _lists(array: np.ndarray) -> list:
    """Return the array as nested lists; bytes that are not UTF-8 become U+FFFD."""
    if array.dtype == np.float32:  # 0.2, not 0.20000000298023224
        return array.astype(str).astype(np.float64).tolist()
    if array.dtype != object:
        return array.tolist()
    texts = [value.decode(errors="replace") for value in array.ravel()]
    return np.array([*texts, None], object)[:-1].reshape(array.shape).tolist()
