"""Claims about `serving/warmup.py`: what TF Serving finds in assets.extra."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")


def test_every_signature_is_warmed_with_one_row_and_with_eight(exported):
    path = exported.model / "1"
    file = path / "assets.extra" / "tf_serving_warmup_requests"
    signatures = tf.saved_model.load(str(path)).signatures
    asked: Counter = Counter()
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        name = request.model_spec.signature_name
        assert request.model_spec.name == exported.model.name
        inputs = {key: tf.make_ndarray(proto) for key, proto in request.inputs.items()}
        rows = {len(array) for array in inputs.values()}
        assert len(rows) == 1
        outputs = signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        errors = outputs["error"].numpy()
        np.testing.assert_array_equal(errors, [b""] * rows.copy().pop())
        asked[name, rows.pop()] += 1
    assert asked == {(name, rows): 1 for name in signatures for rows in (1, 8)}
