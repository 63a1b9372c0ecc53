"""`train.strategy: multi_worker` with two processes on the loopback interface."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from tests import forked_tools
from tests.conftest import ROOT, Shop
from tests.training.test_strategy import (
    NOISE_OFF,
    gradients_of_one_device,
    require_equal_gradients,
)


def start(script: Path, *arguments: str) -> list[forked_tools.Program]:
    """Start two workers with the same command; the first is the chief."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()

    def one(index: int) -> forked_tools.Program:
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        environment = {**os.environ, "TF_CONFIG": config}
        return forked_tools.Program(script, list(arguments), ROOT, environment)

    return [one(0), one(1)]


def train(built: Shop, out: Path, *settings: str) -> list[forked_tools.Program]:
    flags = [f"--set={s}" for s in ("train.strategy=multi_worker", "train.keep=last", *settings)]
    return start(
        ROOT / "tools" / "train.py", f"--config={built.config}", f"--records={built.records}",
        f"--run_dir={out}", *flags,
    )  # fmt: skip


def finish(workers: list[forked_tools.Program]) -> list[tuple[int, str]]:
    """Return the exit code and stderr of each."""
    ended = [worker.communicate(timeout=300)[1] for worker in workers]
    return [(worker.returncode, text) for worker, text in zip(workers, ended)]


@pytest.mark.slow
def test_the_gradients_of_two_workers_equal_those_of_one_device(built, tmp_path):
    """Each worker has half of the batch; batch statistics and N_t are sums over both."""
    path = tmp_path / "two.npz"
    arguments = ["gradients", str(built.config), str(built.records), str(path), *NOISE_OFF]
    program = ROOT / "tests" / "training" / "device_gradients.py"
    for code, text in finish(start(program, *arguments, "train.strategy=multi_worker")):
        assert code == 0, text
    require_equal_gradients(list(np.load(path).values()), gradients_of_one_device(built))


@pytest.mark.slow
def test_a_dead_worker_stops_the_other_and_the_restart_gives_the_same_weights(built, tmp_path):
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


@pytest.mark.slow
def test_a_silent_worker_stops_the_other(built, tmp_path):
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
