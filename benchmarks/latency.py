"""From photo to answer: latency of a local server under concurrent clients, beside the network.

Each client sends one photo, waits for the answer and sends the next. The server runs in a process
of its own; the clients share its machine, so their own work is part of what is measured.
"""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from attr_extractor.serving.client import Client
from benchmarks import served

_CLIENTS = (1, 8, 64)
_WARMUP = 2  # requests of each client
_STARTS_WITHIN = 300.0  # seconds; a client that failed does not start


def report(model: str | Path, photos: str | Path, count: int) -> str:
    """Return a table of latencies: both APIs at 1, 8 and 64 clients, and the network alone.

    Args:
      model: a folder of version folders; the highest one is served.
      photos: a folder with at least `served.PHOTOS` JPEG files.
      count: number of requests of each line.

    Raises:
      InputError: if there is no model, or there are too few photos.
    """
    tf.get_logger().setLevel("ERROR")  # the Session's loader logs a deprecation warning
    version, files = served.newest_version(Path(model)), served.read_photos(Path(photos))
    lines = [f"{'clients':>18}{'photos/s':>12}{'p50':>12}{'p95':>12}{'p99':>12}"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        served.add_version(version, folder, 1)
        with served.server(folder, Path(temporary) / "log") as (_, addresses):
            for address, clients in itertools.product(addresses, _CLIENTS):
                api = "gRPC" if address.startswith("grpc") else "REST"
                lines.append(f"{api:6}{clients:12}{_line(address, files, clients, count)}")
    return "\n".join([*lines, *served.bare(version, files)])


def _line(address: str, files: list[bytes], clients: int, count: int) -> str:
    each = max(1, count // clients)
    started = threading.Barrier(clients + 1, timeout=_STARTS_WITHIN)

    def run(number: int) -> list[float]:
        client = Client(address, "model", parallel=1)
        seconds = []
        for i in range(_WARMUP + each):
            if i == _WARMUP:
                started.wait()
            photo = files[(number * each + i) % len(files)]
            start = time.perf_counter()
            client.photos([photo])
            seconds.append(time.perf_counter() - start)
        return seconds[_WARMUP:]

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(run, number) for number in range(clients)]
        started.wait()
        start = time.perf_counter()
        seconds = np.concatenate([one.result() for one in running])
        rate = len(seconds) / (time.perf_counter() - start)
    quantiles = "".join(f"{q * 1e3:9.1f} ms" for q in np.percentile(seconds, [50, 95, 99]))
    return f"{rate:12.1f}{quantiles}"
