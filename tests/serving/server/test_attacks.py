"""Test hostile clients: an attack fails, and other clients are still answered."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from attr_extractor.catalogue.photos import store
from attr_extractor.errors import InputError
from attr_extractor.records import example
from attr_extractor.serving.client import Client
from attr_extractor.serving.server.batching import Limits
from attr_extractor.web import http_server
from attr_extractor.web.http_server import HttpLimits
from tests.serving.running import add_version, expected, photos, running

pytestmark = pytest.mark.slow  # most of them wait for deadlines
MOST = 2**18  # bytes of a body
# 5 rows of 32 x 32 x 3 pixels and the lists around them, twice, and 100,000
VALUES = f"more than {100_000 + 2 * 5 * (32 * 32 * 3 + 32 * 32 + 32 + 1):,} values"
PREDICT = "/v1/models/shop:predict"


@pytest.fixture(scope="module")
def server(served_folder):
    limits = Limits(batch_size=5)
    with running(
        served_folder, limits=limits, max_body_bytes=MOST, max_pending_bytes=4 * MOST
    ) as started:
        yield started


def head(*fields: str) -> bytes:
    lines = [f"POST {PREDICT} HTTP/1.1", "Host: localhost", *fields, "", ""]
    return "\r\n".join(lines).encode()


@contextlib.contextmanager
def stalled(server, count: int, *parts: bytes) -> Iterator[list[socket.socket]]:
    """Open connections that send these parts and then nothing; wait until they have arrived."""
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        opened = [
            stack.enter_context(socket.create_connection(address, timeout=60)) for _ in range(count)
        ]
        for connection in opened:
            connection.sendall(b"".join(parts))
        wait_until(lambda: metric(server, "pending_bytes") >= count)
        yield opened


def metric(server, name: str) -> float:
    page = httpx.get(f"http://127.0.0.1:{server.port}/metrics", timeout=60).text
    return float(page.split(f"\nattr_extractor_{name} ")[1].split()[0])


def wait_until(condition) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def post(server, body: bytes, **fields: str) -> httpx.Response:
    url = f"http://127.0.0.1:{server.port}{PREDICT}"
    return httpx.post(url, content=body, headers=fields, timeout=60)


def rows(*values: bytes, signature: str = "serving_default") -> bytes:
    texts = [{"b64": base64.b64encode(value).decode()} for value in values]
    return json.dumps({"signature_name": signature, "instances": texts}).encode()


def test_declared_but_unsent_bodies_do_not_block_other_clients(server, exported):
    announced = head(f"Content-Length: {MOST}")
    for fields in (announced, head("Transfer-Encoding: chunked")):
        with stalled(server, 16, fields, b"1\r\n{\r\n"):
            assert post(server, rows(photos(exported)[0])).status_code == 200
            assert metric(server, "pending_bytes") < MOST


def test_concurrent_bodies_of_undeclared_length_are_answered(server, exported):
    body = rows(photos(exported)[0])

    def ask(_i: int) -> int:
        return post(server, iter([body[:100], body[100:]])).status_code

    with ThreadPoolExecutor(24) as pool:
        assert set(pool.map(ask, range(48))) == {200}


def test_large_stalled_bodies_are_dropped_for_other_requests(server, exported, monkeypatch):
    monkeypatch.setattr(http_server, "_PATIENCE", 0.1)
    parts = (head(f"Content-Length: {MOST}"), b" " * (MOST - 100))
    with stalled(server, 4, *parts) as connections:
        time.sleep(0.2)  # longer than the server's patience
        assert post(server, rows(photos(exported)[0])).status_code == 200
        with contextlib.suppress(ConnectionResetError):
            assert connections[0].recv(1) == b""  # the one that came first


def test_a_stalled_body_does_not_keep_a_version_loaded(exported, tmp_path):
    add_version(exported, tmp_path, 1)

    def states(server) -> dict[str, str]:
        url = f"http://127.0.0.1:{server.port}/v1/models/shop"
        found = httpx.get(url, timeout=60).json()["model_version_status"]
        return {each["version"]: each["state"] for each in found}

    stalls = contextlib.ExitStack()
    with running(tmp_path, name="shop") as server, stalls:
        stalls.enter_context(stalled(server, 1, head("Content-Length: 1000"), b"{"))
        add_version(exported, tmp_path, 2)
        wait_until(lambda: states(server) == {"2": "AVAILABLE", "1": "END"})


def test_a_slow_body_is_rejected_with_a_reason(served_folder):
    with running(served_folder, http=HttpLimits(body_seconds=0.3)) as server:
        address = ("127.0.0.1", server.port)
        with socket.create_connection(address, timeout=60) as connection:
            connection.sendall(head("Content-Length: 1000") + b"{")
            found = connection.recv(10_000)
        assert found.startswith(b"HTTP/1.1 408") and b"more than 0.3 seconds" in found


def test_a_slow_grpc_message_is_rejected(served_folder):
    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:  # RFC 9113, 4.1
        return (
            struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload
        )

    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/tensorflow.serving.PredictionService/Predict",
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    literals = b"".join(  # RFC 7541, 6.2.2: each without an index, none longer than 126 bytes
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )
    headers, message, settings = frame(1, 4, 1, literals), b"\0" + struct.pack(">I", 1000), 4
    with (
        running(served_folder, http=HttpLimits(body_seconds=0.3)) as server,
        socket.socket() as connection,
    ):
        connection.settimeout(60)
        connection.connect(("127.0.0.1", server.grpc_port))
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(settings, 0, 0, b""))
        connection.sendall(headers + frame(0, 0, 1, message + b"{"))
        received = b""
        while b"the message took more than 0.3 seconds" not in received:
            piece = connection.recv(10_000)
            assert piece
            received += piece


def test_an_incomplete_body_is_rejected_and_not_logged_as_a_bug(server, caplog):
    with stalled(server, 3, head("Content-Length: 1000"), b"{"):
        pass  # they hang up
    wait_until(lambda: metric(server, "pending_bytes") == 0)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head("Transfer-Encoding: chunked") + b"no size\r\n")
        assert b" 400 " in connection.recv(10_000).split(b"\r\n")[0]
    assert [record for record in caplog.records if record.name.startswith("attr_extractor")] == []


def test_stop_does_not_wait_for_stalled_bodies(served_folder, monkeypatch):
    monkeypatch.setattr(http_server, "LAST_SECONDS", 0.1)
    stalls = contextlib.ExitStack()
    with (
        stalls,
        running(served_folder, drain_seconds=1e4) as server,
    ):  # it ends within 120, or fails
        stalls.enter_context(stalled(server, 2, head("Content-Length: 1000"), b"{"))


@pytest.mark.parametrize("sent", [b"", b"POST / HTTP/1.1\r\nHost: localhost\r\nX-"])
def test_an_incomplete_head_is_dropped_after_its_deadline(served_folder, sent):
    with running(served_folder, http=HttpLimits(head_seconds=0.3)) as server:
        address = ("127.0.0.1", server.port)
        with socket.create_connection(address, timeout=60) as connection:
            connection.sendall(sent)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        # so is the second one of a connection
        with socket.create_connection(address, timeout=60) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(10_000).startswith(b"HTTP/1.1 200")
            connection.sendall(b"GET /")
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""


def test_incomplete_heads_beyond_the_cap_are_dropped_for_complete_ones(served_folder, exported):
    with (
        running(served_folder, http=HttpLimits(connections=8)) as server,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(40):
            address = ("127.0.0.1", server.port)
            stack.enter_context(socket.create_connection(address)).sendall(b"POST / HTTP/1.1\r\n")
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(lambda photo: post(server, rows(photo)), photos(exported) * 4)
            assert {answer.status_code for answer in found} == {200}


def test_an_answered_client_is_kept_when_incomplete_heads_are_dropped(served_folder, exported):
    body = rows(photos(exported)[0])
    with (
        running(served_folder, http=HttpLimits(connections=8)) as server,
        contextlib.ExitStack() as stack,
    ):
        url = f"http://127.0.0.1:{server.port}{PREDICT}"
        # it does not try again: transport errors are the test's
        client = stack.enter_context(httpx.Client(timeout=60))
        for _ in range(5):
            assert client.post(url, content=body).status_code == 200
            for _ in range(20):
                address = ("127.0.0.1", server.port)
                half = stack.enter_context(socket.create_connection(address))
                half.sendall(b"POST / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("body", "encoding", "status", "words"),
    [
        (gzip.compress(b'{"inputs":[' + b"[]," * 80_000 + b"[]]}", mtime=0), "gzip", 400, VALUES),
        (gzip.compress(b" " * 2**22, mtime=0), "gzip", 413, "more than 262,144 bytes"),
        (b"\x1f\x8bno gzip at all", "gzip", 400, "is not valid gzip"),
        (gzip.compress(b"{}", mtime=0)[:-1], "gzip", 400, "not one complete gzip stream"),
        (b"{}", "br", 415, "'br' is not supported"),
        (b'{"inputs":[' + b"[]," * 80_000 + b"[]]}", "", 400, VALUES),
    ],
)
def test_the_decompressed_size_is_limited(server, body, encoding, status, words):
    answer = post(server, body, **({"Content-Encoding": encoding} if encoding else {}))
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert words in answer.json()["error"]


def test_the_compression_ratio_is_limited(served_folder):
    with running(served_folder) as server:
        answer = post(server, gzip.compress(b" " * 2**24), **{"Content-Encoding": "gzip"})
    assert answer.status_code == 413


def test_invalid_examples_are_rejected_and_fail_alone(served_folder, exported):
    files = photos(exported)
    answers = expected(exported, files)
    bad = rows(b"\xff" * 100, signature="tf_example")
    with running(served_folder) as server, ThreadPoolExecutor(8) as pool:
        addresses = (f"http://127.0.0.1:{server.port}", f"grpc://127.0.0.1:{server.grpc_port}")
        clients = [Client(address, "shop") for address in addresses]
        refused = [pool.submit(post, server, bad) for _ in range(20)]
        examples = [example.of_photo(store(file, 64).encoded) for file in files]
        good = [
            pool.submit(clients[i % 2].predict, {"examples": examples}, "tf_example")
            for i in range(20)
        ]
        for each in good:
            np.testing.assert_allclose(
                each.result()["category_score"], answers["category_score"], atol=1e-5
            )
        assert {each.result().status_code for each in refused} == {400}
        with pytest.raises(InputError, match="INVALID_ARGUMENT: Could not parse example"):
            clients[1].predict({"examples": [b"\xff" * 100]}, "tf_example")


def test_a_local_server_accepts_loopback_host_names_only(server):
    url = f"http://127.0.0.1:{server.port}/v1/models/shop"
    for host, status in (
        *(("localhost", 200), ("127.0.0.1:8501", 200), ("[::1]:1", 200)),
        *(("evil.example", 403), ("localhost.evil.example:8501", 403), ("[", 403), ("", 403)),
    ):
        assert httpx.get(url, headers={"Host": host}).status_code == status, host


def test_invalid_http_writes_few_log_lines(server, caplog):
    for _ in range(40):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\x01\x02: \r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.0 400")
    assert 0 < len([r for r in caplog.records if r.name == "aiohttp.server"]) <= 10
