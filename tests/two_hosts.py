"""Two network namespaces of Linux, connected by a cable: two hosts that share only this disk.

A host sees no other network, so the tests' own servers must run on one of the two as well.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_OF_NAMESPACES = Path("/etc/netns")  # `ip netns exec` shows a namespace the files in its folder


@dataclass(frozen=True)
class Host:
    """A host with one network card; its name resolves to its address on both hosts."""

    name: str
    address: str
    started: list[subprocess.Popen] = field(default_factory=list)

    def run(self, argv: Sequence[str], **options: Any) -> subprocess.Popen:
        """Start a program on this host; `options` are those of Popen."""
        set_name = f'hostname {self.name} && exec "$@"'
        command = ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", set_name]
        self.started.append(subprocess.Popen([*command, "sh", *argv], **options))
        return self.started[-1]

    def pids(self) -> list[int]:
        """Return the processes on this host."""
        listed = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True)
        return [int(pid) for pid in listed.stdout.split()]


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Yield two connected hosts; remove them at the end with every process on them.

    Skip the test if this machine does not allow it.
    """
    start = f"ax{os.getpid()}"
    hosts = (Host(f"{start}a", "10.211.7.1"), Host(f"{start}b", "10.211.7.2"))
    try:
        _connect(hosts)
        yield hosts
    finally:
        for host in hosts:
            _remove(host)


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two connected hosts."""
    with two_hosts() as connected:
        yield connected


def _connect(hosts: tuple[Host, Host]) -> None:
    if sys.platform != "linux" or os.getuid() or not shutil.which("ip"):
        pytest.skip("network namespaces need Linux, root and the program ip")
    for host in hosts:
        _ip("netns", "add", host.name)
        files = _OF_NAMESPACES / host.name
        files.mkdir(parents=True)
        names = "".join(f"{each.address} {each.name}\n" for each in hosts)
        (files / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
    one, other = hosts
    card = ("card", "netns")
    _ip("link", "add", *card, one.name, "type", "veth", "peer", "name", *card, other.name)
    for host in hosts:
        _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "card")
        for device in ("lo", "card"):
            _ip("-n", host.name, "link", "set", device, "up")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _remove(host: Host) -> None:
    for started in host.started:  # one that has just begun is not on its host yet
        started.kill()
    for pid in host.pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", host.name], capture_output=True)
    shutil.rmtree(_OF_NAMESPACES / host.name, ignore_errors=True)
    with contextlib.suppress(OSError):  # of another namespace, or was never made
        _OF_NAMESPACES.rmdir()
