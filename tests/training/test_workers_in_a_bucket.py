"""`train.strategy: multi_worker` on two hosts that share a bucket of S3 and no folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT, Shop
from tests.two_hosts import Host, two_hosts

pytestmark = pytest.mark.slow
TRAIN = """
from attr_extractor import cli, working_copy
working_copy.UPLOAD_EVERY = 0.3
cli.main()
"""
UPLOAD = """
import sys
from pathlib import Path
from attr_extractor import storage
fs, bucket = storage.file_system("s3://shop")
fs.mkdir(bucket)
for path in Path(sys.argv[1]).rglob("*"):
    if path.is_file():
        storage.write(f"s3://shop/records/{path.relative_to(sys.argv[1])}", path.read_bytes())
"""
WAIT = """
import re, sys, time
from attr_extractor import storage
run, after = sys.argv[1], int(sys.argv[2])
while True:
    names = storage.names(f"{run}/checkpoints")
    steps = [int(m[1]) for m in (re.fullmatch(r"step-(\\d+)\\.index", name) for name in names) if m]
    if max(steps, default=0) > after:
        print(max(steps))
        break
    time.sleep(0.1)
"""
DOWNLOAD = """
import sys
from attr_extractor import storage
storage.download(f"{sys.argv[1]}/weights.npz", sys.argv[2])
"""
SETTINGS = (
    *("train.strategy=multi_worker", "train.keep=last", "train.epochs=4"),
    *("train.average=0.9", "train.deterministic=true", "train.checkpoint_minutes=0.001"),
    "augmentation.enabled=false",  # its noise depends on the number of workers
)


class Cluster:
    """Two hosts, and a server of S3 on the first."""

    def __init__(self, hosts: Sequence[Host]):
        self.hosts = hosts
        self._port = 2222
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "AWS_ENDPOINT_URL": f"http://{hosts[0].address}:5000",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        moto = [sys.executable, "-m", "moto.server", "-H", hosts[0].address, "-p", "5000"]
        hosts[0].run(moto, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def call(self, script: str, *arguments: str) -> str:
        """Run a script on the second host; return what it prints."""
        process = self._start(1, [sys.executable, "-c", script, *arguments])
        printed, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
        return printed

    def train(
        self, built: Shop, run: str, hosts: Sequence[int], *more: str
    ) -> list[subprocess.Popen]:
        """Start a worker on each of these hosts; the first is the chief."""
        addresses = []
        for number in hosts:
            self._port += 1
            addresses.append(f"{self.hosts[number].address}:{self._port}")
        flags = [f"--config={built.config}", "--records=s3://shop/records", f"--run_dir={run}"]
        flags += [f"--set={setting}" for setting in (*SETTINGS, *more)]
        command = [sys.executable, "-c", TRAIN, "train", *flags]
        cluster = {"worker": addresses}
        workers = []
        for index, number in enumerate(hosts):
            task = {"type": "worker", "index": index}
            config = json.dumps({"cluster": cluster, "task": task})
            workers.append(self._start(number, command, TF_CONFIG=config))
        return workers

    def _start(self, host: int, command: list[str], **environment: str) -> subprocess.Popen:
        return self.hosts[host].run(
            command,
            cwd=ROOT,
            env={**self._environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def cluster(built: Shop) -> Iterator[Cluster]:
    pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    with two_hosts() as hosts:
        made = Cluster(hosts)
        made.call(UPLOAD, str(built.records))
        yield made


def finish(workers: list[subprocess.Popen]) -> None:
    ended = [worker.communicate(timeout=300)[1] for worker in workers]
    for worker, told in zip(workers, ended):
        assert worker.returncode == 0, told


def test_a_killed_worker_and_another_number_of_workers_change_no_weights(
    cluster: Cluster, built: Shop, tmp_path: Path
):
    whole, killed = "s3://shop/whole", "s3://shop/killed"
    finish(cluster.train(built, whole, [0, 1]))
    step = "0"
    for _ in range(2):
        chief, other = cluster.train(built, killed, [0, 1])
        step = cluster.call(WAIT, killed, step).strip()
        for pid in cluster.hosts[1].pids():
            os.kill(pid, 9)
        told = chief.communicate(timeout=300)[1]
        other.communicate()
        assert chief.returncode == 75 and "Traceback" not in told, told
        assert "another of the 2 workers has stopped" in told
    # not by one: Keras 2 then multiplies moving variances by N / (N - 1)
    finish(cluster.train(built, killed, [1, 0, 1, 0]))
    weights = []
    for run in (whole, killed):
        path = tmp_path / f"{run.rpartition('/')[2]}.npz"
        cluster.call(DOWNLOAD, run, str(path))
        weights.append(np.load(path))
    assert set(weights[0]) == set(weights[1])
    for name in weights[0]:
        np.testing.assert_allclose(
            weights[1][name], weights[0][name], rtol=1e-3, atol=1e-3
        )  # sums in another order


def test_the_workers_agree_on_the_best_weights(cluster: Cluster, built: Shop):
    finish(cluster.train(built, "s3://shop/best", [0, 1], "train.keep=best", "train.epochs=2"))
