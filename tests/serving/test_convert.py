"""Test `serving/convert.py`: each form, in its own runtime, returns the SavedModel's scores."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from attr_extractor.errors import InputError
from attr_extractor.serving import convert, export, model_dir

_ONNX = ["tf2onnx", "onnxruntime"]
REQUIRED = {"onnx": _ONNX, "onnx_answers": _ONNX, "openvino": ["openvino"]}
REQUIRED["openvino_int8"] = ["openvino", "nncf"]

# Runs with ONNX Runtime and NumPy only, as a caller without this package does.
CALLER = """
import json, sys
for name in ("attr_extractor", "tensorflow", "tf2onnx"):
    sys.modules[name] = None
import numpy as np
import onnxruntime
model, photos = sys.argv[1:]
session = onnxruntime.InferenceSession(model)
names = [output.name for output in session.get_outputs()]
outputs = session.run(names, {"pixels": np.load(photos)})
print(json.dumps({name: output.tolist() for name, output in zip(names, outputs)}))
"""


def require(form: str) -> None:
    for module in REQUIRED.get(form, []):
        pytest.importorskip(module)


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [5, 32, 32, 3], dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(exported, photos) -> np.ndarray:
    """Return float32 [5, V]: the scores of the same pixels, sent as lossless files."""
    signature = tf.saved_model.load(str(exported.model / "1")).signatures["stored_scores"]
    return signature(stored=tf.stack([tf.io.encode_png(p) for p in photos]))["scores"].numpy()


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
        ("onnx_answers", run_onnx, 1e-4),
        ("openvino", run_openvino, 1e-4),
        pytest.param("openvino_int8", run_openvino, 0.2, marks=pytest.mark.slow),
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


def test_answers_onnx_returns_the_saved_models_words_without_this_package(
    exported, photos, tmp_path
):
    require("onnx_answers")
    # drawn photos: pixels at random have the same answers
    drawn = [np.asarray(Image.open(p).resize([32, 32])) for p in exported.path.glob("images/*.jpg")]
    pixels = np.concatenate([photos, drawn])
    np.save(tmp_path / "photos.npy", pixels)
    convert.convert(exported.model, exported.path / "records", tmp_path, ["onnx_answers"], 4)
    caller = [sys.executable, "-I", "-c", CALLER, "answers.onnx", "photos.npy"]
    result = subprocess.run(caller, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    answers = json.loads(result.stdout)
    signature = tf.saved_model.load(str(exported.model / "1")).signatures["pixels"]
    expected = {name: value.numpy() for name, value in signature(pixels=pixels).items()}
    assert {*answers, "error"} == {*expected, "scores"}
    varying = 0
    for name in expected.keys() - {"error"}:
        if name.endswith("_score"):
            np.testing.assert_allclose(answers[name], expected[name], atol=1e-4)
        else:
            words = np.char.decode(expected[name].astype(bytes), "utf-8")
            assert answers[name] == words.tolist()
            varying += len(np.unique(words)) > 1
    assert varying  # the photos matter


def test_an_attribute_named_scores_is_rejected_only_for_answers_onnx(
    exported, tmp_path, monkeypatch
):
    loaded = model_dir.load(exported.model)
    monkeypatch.setitem(loaded.schema.index, "scores", 0)
    monkeypatch.setattr(model_dir, "load", lambda path: loaded)
    records = exported.path / "records"
    with pytest.raises(InputError, match="'scores' would collide"):
        convert.convert(exported.model, records, tmp_path, ["onnx_answers"], 4)
    convert.convert(exported.model, records, tmp_path, [], 4)


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


def test_an_export_in_bfloat16_is_rejected_before_anything_is_written(exported, tmp_path):
    model = export.export(exported.run, tmp_path / "shop", precision="bfloat16")
    with pytest.raises(InputError, match="a conversion starts from float32"):
        convert.convert(model, exported.path / "records", tmp_path / "out", ["tflite_float16"], 4)
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_reported_with_its_pip_command(exported, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(InputError, match=r"pip install 'attr-extractor\[convert\]'"):
        convert.convert(exported.model, exported.path / "records", tmp_path, ["onnx"], 4)
