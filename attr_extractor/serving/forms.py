"""Other forms of an exported network: how to write and run each.

Every form takes pixels uint8 [B, H, W, 3] and returns scores float32 [B, V]. Decoding and
post-processing are left to the caller; `model.json` and `schema.yaml` in the same folder describe
them. ONNX and OpenVINO require the extra `convert`; TFLite comes with TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from attr_extractor.errors import extra

Run = Callable[[np.ndarray], np.ndarray]  # uint8 [B, H, W, 3] -> float32 [B, V]
_OPSET = 17  # of ONNX; tf2onnx supports at most 18


@dataclass(frozen=True)
class Form:
    """The file name, writer, reader and tolerance of a form."""

    file: str
    write: Callable[[Any, Path, np.ndarray], None]  # scores function, file, pixels to calibrate on
    open: Callable[[Path], Run]
    tolerance: float | None  # of scores, against the SavedModel; None: lossy, not checked


def scores_of(network: Any) -> Any:
    """Return the part of a `ServedModel` from pixels to scores.

    Returns:
      A tf.function uint8 [B, H, W, 3] -> dict of `scores`.
    """
    pixels = network.inputs[0]
    spec = tf.TensorSpec(pixels.shape, pixels.dtype, "pixels")
    return tf.function(lambda pixels: {"scores": network(pixels)[0]}, input_signature=[spec])


def _write_onnx(function: Any, path: Path, pixels: np.ndarray) -> None:
    del pixels
    with extra("convert"):
        import tf2onnx
    tf2onnx.convert.from_function(
        function, function.input_signature, opset=_OPSET, output_path=str(path)
    )


def _open_onnx(path: Path) -> Run:
    with extra("convert"):
        import onnxruntime
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pixels: session.run(["scores"], {name: pixels})[0]


def _write_openvino(function: Any, path: Path, pixels: np.ndarray) -> None:
    del pixels
    with extra("convert"):
        import openvino
    model = openvino.convert_model(function.get_concrete_function())
    openvino.save_model(model, path, compress_to_fp16=False)


def _open_openvino(path: Path) -> Run:
    with extra("convert"):
        import openvino
    # float32 as in the other forms: the default is bfloat16 if the CPU supports it
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(path, "CPU", settings)
    return lambda pixels: model(pixels)[0]


def _tflite(function: Any) -> Any:
    """Return a converter for one photo at a time, the use case on phones."""
    spec = function.input_signature[0]
    one = function.get_concrete_function(tf.TensorSpec([1, *spec.shape[1:]], spec.dtype, spec.name))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([one], function)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter


def _write_float16(function: Any, path: Path, pixels: np.ndarray) -> None:
    del pixels
    converter = _tflite(function)
    converter.target_spec.supported_types = [tf.float16]
    path.write_bytes(converter.convert())


def _write_int8(function: Any, path: Path, pixels: np.ndarray) -> None:
    converter = _tflite(function)
    converter.representative_dataset = lambda: ([photo[np.newaxis]] for photo in pixels)
    # operations without an int8 kernel, such as the attention's softmax, stay in float
    path.write_bytes(converter.convert())


def _open_tflite(path: Path) -> Run:
    interpreter = tf.lite.Interpreter(str(path), num_threads=2)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    found = interpreter.get_output_details()[0]["index"]

    def run(pixels: np.ndarray) -> np.ndarray:
        scores = []
        for photo in pixels:
            interpreter.set_tensor(given, photo[np.newaxis])
            interpreter.invoke()
            scores.append(interpreter.get_tensor(found)[0])
        return np.stack(scores)

    return run


FORMS = {
    "onnx": Form("model.onnx", _write_onnx, _open_onnx, 1e-3),
    "openvino": Form("openvino.xml", _write_openvino, _open_openvino, 1e-3),
    "tflite_float16": Form("model_float16.tflite", _write_float16, _open_tflite, None),
    "tflite_int8": Form("model_int8.tflite", _write_int8, _open_tflite, None),
}
