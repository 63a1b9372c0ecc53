"""Both Keras versions give the same pixels and load the same weights."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.model import keras_versions, network
from attr_extractor.schema import Schema
from tests.conftest import ROOT, SCHEMA

TRUNKS = ("small_cnn", "efficientnetb0")
FILL_MODES = ("nearest", "reflect", "constant")
SIDE = 32
PHOTOS = np.random.default_rng(0).integers(0, 256, [2, SIDE, SIDE, 3], dtype=np.uint8)
# the second reaches far outside the photo
MAPS = np.float32([[0.8, -0.5, 9, 0.6, 0.9, -7, 0, 0], [2.5, 0.1, -40, -0.2, 3, -35, 0, 0]])


def moved(fill_mode: str) -> np.ndarray:
    photos = tf.constant(PHOTOS, tf.float32)
    return keras_versions.affine_transform(photos, tf.constant(MAPS), fill_mode).numpy()


def logits_model(trunk: str) -> keras.Model:
    attention = {"num_heads": 8, "key_dim": 4, "feed_forward_dim": 16}
    model = {"trunk": trunk, "weights": "none", "attention": attention, "hidden": [8, 8]}
    model["fuse_stages"] = 1
    content = {"name": "t", "data": {"image_size": SIDE}, "model": model}
    return network.build(Schema.parse(SCHEMA, "test"), Config.model_validate(content)).logits


def answer(trunk: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Return the logits of a network with these weights."""
    model = logits_model(trunk)
    network.set_layer_arrays(model, arrays, "the other TensorFlow's weights")
    return model(PHOTOS, training=False).numpy()


def weights_of(trunk: str) -> dict[str, np.ndarray]:
    """Return random weights other than 0 and 1, so a weight in the wrong place is detected."""
    generator = np.random.default_rng(1)
    return {
        # the network's own normalisation of pixels stays the identity
        key: a if key.startswith("normalization") else a + generator.uniform(-0.02, 0.02, a.shape)
        for key, a in network.layer_arrays(logits_model(trunk)).items()
    }


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def exchange(folder: Path) -> None:
    """Compute logits with our weights and with fresh ones, in the other TensorFlow's process.

    Write `theirs-<trunk>.npz`, `answers-<trunk>.npz` (`ours`, `theirs`) and `pixels.npz`.
    """
    for trunk in TRUNKS:
        theirs = weights_of(trunk)
        np.savez(folder / f"theirs-{trunk}.npz", **theirs)
        answers = {
            "ours": answer(trunk, read(folder / f"ours-{trunk}.npz")),
            "theirs": answer(trunk, theirs),
        }
        np.savez(folder / f"answers-{trunk}.npz", **answers)
    np.savez(folder / "pixels.npz", **{mode: moved(mode) for mode in FILL_MODES})


def other_python() -> Path:
    """Return the Python of an environment of `make test` with the other Keras version."""
    version = "import importlib.metadata as m; print(m.version('keras'))"
    for python in sorted(ROOT.glob(".venv*/bin/python")):
        command = [python, "-c", version]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        if found and found.split(".")[0] != keras.__version__.split(".")[0]:
            return python
    pytest.skip("no environment of the other TensorFlow beside the checkout: make test makes one")


@pytest.mark.slow
def test_both_tensorflow_versions_give_the_same_logits_and_pixels(tmp_path):
    python = other_python()
    for trunk in TRUNKS:
        np.savez(tmp_path / f"ours-{trunk}.npz", **weights_of(trunk))
    script = (
        "import pathlib, sys; from tests.model import test_keras_versions as t\n"
        "t.exchange(pathlib.Path(sys.argv[1]))"
    )
    result = subprocess.run(
        [python, "-c", script, tmp_path],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stderr
    for trunk in TRUNKS:
        ours, theirs = (read(tmp_path / f"{side}-{trunk}.npz") for side in ("ours", "theirs"))
        assert list(ours) == list(theirs)
        answers = read(tmp_path / f"answers-{trunk}.npz")
        for side, arrays in (("ours", ours), ("theirs", theirs)):
            scale = np.abs(answers[side]).max()
            np.testing.assert_allclose(answer(trunk, arrays), answers[side], atol=1e-4 * scale)
    for mode, pixels in read(tmp_path / "pixels.npz").items():
        np.testing.assert_array_equal(moved(mode), pixels)


@pytest.mark.parametrize("fill_mode", FILL_MODES)
def test_affine_transform_is_tensorflows_op(fill_mode):
    expected = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.constant(PHOTOS, tf.float32),
        transforms=MAPS,
        output_shape=[SIDE, SIDE],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode=fill_mode.upper(),
    )
    np.testing.assert_array_equal(moved(fill_mode), expected)


def test_the_installed_tensorflow_matches_the_python_version():
    assert (sys.version_info >= (3, 12)) == keras_versions.KERAS_3
    assert tf.__version__.startswith("2.21." if keras_versions.KERAS_3 else "2.15.")


def test_one_file_depends_on_the_keras_version():
    seam = Path(keras_versions.__file__)
    folders = (ROOT / "attr_extractor", ROOT / "benchmarks")
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        knows = re.search(
            r"tensorflow_addons|KERAS_3|keras\.(__version__|ops|src)", path.read_text("utf-8")
        )
        assert path == seam or not knows, path
