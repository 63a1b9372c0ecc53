"""The JSON of TF Serving's predict API: a request's body to tensors, outputs to a response's body.

The decompressed size and the number of values are limited before any value is created: a value of
two bytes becomes an object of sixty bytes. pydantic's parser limits nesting and the digits of a
number, and rejects text that is not UTF-8.
"""

from __future__ import annotations

import base64
import json
import reprlib
import zlib
from typing import Annotated, Any, List

import numpy as np
import pydantic
import tensorflow as tf

from attr_extractor.serving.server import tensors
from attr_extractor.serving.server.status import Code, ServingError, invalid, too_large
from attr_extractor.serving.server.tensors import Arrays, Specs

_ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 47}  # zlib's wbits
_MAX_RATIO = 100  # of decompression; pixels of photos reach 20
_ANY_RATIO = 2**20  # bytes allowed at any ratio: some rows of zeros
_NO_BLANKS = str.maketrans("", "", " \t\n\v\f\r")  # in ASCII; Python has more blank characters


def decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Decompress a body according to its Content-Encoding.

    Raises:
      ServingError: if the result has more than `max_bytes` bytes or too high a compression ratio,
        the body is damaged, or its encoding is not gzip or deflate.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in _ENCODINGS:
        raise ServingError(
            Code.INVALID_ARGUMENT, f"Content-Encoding {encoding[:20]!r} is not supported", http=415
        )
    max_bytes = min(max_bytes, max(_ANY_RATIO, _MAX_RATIO * len(body)))
    decompressor = zlib.decompressobj(_ENCODINGS[encoding])
    try:
        content = decompressor.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise invalid(f"the body is not valid {encoding}: {error}") from error
    if len(content) > max_bytes:
        raise too_large(max_bytes)
    if not decompressor.eof or decompressor.unused_data:
        raise invalid(f"the body is not one complete {encoding} stream")
    return content


class PredictBody(pydantic.BaseModel):
    """A predict request, either in rows or in columns.

    Rows (`instances`) contain one value or object per row, columns (`inputs`) one nested list per
    tensor; a signature's only input needs no name. Text is UTF-8, or `{"b64": ...}` for bytes.
    """

    signature_name: pydantic.StrictStr = ""
    instances: Annotated[List[Any], pydantic.Field(min_length=1)] = []
    inputs: Any = None

    @pydantic.model_validator(mode="after")
    def _require_one_format(self) -> PredictBody:
        if len(self.model_fields_set & {"instances", "inputs"}) != 1:
            raise ValueError("either 'inputs' or 'instances' is expected")
        return self

    @property
    def in_rows(self) -> bool:
        """Whether the request, and thus the response, is in rows."""
        return "instances" in self.model_fields_set

    def tensors(self, specs: Specs) -> Arrays:
        """Return the request's tensors, rows first, in the signature's dtypes.

        Raises:
          ServingError: if values do not form a tensor, or have another type.
        """
        columns = self._columns_of_rows(specs) if self.in_rows else self._columns(specs)
        return {name: _to_tensor(columns[name], spec) for name, spec in specs.items()}

    def _columns_of_rows(self, specs: Specs) -> dict[str, Any]:
        if not any(map(_is_object, self.instances)):
            return {_only_input(specs): self.instances}
        for i, row in enumerate(self.instances):
            if not _is_object(row) or set(row) != set(specs):
                keys = ", ".join(sorted(specs))
                raise invalid(f"instances.{i}: {_shown(row)}: an object of {keys} is expected")
        return {name: [row[name] for row in self.instances] for name in specs}

    def _columns(self, specs: Specs) -> dict[str, Any]:
        if not _is_object(self.inputs):
            return {_only_input(specs): self.inputs}
        for name in specs:
            if name not in self.inputs:
                raise invalid(f"inputs: {name} is missing")
        return self.inputs


def parse_body(body: bytes, max_values: int) -> PredictBody:
    """Parse a request's body; raise ServingError if it is invalid or has more values."""
    # those within strings count too; base64 has none
    if sum(map(body.count, (b",", b"[", b"{"))) > max_values:
        raise invalid(f"the body has more than {max_values:,} values")
    try:
        return PredictBody.model_validate_json(body)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise invalid(f"{where}: {first['msg']}") from error


def format_response(outputs: Arrays, in_rows: bool) -> str:
    """Return outputs as JSON, in rows (`predictions`) or in columns (`outputs`).

    A single output has no name. Bytes that are not UTF-8 become U+FFFD.
    """
    columns = {name: array.tolist() for name, array in outputs.items()}
    content: Any = columns
    if len(columns) == 1:
        (content,) = columns.values()
    elif in_rows:
        content = [dict(zip(columns, row)) for row in zip(*columns.values())]
    key = "predictions" if in_rows else "outputs"
    return json.dumps({key: content}, default=lambda value: value.decode(errors="replace"))


def _only_input(specs: Specs) -> str:
    if len(specs) > 1:
        raise invalid(f"an object of multiple inputs is expected: {', '.join(sorted(specs))}")
    return next(iter(specs))


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: dict[str, Any]) -> bool:
    return len(value) == 1 and isinstance(value.get("b64"), str)


def _to_tensor(value: Any, spec: tf.TensorSpec) -> np.ndarray:
    """Return a dense array of the spec's dtype."""
    array = np.array(value, object)  # lists that differ in size stay lists
    flat = array.ravel().tolist()
    types = _types(spec.dtype)
    if not set(map(type, flat)) <= types:
        wrong = next(each for each in flat if type(each) not in types)
        if isinstance(wrong, list):
            raise invalid(f"input {spec.name}: its lists differ in size at the same depth")
        raise invalid(f"input {spec.name}: {_shown(wrong)} is not of the type {spec.dtype.name}")
    try:
        if spec.dtype == tf.string:
            return np.array([_to_bytes(each) for each in flat], object).reshape(array.shape)
        numbers: np.ndarray = np.array(flat, _widest(spec.dtype))
    except OverflowError as error:
        raise invalid(f"input {spec.name}: a number out of range for {spec.dtype.name}") from error
    except ValueError as error:
        raise invalid(f"input {spec.name}: {error}") from error
    return tensors.cast(numbers, spec).reshape(array.shape)


def _types(dtype: tf.DType) -> set[type]:
    """Return the types of JSON values that an input of this dtype accepts."""
    if dtype == tf.string:
        return {str, dict}
    if dtype == tf.bool:
        return {bool}
    return {int, float} if dtype.is_floating else {int}


def _widest(dtype: tf.DType) -> type:
    if dtype == tf.bool:
        return np.bool_
    return np.float64 if dtype.is_floating else np.int64


def _to_bytes(value: str | dict[str, Any]) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not _is_base64(value):
        raise ValueError(f'{_shown(value)} is not of the form {{"b64": "..."}}')
    text = value["b64"].translate(_NO_BLANKS)  # of lines; padding is optional
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise ValueError(f"{_shown(value)} is not valid base64: {error}") from error


def _shown(value: Any) -> str:
    return reprlib.repr(value)[:60]
