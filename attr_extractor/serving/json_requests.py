"""Convert a predict request's body to tensors, by the rules of TF Serving's util/json_tensor.cc.

The decompressed size and the number of values are limited before any value is created: a value of
two bytes becomes an object of sixty bytes.

Rows (`instances`) contain one value or object per row, columns (`inputs`) one nested list per
tensor. Text is UTF-8, or `{"b64": ...}` for bytes.
"""

from __future__ import annotations

import base64
import json
import reprlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from attr_extractor.serving.loaded import DEFAULT
from attr_extractor.serving.status import Code, ServingError, invalid, too_large
from attr_extractor.serving.tensors import Arrays, Spec, in_range

ROWS, COLUMNS = "instances", "inputs"
_PLAIN = ("", "identity")
_ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 47}  # zlib's wbits
_MOST_TIMES = 100  # maximum decompression ratio of a body; pixels of photos reach 20
_UNPACKED_ANYWAY = 2**20  # bytes allowed at any ratio: some rows of zeros
_NO_BLANKS = str.maketrans("", "", " \t\n\v\f\r")  # in ASCII; Python has more blank characters


def unpack(body: bytes, encoding: str, most_bytes: int) -> bytes:
    """Decompress a body according to its Content-Encoding.

    Raises:
      ServingError: if the result has more than `most_bytes` bytes or too high a compression ratio,
        the body is damaged, or its encoding is not gzip or deflate.
    """
    if encoding in _PLAIN:
        return body
    if encoding not in _ENCODINGS:
        raise ServingError(
            Code.INVALID_ARGUMENT, f"Content-Encoding {encoding[:20]!r} is not supported", http=415
        )
    most_bytes = min(most_bytes, max(_UNPACKED_ANYWAY, _MOST_TIMES * len(body)))
    unpacking = zlib.decompressobj(_ENCODINGS[encoding])
    try:
        found = unpacking.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise invalid(f"the body is not valid {encoding}: {error}") from error
    if len(found) > most_bytes:
        raise too_large(most_bytes)
    if not unpacking.eof or unpacking.unused_data:
        raise invalid(f"the body is not one complete {encoding} stream")
    return found


def parse(body: bytes, most_values: int) -> dict[str, Any]:
    """Return a request's JSON object; raise ServingError if it is invalid or has more values."""
    # those within strings count too; base64 has none
    if sum(map(body.count, (b",", b"[", b"{"))) > most_values:
        raise invalid(f"JSON Parse error: more than {most_values:,} values")
    try:
        request = json.loads(body.decode())
    except RecursionError as error:
        raise invalid("JSON Parse error: nested too deeply") from error
    except ValueError as error:
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise invalid(f"JSON Value: {_shown(request)} Is not object")
    return request


def signature_name(request: Mapping[str, Any]) -> str:
    """Return the name of the requested signature."""
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("'signature_name' key must be a string value.")
    return name or DEFAULT


def row_format(request: Mapping[str, Any]) -> bool:
    """Return whether a request has rows (`instances`), not columns (`inputs`)."""
    found = [key for key in (ROWS, COLUMNS) if key in request]
    if len(found) == 2:
        raise invalid("expecting only one of 'inputs' or 'instances' keys to exist")
    if not found:
        raise invalid("Missing 'inputs' or 'instances' key")
    return found == [ROWS]


def tensors(request: Mapping[str, Any], specs: Mapping[str, Spec]) -> Arrays:
    """Return the request's tensors, rows first, in the signature's dtypes.

    Raises:
      ServingError: if values do not form a tensor, or have another type.
    """
    columns = _columns_of_rows(request, specs) if row_format(request) else _columns(request, specs)
    return {name: _tensor(columns[name], specs[name]) for name in specs}


def _columns_of_rows(request: Mapping[str, Any], specs: Mapping[str, Spec]) -> dict[str, list]:
    rows = request[ROWS]
    if not isinstance(rows, list):
        raise invalid(f"Expecting '{ROWS}' to be a list/array")
    if not rows:
        raise invalid(f"No values in '{ROWS}' array")
    named = _is_named(rows[0])
    for i, row in enumerate(rows):
        if _is_named(row) != named:
            raise invalid(f"item {i} of '{ROWS}': objects and plain values are mixed")
        if named and set(row) != set(specs):
            raise invalid(
                f"Failed to process element: {i} of '{ROWS}' list. JSON object: {_shown(row)} "
                f"keys must be equal to: {','.join(sorted(specs))}"
            )
    if named:
        return {name: [row[name] for row in rows] for name in specs}
    return {_only_input(specs, ROWS): rows}


def _columns(request: Mapping[str, Any], specs: Mapping[str, Spec]) -> dict[str, Any]:
    columns = request[COLUMNS]
    if not _is_named(columns):
        return {_only_input(specs, COLUMNS): columns}
    for name in specs:
        if name not in columns:
            raise invalid(f"Missing named input: {name} in '{COLUMNS}' object.")
    return columns


def _only_input(specs: Mapping[str, Spec], key: str) -> str:
    if len(specs) > 1:
        raise invalid(
            f"{key} is plain, but expecting objects as multiple inputs are required: "
            f"{','.join(sorted(specs))}"
        )
    return next(iter(specs))


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: dict) -> bool:
    return len(value) == 1 and isinstance(value.get("b64"), str)


def _tensor(value: Any, spec: Spec) -> np.ndarray:
    """Return a dense array."""
    array = np.array(value, object)  # lists that differ in size stay lists
    kinds = _kinds(spec)
    flat = array.ravel().tolist()
    if not set(map(type, flat)) <= kinds:
        wrong = next(part for part in flat if type(part) not in kinds)
        if isinstance(wrong, list):
            raise invalid(f"input {spec.name}: its lists differ in size at the same depth")
        raise invalid(f"JSON Value: {_shown(wrong)} is not of expected type: {spec.dtype.name}")
    try:
        if spec.dtype == tf.string:
            return np.array([*map(_bytes, flat), None], object)[:-1].reshape(array.shape)
        widest = np.float64 if spec.dtype.is_floating else np.int64
        numbers = np.array(flat, bool if spec.dtype == tf.bool else widest)
    except OverflowError as error:
        raise invalid(f"input {spec.name}: a number out of range for {spec.dtype.name}") from error
    except ValueError as error:  # invalid base64, or half a surrogate pair
        raise invalid(f"input {spec.name}: Unable to decode: {error}") from error
    return in_range(numbers, spec).reshape(array.shape)


def _kinds(spec: Spec) -> set[type]:
    if spec.dtype == tf.string:
        return {str, dict}
    if spec.dtype == tf.bool:
        return {bool}
    return {int, float} if spec.dtype.is_floating else {int}


def _bytes(value: str | dict) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not _is_base64(value):
        raise invalid(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    text = value["b64"].translate(_NO_BLANKS)  # absl's decoder accepts them, and needs no padding
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _shown(value: Any) -> str:
    return reprlib.repr(value)[:60]
