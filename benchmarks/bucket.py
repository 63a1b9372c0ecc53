"""Training from a bucket beside training from the disk: seconds of a step, requests, bytes.

The store is moto's server of S3 in a process of its own, on the same cores: its CPU time is part of
the steps, and is reported. The default cache downloads each shard once; one that is smaller than
the training split downloads some again in every epoch.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from attr_extractor import storage
from attr_extractor.config import Config
from attr_extractor.records import staging
from attr_extractor.records.manifest import Manifest
from benchmarks.loop_step import measure_loop
from benchmarks.timing import WARMUP
from tests import buckets

_ROUNDS = 3
_SMALL = 0.9  # of the training split
_FIELDS = slice(13, 15)  # of /proc/PID/stat: user and system time


@dataclass
class _Pass:
    seconds: float  # mean of a step
    server_cpu: float  # seconds of the store per step
    downloads: int
    bytes: int
    waited_for: int
    requests: Counter[str]  # for shards, by method


def report(config: Config, records: str, steps: int) -> str:
    """Return a table: the disk, the bucket, and the bucket with a small cache.

    Args:
      records: records on the disk; more shards than are read at a time show the most.
      steps: number of timed steps of each pass; more than an epoch's show the small cache.
    """
    manifest = Manifest.read(records)
    shards = manifest.splits["train"].shards
    small = int(_SMALL * sum(shard.bytes for shard in shards))
    with _store() as store:
        for name in _files(records):
            storage.write(f"{store.address}/{name}", Path(records, name).read_bytes())
        places: dict[str, tuple[str, int | None]] = {
            "disk": (records, None),
            "bucket": (store.address, None),
            "bucket, small cache": (store.address, small),
        }
        passes: dict[str, list[_Pass]] = {name: [] for name in places}
        for _ in range(_ROUNDS):
            for name, (place, limit) in places.items():
                passes[name].append(_measure(config, place, limit, steps, store))
    lines = [
        f"{len(shards)} shards of the training split, {_mib(s.bytes for s in shards):.0f} MiB; "
        f"{steps} steps of {config.data.batch_size} photos a pass, {_ROUNDS} rounds",
        f"{'':22}{'ms a step':>12}{'of the disk':>14}{'store CPU':>12}{'downloads':>12}"
        f"{'MiB':>8}{'waited for':>12}  requests for shards",
    ]
    for name, found in passes.items():
        ratio = np.median([p.seconds / d.seconds for p, d in zip(found, passes["disk"])])
        last = found[-1]
        lines.append(
            f"{name:22}{np.median([p.seconds for p in found]) * 1e3:12.1f}{ratio:14.3f}"
            f"{np.median([p.server_cpu for p in found]) * 1e3:9.1f} ms{last.downloads:12}"
            f"{_mib([last.bytes]):8.0f}{last.waited_for:12}  {dict(last.requests)}"
        )
    return "\n".join(lines)


class _Store:
    """A server of S3, its log and its CPU time."""

    address = "s3://bench/records"

    def __init__(self, process: subprocess.Popen, log: Path):
        self._process = process
        self._log = log

    def cpu_seconds(self) -> float:
        """Return the CPU time so far."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii")
        ticks = map(int, stat.split()[_FIELDS])
        return sum(ticks) / os.sysconf("SC_CLK_TCK")

    def requests(self) -> Counter[str]:
        """Return the requests for shards so far, by method."""
        logged = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return Counter(
            line.split('"')[1].split()[0] for line in logged if ".tfrecord" in line and '"' in line
        )


@contextmanager
def _store() -> Iterator[_Store]:
    with tempfile.TemporaryDirectory() as temporary:
        log = Path(temporary) / "log"
        with (
            log.open("wb") as file,
            buckets.moto(file) as (address, process),
            mock.patch.dict(os.environ, buckets.environment(address)),
        ):
            fs, bucket = storage.file_system("s3://bench")
            fs.mkdir(bucket)
            yield _Store(process, log)


def _measure(config: Config, records: str, limit: int | None, steps: int, store: _Store) -> _Pass:
    cache, cpu, requests = staging.Cache(limit), store.cpu_seconds(), store.requests()
    with mock.patch.object(staging, "cache", lambda: cache):
        times = measure_loop(config, records, steps)
    seconds = times.seconds[1 + WARMUP :]
    counts = cache.counts
    return _Pass(
        float(np.mean(seconds)),  # the mean, because a stall affects few steps
        (store.cpu_seconds() - cpu) / len(times.seconds),
        counts.downloads,
        counts.bytes,
        counts.waited_for,
        store.requests() - requests,
    )


def _files(folder: str) -> list[str]:
    return [p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file()]


def _mib(sizes: Iterator[int] | list[int]) -> float:
    return sum(sizes) / 2**20
