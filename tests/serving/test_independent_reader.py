"""OpenVINO's TensorFlow front end reads the exported SavedModel: no code of TensorFlow runs it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2


def with_default_signature(model: Path, name: str, copy: Path) -> Path:
    """Copy a SavedModel with one signature and its numbers only.

    The front end reads the default signature, and OpenVINO computes no strings.
    """
    shutil.copytree(model, copy)
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((copy / "saved_model.pb").read_bytes())
    signatures = saved.meta_graphs[0].signature_def
    chosen = signatures[name]
    for output in list(chosen.outputs):
        if chosen.outputs[output].dtype == tf.string.as_datatype_enum:
            del chosen.outputs[output]
    signatures["serving_default"].CopyFrom(chosen)
    for other in list(signatures):
        if other != "serving_default":
            del signatures[other]
    (copy / "saved_model.pb").write_bytes(saved.SerializeToString())
    return copy


def test_openvino_answers_the_signature_pixels_of_the_exported_folder(exported, tmp_path):
    openvino = pytest.importorskip("openvino")
    folder = exported.model / "1"
    read = openvino.convert_model(with_default_signature(folder, "pixels", tmp_path / "copy"))
    # float32: the default is bfloat16 if the CPU supports it
    network = openvino.Core().compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    photos = np.random.default_rng(0).integers(0, 256, [64, 32, 32, 3], dtype=np.uint8)
    photos[32:] //= np.arange(1, 33, dtype=np.uint8)[:, None, None, None]  # dark ones
    results = network(photos)
    found = {name: results[output] for output in network.outputs for name in output.names}
    answers = tf.saved_model.load(str(folder)).signatures["pixels"](pixels=photos)
    expected = {k: v.numpy() for k, v in answers.items() if k.endswith("_score")}
    assert set(found) == set(expected)
    for name, score in expected.items():
        np.testing.assert_allclose(found[name], score, atol=1e-4, err_msg=name)
    assert any(np.ptp(score[:, 0]) > 0.01 for score in expected.values())  # the photos matter
