"""Tests of `two_hosts.py`: the hosts reach each other and nothing else, and nothing is left."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import two_hosts

SERVE = """
import socket
with socket.create_server(("0.0.0.0", 7000)) as server:
    print("ready", flush=True)
    while True:
        with server.accept()[0] as client:
            client.sendall(socket.gethostname().encode())
"""
ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], 7000), 5) as server:
    print(server.recv(99).decode(), end="")
"""


def ask(host: two_hosts.Host, address: str) -> str:
    with host.run([sys.executable, "-c", ASK, address], text=True, stdout=-1, stderr=-1) as asks:
        answer, problem = asks.communicate()
    return answer or problem.splitlines()[-1]


def test_two_hosts_reach_each_other_by_address_and_by_name():
    with two_hosts.two_hosts() as (one, other):
        served = one.run([sys.executable, "-c", SERVE], text=True, stdout=subprocess.PIPE)
        assert served.stdout is not None and served.stdout.readline() == "ready\n"
        assert ask(other, one.address) == ask(other, one.name) == one.name
        assert ask(one, "127.0.0.1") == one.name
        assert "refused" in ask(other, "127.0.0.1")  # not the same machine
        assert "unreachable" in ask(other, "192.0.2.1")  # no other network
        assert served.poll() is None
    assert served.wait() == -9
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    assert one.name not in listed and other.name not in listed


def test_hosts_are_removed_after_an_error():
    with pytest.raises(ZeroDivisionError), two_hosts.two_hosts() as (one, _):
        left = one.run(["sleep", "100"])
        raise ZeroDivisionError
    assert left.wait() == -9
    assert not one.pids()
