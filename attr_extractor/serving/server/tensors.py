"""Check the tensors and photos of a request against a signature; convert TensorProtos.

A signature's inputs and outputs are `tf.TensorSpec`; the first dimension is rows.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from PIL import Image
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from attr_extractor.records import example
from attr_extractor.serving.server.status import invalid

Arrays = Mapping[str, np.ndarray]
Specs = Mapping[str, tf.TensorSpec]
PHOTOS = ("image_bytes", "stored")  # the inputs of the signatures that read files
EXAMPLES = "examples"  # the input of the signature that reads Examples of records
_PHOTO_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")  # decoded by the graph
_FEW_VALUES = 100_000  # allowed in any request: their cost is negligible
_MANY_VALUES = 8_000_000  # allowed if a signature has open dimensions
MOST_PHOTOS = 64  # of a product
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


def to_spec(name: str, info: TensorInfo) -> tf.TensorSpec:
    """Return the spec of an input or output in a SignatureDef.

    Raises:
      ValueError: if the first dimension is fixed, so that requests cannot share a batch, or JSON
        cannot represent the dtype.
    """
    sizes = [None if dim.size == -1 else dim.size for dim in info.tensor_shape.dim]
    if info.tensor_shape.unknown_rank:
        sizes = [None]
    if not sizes or sizes[0] is not None:
        raise ValueError(f"{name} has the shape {sizes}; its first dimension must be open")
    dtype = tf.dtypes.as_dtype(info.dtype)
    if dtype not in _FIELDS:
        raise ValueError(f"{name} has the type {dtype.name}, which is not supported")
    return tf.TensorSpec(sizes, dtype, name)


def max_json_values(specs: Specs, rows: int) -> int:
    """Return the maximum number of values, lists and commas in the JSON of `rows` rows."""
    shapes = [spec.shape.as_list()[1:] for spec in specs.values()]
    if not specs.keys().isdisjoint(PHOTOS):
        shapes = [[MOST_PHOTOS if size is None else size for size in shape] for shape in shapes]
    if any(None in shape for shape in shapes):
        return _MANY_VALUES
    depths = (shape[:depth] for shape in shapes for depth in range(len(shape) + 1))
    return _FEW_VALUES + 2 * rows * sum(map(math.prod, depths))


def count_rows(shapes: Mapping[str, Sequence[int]], specs: Specs, max_rows: int) -> int:
    """Return the number of rows in a request, given its tensors' shapes.

    Raises:
      ServingError: if names or shapes do not match the signature, the inputs differ in their number
        of rows, there are no rows or too many, or a product has too many photos.
    """
    if set(shapes) != set(specs):  # TF Serving's message
        raise invalid(
            f"input size does not match signature: {len(shapes)}!={len(specs)}. "
            f"Sent extra: {{{','.join(sorted(set(shapes) - set(specs)))}}}. "
            f"Missing but required: {{{','.join(sorted(set(specs) - set(shapes)))}}}."
        )
    for name, shape in shapes.items():
        expected = specs[name].shape.as_list()
        if len(shape) != len(expected) or any(
            want not in (None, size) for want, size in zip(expected, shape)
        ):
            wanted = ["B", *("?" if want is None else str(want) for want in expected[1:])]
            raise invalid(
                f"input {name} has the shape {list(shape)}; [{', '.join(wanted)}] is expected"
            )
        if name in PHOTOS and max(shape[1:], default=0) > MOST_PHOTOS:
            limit = f"a product has at most {MOST_PHOTOS} photos"
            raise invalid(f"input {name} has the shape {list(shape)}; {limit}")
    rows = {name: shape[0] for name, shape in shapes.items()}
    count = next(iter(rows.values()))
    if len(set(rows.values())) > 1:
        raise invalid(f"the inputs differ in their number of rows: {rows}")
    if count < 1:
        raise invalid("the request has no rows")
    if count > max_rows:
        raise invalid(f"the request has {count} rows; at most {max_rows} are allowed")
    return count


def from_protos(protos: Mapping[str, TensorProto], specs: Specs, max_rows: int) -> Arrays:
    """Convert a PredictRequest's inputs; check their shapes before allocating arrays."""
    shapes = {}
    for name, proto in protos.items():
        if proto.tensor_shape.unknown_rank:
            raise invalid(f"input {name} has no shape")
        shapes[name] = [dim.size for dim in proto.tensor_shape.dim]
    count_rows(shapes, specs, max_rows)
    return {name: _from_proto(proto, specs[name], shapes[name]) for name, proto in protos.items()}


def _from_proto(proto: TensorProto, spec: tf.TensorSpec, shape: list[int]) -> np.ndarray:
    if proto.dtype != spec.dtype.as_datatype_enum:
        raise invalid(f"input {spec.name} is not of the type {spec.dtype.name}")
    size = math.prod(shape)
    values = getattr(proto, _FIELDS[spec.dtype])
    if proto.tensor_content and spec.dtype != tf.string:
        if len(proto.tensor_content) == size * spec.dtype.size:
            return np.frombuffer(proto.tensor_content, spec.dtype.as_numpy_dtype).reshape(shape)
    elif len(values) == size or (len(values) == 1 and None not in spec.shape.as_list()[1:]):
        array = np.array(values, object if spec.dtype == tf.string else None)
        # a single value is repeated to fill the shape
        return np.resize(cast(array, spec), shape)
    raise invalid(f"input {spec.name} does not contain the {size} values of its shape {shape}")


def cast(values: np.ndarray, spec: tf.TensorSpec) -> np.ndarray:
    """Cast values to the input's dtype; raise ServingError if one is out of range."""
    if spec.dtype != tf.string and values.size:
        low, high = (spec.dtype.min, spec.dtype.max) if spec.dtype != tf.bool else (False, True)
        outside = np.isfinite(values) & ((values < low) | (values > high))
        if outside.any():
            raise invalid(
                f"input {spec.name}: cannot convert {values[outside].flat[0]} to "
                f"{spec.dtype.name} without loss of precision"
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


def check_photos(inputs: Arrays, megapixels: float) -> None:
    """Raise ServingError if a photo has too many pixels, or bytes are not an Example.

    The graph itself rejects more than 100 million pixels. Just below that limit, a PNG of a few
    kilobytes still takes gigabytes to decode: acceptable in a training run, not in a server. The
    size is read from the header. Photos without a readable size, and Examples without a photo, are
    left to the graph.
    """
    of_examples = (_photo(i, each) for i, each in enumerate(inputs.get(EXAMPLES, ())))
    raw = (photo for name in PHOTOS if name in inputs for photo in inputs[name].ravel())
    for i, photo in enumerate([*raw, *of_examples]):
        width, height = _photo_size(photo)
        if width * height > megapixels * 1e6:
            limit = f"at most {megapixels:g} million are allowed"
            raise invalid(f"photo {i} is {width} x {height} pixels; {limit}")


def _photo(row: int, serialized: bytes) -> bytes:
    """Return the photo in an Example, empty if there is none."""
    try:
        return example.photo(serialized)
    except DecodeError as error:  # the graph would reject the whole batch
        raise invalid(f"Could not parse example input: row {row} is not an Example") from error
    except LookupError:
        return b""


def _photo_size(photo: bytes) -> tuple[int, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(io.BytesIO(photo), formats=_PHOTO_FORMATS).size
        except (OSError, ValueError, Image.DecompressionBombError):
            return 0, 0  # damaged, or so large that the graph rejects it too
