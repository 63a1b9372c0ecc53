"""Several devices compute the same as one; bad device settings are rejected."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.training import strategy
from attr_extractor.training.strategy import Devices
from tests import forked_tools
from tests.conftest import ROOT, require_bad_input, run_tool
from tests.training.device_gradients import gradients

NOISE_OFF = ["augmentation.enabled=false", "loss.normalize_by=observed"]


def run_program(program: str, built, out, *settings: str) -> subprocess.CompletedProcess:
    """Run a program of device_gradients.py in a process of its own."""
    script = ROOT / "tests" / "training" / "device_gradients.py"
    arguments = [program, str(built.config), str(built.records), str(out), *settings]
    return forked_tools.run(script, arguments, ROOT)


def require_equal_gradients(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Compare gradients, sums and counts up to float error."""
    assert len(set(expected[0])) > 1  # N_t of some attribute is not the batch size
    for one, other in zip(expected, found):
        # flat drawings have activations of exactly 0, where rounding decides what ReLU lets pass
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=5e-3 * np.abs(one).max() + 1e-9)


def gradients_of_one_device(built) -> list[np.ndarray]:
    """Compute the gradients of the first batch in this process."""
    config = Config.read(built.config, NOISE_OFF)
    return gradients(strategy.make(config), config, built.records)


def test_the_gradients_of_two_devices_equal_those_of_one(built, tmp_path):
    """The replicas have different numbers of missing labels."""
    path = tmp_path / "two.npz"
    done = run_program("gradients", built, path, *NOISE_OFF, "train.strategy=mirrored")
    assert done.returncode == 0, done.stderr
    require_equal_gradients(list(np.load(path).values()), gradients_of_one_device(built))


@pytest.mark.slow
def test_two_devices_have_the_losses_of_one(built, tmp_path):
    epochs = {}
    settings = [*NOISE_OFF, "train.epochs=2", "train.average=0.9", "train.keep=last"]
    for name in ("one_device", "mirrored"):
        done = run_program("train", built, tmp_path / name, *settings, f"train.strategy={name}")
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stdout.replace("\r", "\n").splitlines() if "epoch" in line]
        words = [line.replace(",", " ").replace(":", " ").split() for line in lines]
        epochs[name] = [[float(word) for word in w if word[0].isdigit()] for w in words]
    assert len(epochs["mirrored"]) == 2 and len(epochs["mirrored"][0]) == 5
    np.testing.assert_allclose(epochs["mirrored"], epochs["one_device"], rtol=1e-2)


def test_a_batch_that_cannot_be_split_equally_is_rejected(built, monkeypatch):
    two = Devices(SimpleNamespace(num_replicas_in_sync=2))
    monkeypatch.setitem(strategy._MAKERS, "mirrored", lambda: two)
    settings = ["train.strategy=mirrored", "data.batch_size=7"]
    with pytest.raises(InputError, match="7 photos cannot be split equally among 2 devices"):
        strategy.make(Config.read(built.config, settings))


def test_multi_worker_without_tf_config_is_rejected(built, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(InputError, match="variable TF_CONFIG.* it is 'not set'") as error:
        strategy.make(Config.read(built.config, ["train.strategy=multi_worker"]))
    assert '"cluster"' in str(error.value)


def test_a_missing_tpu_raises(built, tmp_path):
    result = run_tool(
        "train", f"--config={built.config}", f"--records={built.records}",
        f"--run_dir={tmp_path / 'run'}", "--set=train.strategy=tpu",
    )  # fmt: skip
    require_bad_input(result, "there is no TPU 'local'")


@pytest.mark.parametrize(
    ("precision", "flags", "told"),
    [
        ("mixed_bfloat16", "fpu avx2 avx512f", True),
        ("mixed_bfloat16", "fpu avx512f avx512_bf16", False),
        ("mixed_bfloat16", "fpu amx_bf16", False),
        ("mixed_bfloat16", "", False),  # no Linux: nothing is known
        ("float32", "fpu avx2", False),
    ],
)
def test_a_cpu_without_bfloat16_prints_a_warning(precision, flags, told, monkeypatch):
    monkeypatch.setattr(strategy, "cpu_info", lambda key: flags)
    line = strategy.precision_warning(precision)
    assert (line is not None and "train.precision=float32" in line) == told
