"""Test `serving/convert.py`: each form, in its own runtime, returns the SavedModel's scores."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.errors import InputError
from attr_extractor.serving import convert

REQUIRED = {"onnx": ["tf2onnx", "onnxruntime"], "openvino": ["openvino"]}


def require(form: str) -> None:
    for module in REQUIRED.get(form, []):
        pytest.importorskip(module)


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [5, 32, 32, 3], dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(exported, photos) -> np.ndarray:
    """Return float32 [5, V]: the scores of the same pixels, sent as PNG files."""
    signature = tf.saved_model.load(str(exported.model / "1")).signatures["scores"]
    return signature(image_bytes=tf.stack([tf.io.encode_png(p) for p in photos]))["scores"].numpy()


def run_onnx(path, photos):
    session = importlib.import_module("onnxruntime").InferenceSession(str(path))
    return session.run(["scores"], {session.get_inputs()[0].name: photos})[0]


def run_openvino(path, photos):
    openvino = importlib.import_module("openvino")
    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return model(photos)[0]


def run_tflite(path, photos):
    interpreter = tf.lite.Interpreter(model_path=str(path))
    signature = interpreter.get_signature_list()
    assert interpreter.get_input_details()[0]["dtype"] == np.uint8, signature
    interpreter.allocate_tensors()
    scores = []
    for photo in photos:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], photo[None])
        interpreter.invoke()
        scores.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.stack(scores)


@pytest.mark.parametrize(
    ("form", "run", "tolerance"),
    [
        ("onnx", run_onnx, 1e-4),
        ("openvino", run_openvino, 1e-4),
        ("tflite_float16", run_tflite, 0.02),
        ("tflite_int8", run_tflite, 0.2),
    ],
)
def test_each_form_returns_the_scores_of_the_saved_model(
    exported, photos, expected, tmp_path, form, run, tolerance
):
    require(form)
    rows = convert.convert(exported.model, exported.path / "records", tmp_path, [form], 16)
    found = run(tmp_path / convert.FORMS[form].file, photos)
    np.testing.assert_allclose(found, expected, atol=tolerance)
    assert np.ptp(expected, axis=0).max() > 0.01  # the photos matter
    saved, converted = rows
    assert (saved.form, saved.agreement, saved.largest_difference) == ("SavedModel", 1.0, 0.0)
    assert converted.agreement > (0.99 if tolerance < 0.01 else 0.8)
    report = json.loads((tmp_path / "conversion.json").read_text(encoding="utf-8"))
    assert [line["form"] for line in report["forms"]] == ["SavedModel", form]
    # test photos of the records: as many as there are, 16 at most
    assert 0 < report["photos"] <= 16
    assert (tmp_path / "schema.yaml").is_file() and (tmp_path / "model.json").is_file()


def test_agreement_is_counted_per_photo_and_attribute(exported, tmp_path, monkeypatch):
    spoiled = convert.Form(
        "odd.bin",
        lambda function, path, pixels: path.write_bytes(b"12"),
        lambda path: lambda pixels: np.eye(11, dtype=np.float32)[[0] * len(pixels)],
        None,
    )
    monkeypatch.setitem(convert.FORMS, "odd", spoiled)
    records = exported.path / "records"
    _, row = convert.convert(exported.model, records, tmp_path, ["odd"], 4)
    assert row.mib == 2 / 2**20
    assert 0 <= row.agreement < 1 and row.largest_difference > 0.3


def test_a_float32_form_with_other_scores_raises_an_error(exported, tmp_path, monkeypatch):
    wrong = convert.Form(
        "odd.bin",
        lambda function, path, pixels: path.write_bytes(b""),
        lambda path: lambda pixels: np.full([len(pixels), 11], np.nan, np.float32),
        1e-3,
    )
    monkeypatch.setitem(convert.FORMS, "odd", wrong)
    with pytest.raises(RuntimeError, match="odd: scores differ from the SavedModel's by nan"):
        convert.convert(exported.model, exported.path / "records", tmp_path, ["odd"], 4)


def test_missing_records_are_rejected_before_anything_is_written(exported, tmp_path):
    with pytest.raises(InputError, match="records"):
        convert.convert(exported.model, tmp_path / "records", tmp_path / "out", ["onnx"], 4)
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_reported_with_its_pip_command(exported, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(InputError, match=r"pip install 'attr-extractor\[convert\]'"):
        convert.convert(exported.model, exported.path / "records", tmp_path, ["onnx"], 4)
