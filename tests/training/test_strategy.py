"""Claims about `training/strategy.py`: many devices compute what one does."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT

# in processes of their own, because devices are split before TensorFlow starts
SPLIT = """
import sys
from functools import partial
import numpy as np
import tensorflow as tf
from attr_extractor.config import Config
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.training import fit, strategy
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
config, records, out, *settings = sys.argv[1:]
config = Config.read(config, settings)
"""
TRAIN = SPLIT + "fit.train(config, records, out)"
# the step's own parts on the first batch: what each replica adds to gradients and sums
GRADIENTS = """
manifest = Manifest.read(records)
devices = strategy.make(config)
with devices.strategy.scope():
    model = fit.make_model(config, manifest, 10)
batches = devices.batches(partial(dataset.training_batches, records, manifest, config.data, 0, 0))
if devices.workers == 1:
    batches = devices.strategy.experimental_distribute_dataset(batches)

@tf.function
def gradients(batch):
    def of_replica(part):
        replica = tf.distribute.get_replica_context()
        whole = lambda x: replica.all_reduce(tf.distribute.ReduceOp.SUM, x)
        counts = whole(model.equation_1.counts(part["labels"]))
        seed = tf.constant([0, 0], tf.int64)
        pixels = tf.cast(part["pixels"], tf.float32)
        sums, _, found = model._learn(pixels, part["labels"], None, counts, seed)
        return [counts, whole(sums), *map(whole, found)]
    return devices.strategy.run(of_replica, args=(batch,))

found = gradients(next(iter(batches)))
local = devices.strategy.experimental_local_results
if devices.is_chief:
    np.savez(out, *[local(value)[0].numpy() for value in found])
"""
NOISE_OFF = ["augmentation.enabled=false", "loss.normalize_by=observed"]


def run(program: str, built, out, *settings: str) -> subprocess.CompletedProcess:
    arguments = [str(built.config), str(built.records), str(out), *settings]
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_gradients_of_two_devices_add_up_to_those_of_one(built, tmp_path):
    """The shop's labels are missing unevenly, so the replicas see different numbers of them."""
    found = {}
    for name in ("one_device", "mirrored"):
        path = tmp_path / f"{name}.npz"
        done = run(SPLIT + GRADIENTS, built, path, *NOISE_OFF, f"train.strategy={name}")
        assert done.returncode == 0, done.stderr
        found[name] = list(np.load(path).values())
    assert len(set(found["one_device"][0])) > 1  # N_t of some attribute is not the batch size
    for one, two in zip(found["one_device"], found["mirrored"]):
        # flat drawings have activations of exactly 0, where rounding decides what ReLU lets pass
        np.testing.assert_allclose(two, one, rtol=1e-3, atol=5e-3 * np.abs(one).max() + 1e-9)


@pytest.mark.slow
def test_two_devices_train_with_the_losses_of_one(built, tmp_path):
    epochs = {}
    settings = [*NOISE_OFF, "train.epochs=2", "train.average=0.9", "train.keep=last"]
    for name in ("one_device", "mirrored"):
        done = run(TRAIN, built, tmp_path / name, *settings, f"train.strategy={name}")
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stdout.replace("\r", "\n").splitlines() if "epoch" in line]
        words = [line.replace(",", " ").replace(":", " ").split() for line in lines]
        epochs[name] = [[float(word) for word in w if word[0].isdigit()] for w in words]
    assert len(epochs["mirrored"]) == 2 and len(epochs["mirrored"][0]) == 5
    np.testing.assert_allclose(epochs["mirrored"], epochs["one_device"], rtol=1e-2)


def test_a_batch_that_cannot_be_shared_is_one_clear_line(built, tmp_path):
    settings = ["train.strategy=mirrored", "data.batch_size=7"]
    done = run(TRAIN, built, tmp_path / "run", *settings)
    assert "data.batch_size: 7 photos cannot be split equally among 2 devices" in done.stderr


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
def test_a_cpu_without_bfloat16_is_told_in_one_line(precision, flags, told, monkeypatch):
    monkeypatch.setattr(strategy, "_cpu_info", lambda key: flags)
    line = strategy.precision_warning(precision)
    assert (line is not None and "train.precision=float32" in line) == told
