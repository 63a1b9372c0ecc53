"""Write and open each form of a converted model: ONNX, OpenVINO, TFLite.

A form is written from a tf.function of pixels uint8 [B, H, W, 3] -> dict of `scores`, and opened in
its own runtime. ONNX and OpenVINO require the extra `convert`; TFLite comes with TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from attr_extractor.errors import extra
from attr_extractor.serving import int8

Scorer = Callable[[np.ndarray], np.ndarray]  # uint8 [B, H, W, 3] -> float32 [B, V]
_OPSET = 17  # of ONNX; tf2onnx supports at most 18


@dataclass(frozen=True)
class Form:
    """The file name, writer, reader and tolerance of a form."""

    file: str
    write: Callable[[Any, Path, np.ndarray], None]  # of a scores function, with training photos
    open: Callable[[Path], Scorer]
    tolerance: float | None  # of scores, against the SavedModel; None: lossy, not checked
    answers: bool = False  # whether the written function also returns the answers


def _write_onnx(function: Any, path: Path, _pixels: np.ndarray) -> None:
    with extra("convert"):
        import tf2onnx
    tf2onnx.convert.from_function(
        function, function.input_signature, opset=_OPSET, output_path=str(path)
    )


def _open_onnx(path: Path) -> Scorer:
    with extra("convert"):
        import onnxruntime
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pixels: session.run(["scores"], {name: pixels})[0]


def _write_openvino(function: Any, path: Path, _pixels: np.ndarray) -> None:
    with extra("convert"):
        import openvino
    model = openvino.convert_model(function.get_concrete_function())
    openvino.save_model(model, path, compress_to_fp16=False)


def _write_openvino_int8(function: Any, path: Path, pixels: np.ndarray) -> None:
    with extra("convert"):
        import openvino
    model = openvino.convert_model(function.get_concrete_function())
    openvino.save_model(int8.quantize(model, pixels), path, compress_to_fp16=False)


def _open_openvino(path: Path) -> Scorer:
    with extra("convert"):
        import openvino
    # float32 as in the other forms: the default is bfloat16 if the CPU supports it
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(path, "CPU", settings)
    return lambda pixels: model(pixels)[0]


def _tflite_converter(function: Any) -> tf.lite.TFLiteConverter:
    """Return a converter for one photo at a time, the use case on phones."""
    spec = function.input_signature[0]
    one = function.get_concrete_function(tf.TensorSpec([1, *spec.shape[1:]], spec.dtype, spec.name))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([one], function)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter


def _write_tflite_float16(function: Any, path: Path, _pixels: np.ndarray) -> None:
    converter = _tflite_converter(function)
    converter.target_spec.supported_types = [tf.float16]
    path.write_bytes(converter.convert())


def _write_tflite_int8(function: Any, path: Path, pixels: np.ndarray) -> None:
    converter = _tflite_converter(function)
    converter.representative_dataset = lambda: ([photo[np.newaxis]] for photo in pixels)
    # operations without an int8 kernel, such as the attention's softmax, stay in float
    path.write_bytes(converter.convert())


def _open_tflite(path: Path) -> Scorer:
    interpreter = tf.lite.Interpreter(str(path), num_threads=2)
    interpreter.allocate_tensors()
    (given,), (returned,) = interpreter.get_input_details(), interpreter.get_output_details()

    def score(pixels: np.ndarray) -> np.ndarray:
        scores = []
        for photo in pixels:
            interpreter.set_tensor(given["index"], photo[np.newaxis])
            interpreter.invoke()
            scores.append(interpreter.get_tensor(returned["index"])[0])
        return np.stack(scores)

    return score


FORMS = {
    "onnx": Form("model.onnx", _write_onnx, _open_onnx, 1e-3),
    "onnx_answers": Form("answers.onnx", _write_onnx, _open_onnx, 1e-3, answers=True),
    "openvino": Form("openvino.xml", _write_openvino, _open_openvino, 1e-3),
    "openvino_int8": Form("openvino_int8.xml", _write_openvino_int8, _open_openvino, None),
    "tflite_float16": Form("model_float16.tflite", _write_tflite_float16, _open_tflite, None),
    "tflite_int8": Form("model_int8.tflite", _write_tflite_int8, _open_tflite, None),
}
