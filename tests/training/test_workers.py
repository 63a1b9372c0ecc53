"""Claims about `train.strategy: multi_worker`: two processes on the loopback interface."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from attr_extractor.model.keras_versions import KERAS_3
from tests.conftest import ROOT, Shop, require_bad_input, run_tool
from tests.training.test_strategy import GRADIENTS, NOISE_OFF, run

needs_keras_2 = pytest.mark.skipif(KERAS_3, reason="Keras 3 has no multi-worker training")
IMPORTS = """
import sys
from functools import partial
import numpy as np
import tensorflow as tf
from attr_extractor.config import Config
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.training import fit, strategy
config, records, out, *settings = sys.argv[1:]
config = Config.read(config, settings)
"""


def start(*arguments: str) -> list[subprocess.Popen]:
    """Two workers that run one command; the chief is the first."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()

    def one(index: int) -> subprocess.Popen:
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT, env={**os.environ, "TF_CONFIG": config, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return [one(0), one(1)]


def train(built: Shop, out: Path, *settings: str) -> list[subprocess.Popen]:
    flags = [f"--set={s}" for s in ("train.strategy=multi_worker", "train.keep=last", *settings)]
    return start(
        "tools/train.py", f"--config={built.config}", f"--records={built.records}",
        f"--run_dir={out}", *flags,
    )  # fmt: skip


def finish(workers: list[subprocess.Popen]) -> list[tuple[int, str]]:
    """Exit code and stderr of each."""
    ended = [worker.communicate(timeout=300)[1] for worker in workers]
    return [(worker.returncode, text) for worker, text in zip(workers, ended)]


@needs_keras_2
@pytest.mark.slow
def test_the_gradients_of_two_workers_add_up_to_those_of_one_device(built, tmp_path):
    """Averages of the batch and N_t included: each worker sees half of the same batch."""
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    assert run(IMPORTS + GRADIENTS, built, one, *NOISE_OFF).returncode == 0
    settings = [str(built.config), str(built.records), str(two), *NOISE_OFF]
    workers = start("-c", IMPORTS + GRADIENTS, *settings, "train.strategy=multi_worker")
    for code, text in finish(workers):
        assert code == 0, text
    for a, b in zip(np.load(one).values(), np.load(two).values()):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=5e-3 * np.abs(a).max() + 1e-9)


@needs_keras_2
@pytest.mark.slow
def test_a_worker_that_dies_ends_the_other_and_the_restart_ends_with_the_same_weights(
    built, tmp_path
):
    settings = ["train.epochs=6", "train.average=0.9", "train.deterministic=true"]
    for code, text in finish(train(built, tmp_path / "whole", *settings)):
        assert code == 0, text
    chief, other = train(built, tmp_path / "killed", *settings)
    # within the second epoch or later, in the middle of what both do together
    while not list((tmp_path / "killed").glob("checkpoints/step-*.index")):
        assert chief.poll() is None
        time.sleep(0.05)
    other.kill()
    (code, text), _ = finish([chief, other])
    assert code == 75 and "Traceback" not in text
    line = next(line for line in text.splitlines() if line.startswith("error: "))
    assert "another of the 2 workers has stopped" in line
    assert not (tmp_path / "killed" / "weights.npz").exists()
    for code, text in finish(train(built, tmp_path / "killed", *settings)):
        assert code == 0, text
    whole, killed = (np.load(tmp_path / name / "weights.npz") for name in ("whole", "killed"))
    assert set(whole) == set(killed)
    for name in whole:
        np.testing.assert_allclose(killed[name], whole[name], rtol=1e-4, atol=1e-5)


@needs_keras_2
@pytest.mark.slow
def test_a_worker_that_falls_silent_ends_the_other(built, tmp_path):
    chief, other = train(built, tmp_path / "run", "train.epochs=10000")
    while not list((tmp_path / "run").glob("checkpoints/step-*.index")):
        assert chief.poll() is None
        time.sleep(0.05)
    other.send_signal(signal.SIGSTOP)
    try:
        text = chief.communicate(timeout=300)[1]
    finally:
        other.kill()
        other.communicate()
    assert chief.returncode == 75, text
    assert "another of the 2 workers has stopped" in text and "Traceback" not in text


@needs_keras_2
def test_a_worker_that_knows_of_no_others_is_one_clear_line(built, tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    result = run_tool(
        "train", f"--config={built.config}", f"--records={built.records}",
        f"--run_dir={tmp_path / 'run'}", "--set=train.strategy=multi_worker",
    )  # fmt: skip
    require_bad_input(result, "TF_CONFIG", "not set", '"cluster"')


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 trains on several workers")
def test_keras_3_refuses_several_workers(built, tmp_path):
    result = run_tool(
        "train", f"--config={built.config}", f"--records={built.records}",
        f"--run_dir={tmp_path / 'run'}", "--set=train.strategy=multi_worker",
    )  # fmt: skip
    require_bad_input(result, "multi_worker needs Keras 2", "mirrored")


def test_a_tpu_that_is_not_there_is_one_clear_line(built, tmp_path):
    result = run_tool(
        "train", f"--config={built.config}", f"--records={built.records}",
        f"--run_dir={tmp_path / 'run'}", "--set=train.strategy=tpu",
    )  # fmt: skip
    require_bad_input(result, "there is no TPU 'local'")
