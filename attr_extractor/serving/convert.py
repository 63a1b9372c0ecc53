"""Convert an exported model to other runtimes; compare each with it on photos of the records.

<output_dir>/<form's file>                  ONNX, OpenVINO, TFLite in float16 and in int8
<output_dir>/schema.yaml, model.json        required to interpret the scores
<output_dir>/conversion.json                agreement, size and time of each form

Every form takes pixels uint8 [B, H, W, 3] and returns scores float32 [B, V]. Decoding and
post-processing are left to the caller. ONNX and OpenVINO require the extra `convert`; TFLite comes
with TensorFlow.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from attr_extractor import files, ownership
from attr_extractor.config import DataConfig
from attr_extractor.errors import InputError, extra
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.serving import model_dir
from attr_extractor.serving.model_dir import ExportedModel

Scorer = Callable[[np.ndarray], np.ndarray]  # uint8 [B, H, W, 3] -> float32 [B, V]
_CALIBRATION_PHOTOS = 200  # to calibrate the int8 range of every tensor
_ROUNDS = 10
_OPSET = 17  # of ONNX; tf2onnx supports at most 18


@dataclass(frozen=True)
class Form:
    """The file name, writer, reader and tolerance of a form."""

    file: str
    write: Callable[[Any, Path, np.ndarray], None]  # scores function, file, pixels to calibrate on
    open: Callable[[Path], Scorer]
    tolerance: float | None  # of scores, against the SavedModel; None: lossy, not checked


@dataclass(frozen=True)
class Comparison:
    """A form compared with the SavedModel on the same photos; a line of conversion.json."""

    form: str
    mib: float
    agreement: float  # share of (photo, attribute) with the same answer
    largest_difference: float  # of a score
    ms_batch_1: float  # median
    ms_batch_32: float  # TFLite: one photo at a time


def convert(
    model: str | Path, records: str | Path, output_dir: str | Path, names: Sequence[str], count: int
) -> list[Comparison]:
    """Write the named forms of an exported model.

    Args:
      records: records of the model's schema; calibration photos come from the training split,
        photos to compare on from the test split.
      count: number of photos to compare on.

    Raises:
      InputError: if there is no exported model, there are no records of its schema, or an extra is
        not installed.
      RuntimeError: if the scores of a float32 form differ from the SavedModel's.
    """
    exported = model_dir.load(model)
    manifest = Manifest.read(records, exported.schema)
    data = DataConfig(image_size=exported.facts.image_size, square=exported.facts.square)
    calibration = _read_pixels(records, manifest, data, "train", _CALIBRATION_PHOTOS)
    photos = _read_pixels(records, manifest, data, "test", count)
    function = scores_function(exported.network)
    saved_model: Scorer = lambda pixels: function(pixels)["scores"].numpy()  # noqa: E731
    output_dir = Path(output_dir)
    with ownership.folder(output_dir, "the folder of the converted model"):
        for asset in ("schema.yaml", "model.json"):
            shutil.copy(exported.path / "assets" / asset, output_dir / asset)
        expected = _score_in_batches(saved_model, photos)
        report = [_compare("SavedModel", exported.path, saved_model, photos, expected, exported)]
        for name in names:
            form = FORMS[name]
            path = output_dir / form.file
            form.write(function, path, calibration)
            row = _compare(name, path, form.open(path), photos, expected, exported)
            _require_close(row, form)
            report.append(row)
        content = {
            "photos": len(photos),
            "fingerprint": exported.schema.fingerprint,
            "forms": [dataclasses.asdict(row) for row in report],
        }
        files.write_json(output_dir / "conversion.json", content)
        return report


def format_report(report: Sequence[Comparison]) -> str:
    """Return a table with a line for each form."""
    lines = [f"{'':16}{'MiB':>8}{'agreement':>12}{'difference':>12}{'batch 1':>12}{'batch 32':>12}"]
    lines += [
        f"{row.form:16}{row.mib:8.1f}{row.agreement:12.4f}{row.largest_difference:12.1e}"
        f"{row.ms_batch_1:9.1f} ms{row.ms_batch_32:9.1f} ms"
        for row in report
    ]
    return "\n".join(lines)


def scores_function(network: Any) -> Any:
    """Return the part of a `ServedModel` from pixels to scores.

    Returns:
      A tf.function uint8 [B, H, W, 3] -> dict of `scores`.
    """
    pixels = network.inputs[0]
    spec = tf.TensorSpec(pixels.shape, pixels.dtype, "pixels")
    return tf.function(lambda pixels: {"scores": network(pixels)[0]}, input_signature=[spec])


def _compare(
    name: str,
    path: Path,
    scorer: Scorer,
    photos: np.ndarray,
    expected: np.ndarray,
    exported: ExportedModel,
) -> Comparison:
    scores = _score_in_batches(scorer, photos)
    chosen, chosen_before = (exported.answers.chosen(s).numpy() for s in (scores, expected))
    starts = [columns.start for columns in exported.schema.slices.values()]
    same = np.logical_and.reduceat(chosen == chosen_before, starts, axis=1)  # [N, T]
    return Comparison(
        form=name,
        mib=_size(path) / 2**20,
        agreement=float(same.mean()),
        largest_difference=float(np.abs(scores - expected).max()),
        ms_batch_1=_median_ms(scorer, photos[:1]),
        ms_batch_32=_median_ms(scorer, np.resize(photos, [32, *photos.shape[1:]])),
    )


def _score_in_batches(scorer: Scorer, pixels: np.ndarray, size: int = 32) -> np.ndarray:
    """Return the scores of all photos: float32 [N, V]."""
    return np.concatenate([scorer(pixels[i : i + size]) for i in range(0, len(pixels), size)])


def _median_ms(scorer: Scorer, pixels: np.ndarray) -> float:
    """Return the median milliseconds of one batch."""
    seconds = []
    for _ in range(2 + _ROUNDS):  # the first two warm up
        start = time.perf_counter()
        scorer(pixels)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[2:]) * 1e3)


def _require_close(row: Comparison, form: Form) -> None:
    if form.tolerance is not None and not row.largest_difference <= form.tolerance:
        raise RuntimeError(
            f"{row.form}: scores differ from the SavedModel's by {row.largest_difference}"
        )


def _size(path: Path) -> int:
    """Return the bytes of a folder or file, including the file of OpenVINO's weights."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    weights = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    return sum(file.stat().st_size for file in [path, *weights])


def _read_pixels(
    records: str | Path, manifest: Manifest, data: DataConfig, split: str, count: int
) -> np.ndarray:
    """Return the first photos of a split, at most `count`: uint8 [N, H, W, 3]."""
    batches: list[np.ndarray] = []
    with dataset.readable(records):
        for batch in dataset.evaluation_batches(records, manifest, data, split):
            batches.append(batch["pixels"].numpy())
            if sum(map(len, batches)) >= count:
                break
    if not batches:
        raise InputError(f"{records}: its {split} split has no photos")
    return np.concatenate(batches)[:count]


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
    "openvino": Form("openvino.xml", _write_openvino, _open_openvino, 1e-3),
    "tflite_float16": Form("model_float16.tflite", _write_tflite_float16, _open_tflite, None),
    "tflite_int8": Form("model_int8.tflite", _write_tflite_int8, _open_tflite, None),
}
