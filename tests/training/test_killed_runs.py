"""A run killed ten times has the weights of an undisturbed run, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from attr_extractor.training.checkpoints import saved_steps
from tests.conftest import ROOT

KILLS = 6
SETTINGS = [  # all noise on, averages, and photos that grow
    "train.epochs=6", "train.deterministic=true", "train.average=0.9", "train.keep=last",
    "train.image_sizes={0: 32, 4: 48}", "data.image_size=48", "model.dropout=0.3",
    "augmentation.brightness=0.2", "augmentation.rand_operations=2",
    "augmentation.mixup=0.3", "augmentation.cutmix=0.3", "model.trunk=efficientnetlite0",
    "model.weights=imagenet", "train.first_layer_rate=0.1", "train.freeze_trunk_epochs=1",
]  # fmt: skip


def command(built, run, *settings: str) -> list[str]:
    return [
        sys.executable, str(ROOT / "tools" / "train.py"), f"--config={built.config}",
        f"--records={built.records}", f"--run_dir={run}",
        *[f"--set={setting}" for setting in (*SETTINGS, *settings)],
    ]  # fmt: skip


@pytest.mark.slow
def test_a_run_killed_six_times_has_equal_weights_bit_for_bit(built, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command(built, tmp_path / "undisturbed"), check=True, **quiet)
    chance, run, kills = random.Random(0), tmp_path / "killed", 0
    often = command(built, run, "train.checkpoint_minutes=0.0001")  # at every step
    while kills < KILLS:
        before = max(saved_steps(run / "checkpoints"), default=0)
        process = subprocess.Popen(often, **quiet)
        wanted = before + chance.randint(1, 6)
        while process.poll() is None and max(saved_steps(run / "checkpoints"), default=0) < wanted:
            time.sleep(0.01)
        if process.poll() is not None:
            break
        time.sleep(chance.random() * 0.2)  # in the middle of a step or of a save
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    subprocess.run(often, check=True, **quiet)
    assert kills == KILLS
    expected = dict(np.load(tmp_path / "undisturbed" / "weights.npz"))
    found = dict(np.load(run / "weights.npz"))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
