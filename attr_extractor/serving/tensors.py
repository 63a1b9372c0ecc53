"""Validation of request tensors against a signature, and conversion from and to TensorProto."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from attr_extractor.serving.status import invalid

Arrays = Mapping[str, np.ndarray]
_FEW_VALUES = 100_000  # allowed in any request: their cost is negligible
_MANY_VALUES = 8_000_000  # allowed if a signature has open dimensions
# the TensorProto field with the values of each dtype
_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.string: "string_val",
    tf.bool: "bool_val",
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    **dict.fromkeys((tf.int8, tf.uint8, tf.int16, tf.uint16, tf.int32), "int_val"),
}


@dataclass(frozen=True)
class Spec:
    """An input or output of a signature; the first dimension is rows."""

    name: str
    graph_name: str
    dtype: tf.DType
    row_shape: tuple[int, ...]  # of one row; -1: any length

    @classmethod
    def of(cls, name: str, info: Any) -> Spec:
        """Return the Spec of a SignatureDef's TensorInfo.

        Raises:
          ValueError: if the first dimension is fixed, so that requests cannot share a batch, or
            JSON cannot represent the dtype.
        """
        sizes = [dim.size for dim in info.tensor_shape.dim]
        if not info.tensor_shape.unknown_rank and (not sizes or sizes[0] != -1):
            raise ValueError(f"{name} has the shape {sizes}; its first dimension must be open")
        dtype = tf.dtypes.as_dtype(info.dtype)
        if dtype not in _FIELDS:
            raise ValueError(f"{name} has the type {dtype.name}, which is not supported")
        return cls(name, info.name, dtype, tuple(sizes[1:]))

    def values(self) -> int | None:
        """Return the count of values and enclosing lists in one row; None if a size is open."""
        if -1 in self.row_shape:
            return None
        return sum(math.prod(self.row_shape[:depth]) for depth in range(len(self.row_shape) + 1))

    def rows(self, shape: Iterable[int]) -> int:
        """Return the number of rows of a tensor of this shape; raise ServingError on a mismatch."""
        sizes = tuple(shape)
        fits = len(sizes) == 1 + len(self.row_shape) and all(
            want in (-1, size) for want, size in zip(self.row_shape, sizes[1:])
        )
        if not fits:
            wanted = ["B", *("?" if size == -1 else str(size) for size in self.row_shape)]
            raise invalid(
                f"input {self.name} has the shape {list(sizes)}; [{', '.join(wanted)}] is expected"
            )
        return sizes[0]


def check_names(given: Iterable[str], specs: Mapping[str, Spec]) -> None:
    """Raise ServingError, with TF Serving's message, if names differ from the signature's."""
    sent, wanted = set(given), set(specs)
    if sent != wanted:
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)}. "
            f"Sent extra: {{{','.join(sorted(sent - wanted))}}}. "
            f"Missing but required: {{{','.join(sorted(wanted - sent))}}}."
        )


def count_rows(shapes: Mapping[str, Iterable[int]], specs: Mapping[str, Spec], limit: int) -> int:
    """Return the number of rows in a request, given its tensors' shapes.

    Raises:
      ServingError: if a shape does not match the signature, the inputs differ in their number of
        rows, or there are no rows or too many.
    """
    check_names(shapes, specs)
    rows = {name: specs[name].rows(shape) for name, shape in shapes.items()}
    count = next(iter(rows.values()))
    if len(set(rows.values())) > 1:
        raise invalid(f"the inputs differ in their number of rows: {rows}")
    if count < 1:
        raise invalid("the request has no rows")
    if count > limit:
        raise invalid(f"the request has {count} rows; at most {limit} are allowed")
    return count


def most_values(specs: Mapping[str, Spec], rows: int) -> int:
    """Return the maximum number of values, lists and commas in the JSON of `rows` rows."""
    of_a_row = [spec.values() for spec in specs.values()]
    known = [values for values in of_a_row if values is not None]
    if len(known) < len(of_a_row):
        return _MANY_VALUES
    return _FEW_VALUES + 2 * rows * sum(known)


def from_protos(protos: Mapping[str, TensorProto], specs: Mapping[str, Spec], limit: int) -> Arrays:
    """Convert a PredictRequest's inputs; validate shapes before allocating arrays."""
    shapes = {}
    for name, proto in protos.items():
        if proto.tensor_shape.unknown_rank:
            raise invalid(f"input {name} has no shape")
        shapes[name] = [dim.size for dim in proto.tensor_shape.dim]
    count_rows(shapes, specs, limit)
    return {name: _from_proto(proto, specs[name], shapes[name]) for name, proto in protos.items()}


def _from_proto(proto: TensorProto, spec: Spec, shape: list[int]) -> np.ndarray:
    if proto.dtype != spec.dtype.as_datatype_enum:
        raise invalid(f"input {spec.name} is not of the type {spec.dtype.name}")
    size = math.prod(shape)
    field = getattr(proto, _FIELDS[spec.dtype])
    if proto.tensor_content and spec.dtype != tf.string:
        if len(proto.tensor_content) == size * spec.dtype.size:
            return np.frombuffer(proto.tensor_content, spec.dtype.as_numpy_dtype).reshape(shape)
    elif len(field) == size or (len(field) == 1 and -1 not in spec.row_shape):
        values = np.array(field, object if spec.dtype == tf.string else None)
        # a single value is repeated to fill the shape
        return np.resize(in_range(values, spec), shape)
    raise invalid(f"input {spec.name} does not contain the {size} values of its shape {shape}")


def in_range(values: np.ndarray, spec: Spec) -> np.ndarray:
    """Cast values to the input's dtype; raise ServingError if one is out of range."""
    if spec.dtype == tf.string or not values.size:
        return values.astype(spec.dtype.as_numpy_dtype)
    low, high = (spec.dtype.min, spec.dtype.max) if spec.dtype != tf.bool else (False, True)
    outside = np.isfinite(values) & ((values < low) | (values > high))
    if outside.any():
        raise invalid(
            f"input {spec.name}: cannot convert {values[outside].flat[0]} to {spec.dtype.name} "
            "without loss of precision"
        )
    return values.astype(spec.dtype.as_numpy_dtype)


def to_proto(array: np.ndarray) -> TensorProto:
    """Return a TensorProto with its values in typed fields, as TF Serving does."""
    dtype = tf.string if array.dtype == object else tf.dtypes.as_dtype(array.dtype)
    proto = TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, _FIELDS[dtype]).extend(array.ravel().tolist())
    return proto
