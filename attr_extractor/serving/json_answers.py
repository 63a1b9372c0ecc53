"""Tensors -> a predict answer's JSON, to the byte as TF Serving's util/json_tensor.cc writes it.

It prints with RapidJSON's PrettyWriter, four blanks a level, a row's arrays on one line; the
outputs stand in the order of their names (TF Serving's order is that of a hash map). In the row
format each photo is one object with named outputs. An output named `..._bytes`, which TF Serving
would send as base64, is none of this package's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from attr_extractor.serving.status import Code, ServingError

_ESCAPE = re.compile(r"\\(u[0-9a-f]{4}|.)")
_DIGITS = {np.dtype(np.float32): ".9g", np.dtype(np.float64): ".17g"}


def predictions(outputs: Mapping[str, np.ndarray]) -> bytes:
    """The row format: a list with an entry per row; of several outputs, objects."""
    columns = {name: _leaves(array) for name, array in outputs.items()}
    counts = {len(array) for array in outputs.values()}
    if len(counts) != 1:
        raise ServingError(Code.INTERNAL, f"the outputs differ in rows: {sorted(counts)}")
    rows = [
        {name: _one_line(column[i]) for name, column in columns.items()}
        for i in range(counts.pop())
    ]
    if len(columns) > 1:
        body = ",".join(
            "\n        {"
            + ",".join(f"\n            {_text(name)}: {value}" for name, value in row.items())
            + "\n        }"
            for row in rows
        )
    else:
        body = ", ".join(next(iter(row.values())) for row in rows)
    return _encoded(f'{{\n    "predictions": [{body}\n    ]\n}}')


def outputs(columns: Mapping[str, np.ndarray]) -> bytes:
    """The column format: one nested list per output, in an object where there are several."""
    leaves = {name: _leaves(array) for name, array in columns.items()}
    if len(leaves) > 1:
        lines = [f"\n        {_text(name)}: {_indented(v, 2)}" for name, v in leaves.items()]
        body = "{" + ",".join(lines) + "\n    }"
    else:
        body = _indented(next(iter(leaves.values())), 1)
    return _encoded(f'{{\n    "outputs": {body}\n}}')


def error(message: str) -> bytes:
    """What a refused request gets."""
    return _encoded(f'{{\n    "error": {_text(message)}\n}}')


def _leaves(array: np.ndarray) -> Any:
    """The array as nested lists of JSON words."""
    flat = array.ravel().tolist()
    if array.dtype == object:
        words = [_utf8(value) for value in flat]
    elif array.dtype in _DIGITS:
        words = _decimals(flat, array.dtype)
    else:
        words = [json.dumps(value) for value in flat]
    return np.array([*words, None], object)[:-1].reshape(array.shape).tolist()


def _decimals(values: list[float], dtype: np.dtype) -> list[str]:
    """Six digits where they are exact, else all; whole numbers end with .0."""
    words = [format(value, ".6g") for value in values]
    exact = np.array(words, dtype=np.float64).astype(dtype) == np.array(values, dtype)
    for i in np.flatnonzero(~exact):
        words[i] = format(values[i], _DIGITS[dtype])
    return [
        _SPECIAL.get(word) or (word if "." in word or "e" in word else f"{word}.0")
        for word in words
    ]


_SPECIAL = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _one_line(value: Any) -> str:
    return f"[{', '.join(map(_one_line, value))}]" if isinstance(value, list) else value


def _indented(value: Any, level: int) -> str:
    if not isinstance(value, list):
        return value
    if not value:
        return "[]"
    blanks = "\n" + "    " * (level + 1)
    body = ",".join(blanks + _indented(part, level + 1) for part in value)
    return "[" + body + "\n" + "    " * level + "]"


def _utf8(value: bytes) -> str:
    return _text(value.decode(errors="surrogateescape"))  # bytes that are no text pass unchanged


def _text(value: str) -> str:
    """As RapidJSON: only quotes, backslashes and control characters are escaped."""
    quoted = json.dumps(value, ensure_ascii=False)
    return _ESCAPE.sub(lambda found: found[0][:2] + found[0][2:].upper(), quoted)


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
