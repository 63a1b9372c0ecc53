"""A run killed four times has the weights of an undisturbed run, bit for bit."""

from __future__ import annotations

import random
import signal
import time

import numpy as np
import pytest

from attr_extractor.training.checkpoints import saved_steps
from tests import forked_tools
from tests.conftest import ROOT

KILLS = 2
SETTINGS = [  # all noise on, averages, and photos that grow
    "train.epochs=6", "train.deterministic=true", "train.average=0.9", "train.keep=last",
    "train.image_sizes={0: 32, 4: 48}", "data.image_size=48", "model.dropout=0.3",
    "augmentation.brightness=0.2", "augmentation.rand_operations=2",
    "augmentation.mixup=0.3", "augmentation.cutmix=0.3", "model.trunk=efficientnetlite0",
    "model.weights=imagenet", "train.first_layer_rate=0.1", "train.freeze_trunk_epochs=1",
]  # fmt: skip


def start(built, run, *settings: str) -> forked_tools.Program:
    flags = [f"--config={built.config}", f"--records={built.records}", f"--run_dir={run}"]
    flags += [f"--set={setting}" for setting in (*SETTINGS, *settings)]
    return forked_tools.Program(ROOT / "tools" / "train.py", flags, ROOT)


def finish(program: forked_tools.Program) -> None:
    told = program.communicate()[1]
    assert program.returncode == 0, told


@pytest.mark.slow
def test_a_run_killed_twice_has_equal_weights_bit_for_bit(built, tmp_path):
    finish(start(built, tmp_path / "undisturbed"))
    chance, run, kills = random.Random(0), tmp_path / "killed", 0
    often = "train.checkpoint_minutes=0.0001"  # at every step
    while kills < KILLS:
        before = max(saved_steps(run / "checkpoints"), default=0)
        process = start(built, run, often)
        wanted = before + chance.randint(1, 6)
        while process.poll() is None and max(saved_steps(run / "checkpoints"), default=0) < wanted:
            time.sleep(0.01)
        if process.poll() is not None:
            break
        time.sleep(chance.random() * 0.2)  # in the middle of a step or of a save
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    finish(start(built, run, often))
    assert kills == KILLS
    expected = dict(np.load(tmp_path / "undisturbed" / "weights.npz"))
    found = dict(np.load(run / "weights.npz"))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
