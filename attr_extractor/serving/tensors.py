"""Tensors of a signature: what it expects, checked before a request may join a batch; protos."""

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
_FEW_VALUES = 100_000  # that any request may hold: they cost next to nothing
_MANY_VALUES = 8_000_000  # where a signature leaves sizes open
# where a TensorProto keeps its values
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
    """One input or output of a signature, rows first."""

    name: str
    graph_name: str
    dtype: tf.DType
    row_shape: tuple[int, ...]  # of one row; -1 where any length will do

    @classmethod
    def of(cls, name: str, info: Any) -> Spec:
        """From a SignatureDef's TensorInfo.

        Raises:
          ValueError: its first dimension is not open, so that requests cannot share a batch, or
            its type has no place in JSON.
        """
        sizes = [dim.size for dim in info.tensor_shape.dim]
        if not info.tensor_shape.unknown_rank and (not sizes or sizes[0] != -1):
            raise ValueError(f"{name} has the shape {sizes}, not one of any number of rows")
        dtype = tf.dtypes.as_dtype(info.dtype)
        if dtype not in _FIELDS:
            raise ValueError(f"{name} has the type {dtype.name}, which is not served")
        return cls(name, info.name, dtype, tuple(sizes[1:]))

    def values(self) -> int | None:
        """The numbers or texts of one row and the lists around them; None where sizes are open."""
        if -1 in self.row_shape:
            return None
        return sum(math.prod(self.row_shape[:depth]) for depth in range(len(self.row_shape) + 1))

    def rows(self, shape: Iterable[int]) -> int:
        """The rows of a tensor of this shape; raises ServingError where it does not fit."""
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
    """Holds the inputs' names equal to the signature's, in TF Serving's words."""
    sent, wanted = set(given), set(specs)
    if sent != wanted:
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)}. "
            f"Sent extra: {{{','.join(sorted(sent - wanted))}}}. "
            f"Missing but required: {{{','.join(sorted(wanted - sent))}}}."
        )


def count_rows(shapes: Mapping[str, Iterable[int]], specs: Mapping[str, Spec], limit: int) -> int:
    """The rows of a request, from its tensors' shapes alone.

    Raises:
      ServingError: a shape that does not fit, inputs that differ in rows, none or too many.
    """
    check_names(shapes, specs)
    rows = {name: specs[name].rows(shape) for name, shape in shapes.items()}
    count = next(iter(rows.values()))
    if len(set(rows.values())) > 1:
        raise invalid(f"the inputs differ in their number of rows: {rows}")
    if count < 1:
        raise invalid("the request has no rows")
    if count > limit:
        raise invalid(f"the request has {count} rows; at most {limit} are answered at once")
    return count


def most_values(specs: Mapping[str, Spec], rows: int) -> int:
    """The values, lists and commas that JSON for so many rows may hold."""
    of_a_row = [spec.values() for spec in specs.values()]
    known = [values for values in of_a_row if values is not None]
    if len(known) < len(of_a_row):
        return _MANY_VALUES
    return _FEW_VALUES + 2 * rows * sum(known)


def from_protos(protos: Mapping[str, TensorProto], specs: Mapping[str, Spec], limit: int) -> Arrays:
    """A PredictRequest's inputs; shapes are checked before anything of that size is made."""
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
        # one value stands for all of them
        return np.resize(in_range(values, spec), shape)
    raise invalid(f"input {spec.name} does not hold the {size} values of its shape {shape}")


def in_range(values: np.ndarray, spec: Spec) -> np.ndarray:
    """Numbers as the input's type; raises ServingError where one does not fit it."""
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
    """A TensorProto with its values in typed fields, where TF Serving puts them too."""
    dtype = tf.string if array.dtype == object else tf.dtypes.as_dtype(array.dtype)
    proto = TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, _FIELDS[dtype]).extend(array.ravel().tolist())
    return proto
