"""Tests of `ax.train` and `ax.Run`: a run in a notebook, beside the run directory's own files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import attr_extractor as ax
from attr_extractor.api import child
from attr_extractor.errors import InputError
from attr_extractor.training import fit
from tests.conftest import ROOT


@pytest.fixture
def run(exported, tmp_path) -> ax.Run:
    shutil.copytree(exported.run, tmp_path / "run")
    return ax.Run(tmp_path / "run")


def photos(run: ax.Run, count: int = 3) -> np.ndarray:
    side = run.config.data.image_size
    return np.random.default_rng(0).integers(0, 256, [count, side, side, 3], np.uint8)


def set_temperature(run: ax.Run, name: str, temperature: float) -> None:
    path = run.path / "thresholds.json"
    content = json.loads(path.read_text())
    content["attributes"][name]["temperature"] = temperature
    path.write_text(json.dumps(content))


def test_the_model_has_an_output_per_attribute_and_follows_the_temperatures(run):
    before = run.model
    scores = before.predict(photos(run), verbose=0)
    assert list(scores) == run.schema.names
    assert {name: s.shape[1] for name, s in scores.items()} == dict(
        zip(run.schema.names, run.schema.sizes)
    )
    assert run.model is before
    set_temperature(run, "neck_type", 2.0)
    after = run.model.predict(photos(run), verbose=0)
    logits = np.log(scores["neck_type"]) - np.log1p(-scores["neck_type"])
    np.testing.assert_allclose(after["neck_type"], 1 / (1 + np.exp(-logits / 2)), atol=1e-5)
    np.testing.assert_allclose(after["color"], scores["color"], atol=1e-6)


def test_the_model_is_a_plain_functional_keras_model(run, tmp_path, capsys):
    model = run.model
    expected = model.predict(photos(run), verbose=0)
    model.summary()
    assert "neck_type" in capsys.readouterr().out
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for name, found in loaded.predict(photos(run), verbose=0).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-6)


def test_the_model_converts_to_tensorflow_lite(run):
    interpreter = tf.lite.Interpreter(
        model_content=tf.lite.TFLiteConverter.from_keras_model(run.model).convert()
    )
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    batch = photos(run, 1)
    interpreter.set_tensor(given["index"], batch)
    interpreter.invoke()
    found = [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]
    for scores in run.model.predict(batch, verbose=0).values():
        assert any(f.shape == scores.shape and np.allclose(f, scores, atol=1e-4) for f in found)


def test_the_model_can_be_trained_further_by_keras(run):
    model = run.model
    labels = {n: np.eye(s)[np.zeros(8, int)] for n, s in zip(run.schema.names, run.schema.sizes)}
    model.compile(keras.optimizers.SGD(0.1), {n: "binary_crossentropy" for n in run.schema.names})
    losses = model.fit(photos(run, 8), labels, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert run.model is model


def test_history_has_the_scores_that_training_selected_by(run):
    history = run.history
    assert len(history) == run.config.train.epochs
    best = run.metrics["training"]["best_validation_score"]
    assert history["validation/score"].max() == pytest.approx(best, abs=1e-6)
    assert {f"train/attribute_loss/{name}" for name in run.schema.names} <= set(history)
    shutil.rmtree(run.path / "logs" / "train")
    with pytest.raises(InputError, match=r"logs/train: the folder of the training's logs is not"):
        _ = run.history


def test_predictions_are_the_answers_that_evaluate_scores(run):
    measured = ax.evaluate(run, split="validation")
    frame = run.predictions("validation")
    known = frame[frame["closure_label"].notna() & (frame["closure_label"] != "")]
    right = (known["closure"] == known["closure_label"]).mean()
    figures = measured["attributes"]["closure"]
    assert len(known) == figures["applicable"]
    assert right == pytest.approx(figures["score"], abs=1e-5)
    assert len(frame) == measured["photos"]


def test_infer_and_build_from_a_table_in_memory(shop, tmp_path):
    table = pd.read_csv(shop.catalogue, dtype=str, keep_default_na=False)
    draft = ax.infer_schema(table, "shop")
    assert draft.schema == ax.infer_schema(shop.catalogue, "shop").schema
    lists = table.assign(sizes=[["s", "m"], ["m"]] * (len(table) // 2))
    (sizes,) = (a for a in ax.infer_schema(lists).schema.attributes if a.name == "sizes")
    assert (sorted(sizes.values), sizes.exclusive) == (["m", "s"], False)
    manifest = ax.build_records(shop.catalogue, ax.Schema.read(shop.schema_file), tmp_path / "r")
    index = pd.read_parquet(tmp_path / "r" / "index")
    assert len(index) == sum(split.photos for split in manifest.splits.values()) > 0


ROAD = """
import logging, os, random, sys, warnings

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageFile
from tensorboard.compat import tensorflow_stub  # imports boto3, which filters a warning of its own
from tensorflow.python.framework.config import is_op_determinism_enabled

def state():
    return {
        "policy": keras.mixed_precision.global_policy().name,
        "determinism": is_op_determinism_enabled(),
        "numpy": np.random.get_state()[1].tolist(),
        "filters": [str(each) for each in warnings.filters],
        # not "absl": TensorFlow sets its level when it saves a model
        "levels": {name: logging.getLogger(name).level for name in ("", "PIL", "tensorflow")},
        "handlers": [str(each) for each in logging.getLogger().handlers],
        "pixels": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES),
        "environment": dict(os.environ),
        "session": keras.layers.Dense(1).name == "dense",  # true if Keras' counters were reset
    }

keras.mixed_precision.set_global_policy("mixed_bfloat16")
keras.layers.Dense(1)
np.random.seed(0)
before = state()
import attr_extractor as ax

catalogue, schema, config, photo, out = sys.argv[1:]
ax.infer_schema(catalogue)
ax.build_records(catalogue, schema, out + "/records")
settings = ["train.deterministic=true", "train.epochs=1"]
run = ax.train(ax.Config.read(config, settings), out + "/records", out + "/run")
ax.evaluate(run)
ax.calibrate(run)
side = run.config.data.image_size
scores = run.model.predict(np.zeros([1, side, side, 3]), verbose=0)
assert {each.dtype.name for each in scores.values()} == {"float32"}
ax.export(run, out + "/model")
assert ax.Predictor(out + "/model").predict(photo)[0].answers
after = state()
for key in before:
    assert before[key] == after[key], (key, before[key], after[key])
"""


@pytest.mark.slow
def test_nothing_changes_the_process_of_the_caller(shop, tmp_path):
    photo = next(shop.path.rglob("*.jpg"))
    arguments = [shop.catalogue, shop.schema_file, shop.config, photo, tmp_path]
    # no `if __name__ == "__main__"`: a build must not run the caller's script again
    script = tmp_path / "script.py"
    script.write_text(ROAD)
    result = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]


def test_a_child_process_raises_its_input_error_here(shop, tmp_path):
    with pytest.raises(InputError, match="neither a file nor one of"):
        ax.train("pretraned", shop.records, tmp_path / "run")
    config = ax.Config.read(shop.config)
    with pytest.raises(InputError, match="missing"):
        ax.train(config, tmp_path / "missing", tmp_path / "run")
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken"):
        ax.train(config, shop.records, tmp_path / "taken")


def test_a_failed_child_process_is_an_error_with_its_exit_code(capfd):
    with pytest.raises(RuntimeError, match="make_model failed: exit code 1"):
        child.call(fit.make_model)
    assert "TypeError" in capfd.readouterr().err
