"""A load test of serve.py: mixed good and bad requests for minutes, a new version every minute.

The server runs in a separate process; the clients share its machine. Reports good requests that
failed (there should be none), latency next to the bare forward pass, and memory growth. With
hostile connections (hostile.py, also in a separate process) the first third of the time has no
attacks, and latency is reported separately with and without them.
"""

from __future__ import annotations

import functools
import itertools
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf
import urllib3

from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.records import example
from attr_extractor.serving.client import Answers, Client
from benchmarks import checkout, hostile, served
from benchmarks.hostile import ATTACKS

_QUIET = 100  # requests of a single client, before the load
_ATTACKED = ", attacked"
_TOLERANCE = 1e-4  # between scores of batches of different sizes
_BAD = (b"{", b'{"instances": []}', b'{"instances": [{"b64": "!"}]}', b'{"inputs": [1]}')


@dataclass
class _Seen:
    """Latencies and outcomes of all requests."""

    seconds: dict[str, list[float]] = field(default_factory=dict)  # by kind of request
    outcomes: Counter = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)
    attacked: threading.Event = field(default_factory=threading.Event)

    def ask(self, kind: str, call: Callable[[], str]) -> None:
        """Record one request's outcome and latency."""
        kind += _ATTACKED if self.attacked.is_set() else ""
        start = time.perf_counter()
        try:
            outcome = call()
        except Exception as error:  # noqa: BLE001 - counted by its text, and reported
            outcome = repr(error)
        self.seconds.setdefault(kind, []).append(time.perf_counter() - start)
        self.outcomes[outcome] += 1


def report(
    model: str | Path,
    photos: str | Path,
    minutes: float,
    swap_seconds: float,
    clients: int = 4,
    hostile_connections: int = 0,
    attacks: Sequence[str] = (),
) -> tuple[str, int]:
    """Run the load test; return a table of results and the number of good requests that failed.

    Args:
      model: a folder of version folders; copies of its highest version are served.
      photos: a folder with JPEG files.
      clients: number of clients that send one photo at a time, half of them over gRPC. One more
        client sends 32 at a time, one Examples, one asks /healthz, and one sends bad requests.
      hostile_connections: number of connections that attack after the first third of the time.
      attacks: names of hostile.ATTACKS; none: all of them in turn.

    Raises:
      InputError: if there is no model, there are too few photos, or an attack is unknown.
    """
    for name in attacks:
        if name not in ATTACKS:
            raise InputError(f"there is no attack {name!r}{did_you_mean(name, ATTACKS)}")
    tf.get_logger().setLevel("ERROR")  # the Session's loader logs a deprecation warning
    version, files = served.newest_version(Path(model)), served.read_photos(Path(photos))
    seen = _Seen()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        served.add_version(version, folder, 1)
        log = Path(temporary) / "log"
        with served.server(folder, log) as (process, addresses):
            expected = Client(addresses[0], "model").photos(files)
            for address in addresses:
                client = Client(address, "model")
                for i in range(_QUIET):
                    seen.ask(f"alone, {address[:4]}", _one(client, files, expected, i))
            threads = _clients(seen, addresses, files, expected, clients)
            quiet = minutes * 20 if hostile_connections else minutes * 60
            with ThreadPoolExecutor(1) as pool:
                after = (seen, addresses, hostile_connections, attacks, quiet)
                attacking = pool.submit(_attack, *after) if hostile_connections else None
                memory = _swap_versions(version, folder, process.pid, minutes * 60, swap_seconds)
                seen.over.set()
            for thread in threads:
                thread.join()
            attacked = attacking.result() if attacking else ""
        logged = log.stat().st_size
    outcomes = seen.outcomes
    failed = sum(n for what, n in outcomes.items() if what not in ("right", "refused"))
    lines = [
        *_table(seen, (quiet, minutes * 60 - quiet)),
        f"outcomes: {dict(outcomes.most_common())}",
    ]
    lines += [
        f"good requests that failed: {failed}",
        _slope(memory, swap_seconds),
        f"the server's log: {logged:,} bytes",
        *served.bare(version, files),
    ]
    return "\n".join([*lines, *attacked.splitlines()]), failed


def _attack(
    seen: _Seen, addresses: Sequence[str], connections: int, attacks: Sequence[str], quiet: float
) -> str:
    """Attack from the end of the quiet time to the end of the test; return a line per outcome."""
    places = [address.split("://")[1] for address in addresses]
    command = [sys.executable, "-m", hostile.__name__, *places, "model", str(connections), *attacks]
    pipe = subprocess.PIPE
    environment = checkout.environment()
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdin is not None
        if not seen.over.wait(quiet):
            seen.attacked.set()
            process.stdin.write("now\n")
            process.stdin.flush()
            seen.over.wait()
        process.terminate()
        return process.communicate()[0]


def _clients(
    seen: _Seen, addresses: Sequence[str], files: list[bytes], expected: Answers, count: int
) -> list[threading.Thread]:
    def loop(kind: str, calls: Iterator[Callable[[], str]], pause: float = 0.0) -> None:
        while not seen.over.wait(pause):
            seen.ask(kind, next(calls))

    work: list[tuple[str, Iterator[Callable[[], str]], float]] = []
    for i in range(count):
        address = addresses[i % len(addresses)]
        client = Client(address, "model")
        calls = (_one(client, files, expected, i + k) for k in itertools.count())
        work.append((f"under load, {address[:4]}", calls, 0.0))
    batches = Client(addresses[1], "model")
    work.append(("under load, 32 photos", itertools.repeat(_half(batches, files, expected)), 1.0))
    examples = Client(addresses[0], "model")
    work.append(("under load, Examples", _examples(examples, files), 0.05))
    health = itertools.repeat(_healthy(f"{addresses[0]}/healthz"))
    work.append(("/healthz", health, 0.1))
    url = f"{addresses[0]}/v1/models/model:predict"
    work.append(("bad requests", (_bad(url, body) for body in itertools.cycle(_BAD)), 0.2))
    threads = [threading.Thread(target=loop, args=each) for each in work]
    for thread in threads:
        thread.start()
    return threads


def _one(client: Client, files: list[bytes], expected: Answers, i: int) -> Callable[[], str]:
    i %= len(files)
    return lambda: _compared(client.photos(files[i : i + 1]), expected, slice(i, i + 1))


def _half(client: Client, files: list[bytes], expected: Answers) -> Callable[[], str]:
    return lambda: _compared(client.photos(files[:32]), expected, slice(0, 32))


def _examples(client: Client, files: list[bytes]) -> Iterator[Callable[[], str]]:
    photos = [example.of_photo(file) for file in files]
    expected = client.predict({"examples": photos}, "tf_example")

    def ask(i: int) -> str:
        found = client.predict({"examples": photos[i : i + 1]}, "tf_example")
        return _compared(found, expected, slice(i, i + 1))

    return (functools.partial(ask, i) for i in itertools.cycle(range(len(photos))))


def _healthy(url: str) -> Callable[[], str]:
    def call() -> str:
        status = urllib3.request("GET", url, retries=False, timeout=60).status
        return "right" if status == 200 else f"/healthz got {status}"

    return call


def _bad(url: str, body: bytes) -> Callable[[], str]:
    def call() -> str:
        status = urllib3.request("POST", url, body=body).status
        return "refused" if 400 <= status < 500 else f"a bad request got {status}"

    return call


def _compared(found: Answers, expected: Answers, rows: slice) -> str:
    for name, values in expected.items():
        if values.dtype == np.float32:
            same = np.allclose(found[name], values[rows], atol=_TOLERANCE)
        else:
            same = np.array_equal(found[name], values[rows])
        if not same:
            return f"{name} differs"
    return "right"


def _swap_versions(
    version: Path, folder: Path, pid: int, seconds: float, swap_seconds: float
) -> list[float]:
    """Add a version every `swap_seconds`; return the server's resident MiB for each second."""
    memory: list[float] = []
    start, newest = time.monotonic(), 1
    while (elapsed := time.monotonic() - start) < seconds:
        if elapsed >= newest * swap_seconds:
            newest += 1
            served.add_version(version, folder, newest)
            shutil.rmtree(folder / str(newest - 2), ignore_errors=True)
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        memory.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)  # from KiB
        time.sleep(1)
    return memory


def _table(seen: _Seen, phases: Sequence[float]) -> list[str]:
    """Return the table's lines; `phases`: seconds without and with attacks."""
    lines = [f"{'':34}{'requests':>10}{'a second':>10}{'p50':>10}{'p95':>10}{'p99':>10}"]
    for kind, seconds in seen.seconds.items():
        time_taken = sum(seconds) if kind.startswith("alone") else phases[kind.endswith(_ATTACKED)]
        quantiles = "".join(f"{q * 1e3:7.1f} ms" for q in np.percentile(seconds, [50, 95, 99]))
        lines.append(f"{kind:34}{len(seconds):10,}{len(seconds) / time_taken:10.1f}{quantiles}")
    return lines


def _slope(memory: list[float], swap_seconds: float) -> str:
    period = max(1, min(round(swap_seconds), len(memory) // 6))
    # the minimum of each period: a swap holds two versions and temporary memory of loading
    ends = range(period, len(memory) + 1, period)
    lows = [min(memory[end - period : end]) for end in ends]
    settled = lows[len(lows) // 3 :]  # the first versions fill the allocator's caches
    slope = np.polyfit(np.arange(len(settled)) * period / 60, settled, 1)[0]
    third = max(1, len(settled) // 3)
    start, end = (np.median(part) for part in (settled[:third], settled[-third:]))
    told = f"memory between swaps: {start:,.0f} MiB, then {end:,.0f}; slope {slope:+.1f} MiB"
    each = " ".join(f"{low:.0f}" for low in lows)
    return f"{told} a minute; at most {max(memory):,.0f}\nlowest memory of each period, MiB: {each}"
