"""Test that what one TensorFlow exports, another loads and answers alike, without this package.

The environments are those beside the checkout: `.venv*` of `make test`, and `.tensorflow-*` with
TensorFlow alone, as in .ci/run.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT

# saves the answers of two signatures of each model for photos
CLIENT = """
import sys
import numpy as np
import tensorflow as tf
models, *photos = sys.argv[1:]
files = tf.constant([open(path, "rb").read() for path in photos])
for model in models.split(","):
    signatures = tf.saved_model.load(f"{model}/1").signatures
    found = {**signatures["serving_default"](image_bytes=files)}
    found["scores"] = signatures["scores"](image_bytes=files)["scores"]
    np.savez(f"{model}.npz", **{
        name: value.numpy().astype("S" if value.dtype == tf.string else "f4")
        for name, value in found.items()
    })
"""


def run(python: Path, *arguments: object) -> str:
    result = subprocess.run(
        [python, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{python}: {result.stderr[-2000:]}"
    return result.stdout


def environments() -> dict[str, Path]:
    """Return a Python for every version of TensorFlow that is installed beside the checkout."""
    script = "import importlib.metadata as m; print(m.version('tensorflow'))"
    pythons = [*ROOT.glob(".venv*/bin/python"), *ROOT.glob(".tensorflow-*/bin/python")]
    return {run(python, "-I", "-c", script).strip(): python for python in sorted(pythons)}


@pytest.mark.slow
def test_every_tensorflow_answers_alike_whichever_exported(exported, tmp_path):
    pythons = environments()
    if len(pythons) < 2:
        pytest.skip("only one TensorFlow is installed beside the checkout: .ci/run installs others")
    photos = sorted((exported.path / "images").glob("*.jpg"))[:5]
    exporters = [python for python in pythons.values() if python.parent.parent.name[1:5] == "venv"]
    models = [tmp_path / f"models{i}" for i in range(len(exporters))]
    for exporter, folder in zip(exporters, models):
        arguments = [f"--run_dir={exported.run}", f"--output_dir={folder}"]
        run(exporter, "-m", "attr_extractor", "export", *arguments)
    answers = []
    for version, reader in pythons.items():
        run(reader, "-I", "-c", CLIENT, ",".join(map(str, models)), *photos)
        for exporter, folder in zip(exporters, models):
            with np.load(f"{folder}.npz") as file:
                answers.append((f"{exporter} read by {version}", dict(file)))
    for name, found in answers:
        for output, expected in answers[0][1].items():
            if expected.dtype.kind == "S":
                np.testing.assert_array_equal(found[output], expected, f"{name}: {output}")
            else:
                np.testing.assert_allclose(found[output], expected, atol=1e-5, err_msg=name)
