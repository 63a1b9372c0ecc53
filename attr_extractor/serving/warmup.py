"""Warm-up requests: TF Serving runs them before it serves a new version.

The first request of a signature is slow because its graph is optimised then. Requires the extra
`serving` for TF Serving's protos.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from attr_extractor.records import example
from attr_extractor.serving import model_dir, tensors

FILE = Path("assets.extra", "tf_serving_warmup_requests")
ROWS = (1, 8)


def write(path: Path, name: str) -> None:
    """Write warm-up requests into a version folder: every signature with 1 and with 8 rows.

    Args:
      name: the model's name in requests.
    """
    model = model_dir.load(path)
    (path / FILE).parent.mkdir()
    with tf.io.TFRecordWriter(str(path / FILE)) as writer:
        for key, signature in model.signatures.items():
            specs = signature.structured_input_signature[1]
            for rows in ROWS:
                request = predict_pb2.PredictRequest()
                request.model_spec.name = name
                request.model_spec.signature_name = key
                for given, spec in specs.items():
                    values = _values(given, spec, rows, model.facts.photo_short_side)
                    request.inputs[given].CopyFrom(tensors.to_proto(values))
                log = prediction_log_pb2.PredictionLog()
                log.predict_log.request.CopyFrom(request)
                writer.write(log.SerializeToString(deterministic=True))


def _values(name: str, spec: tf.TensorSpec, rows: int, short_side: int) -> np.ndarray:
    """Return made-up rows of an input; photos are noise."""
    shape = [rows, *spec.shape[1:]]
    if spec.dtype != tf.string:
        return np.zeros(shape, spec.dtype.as_numpy_dtype)
    noise = np.random.default_rng(0).integers(0, 256, [short_side, short_side, 3], np.uint8)
    photo = tf.io.encode_jpeg(noise).numpy()
    if name == "examples":
        photo = example.of_photo(photo)
    # not np.full: it converts bytes to a string dtype and strips trailing zeros
    return np.array([photo] * rows, object)
