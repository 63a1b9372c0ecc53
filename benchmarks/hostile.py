"""Attacks on a running server; soak.py --hostile runs them alongside the good clients.

  python -m benchmarks.hostile REST GRPC MODEL CONNECTIONS [ATTACK...]

Each connection repeats one attack, from the first line of stdin until SIGTERM. The program then
prints `attack outcome count`, one per line. An outcome is an HTTP status, a gRPC status, or how the
connection ended.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import gzip
import itertools
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import grpc
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from attr_extractor.web.http_server import stop_event

UNPACKED = 64 * 2**20  # bytes of a body after decompression; the server's own limit
_PAUSE = 0.2  # seconds between two attempts of one connection
_HELD = 120.0  # seconds that a stalled connection is held, unless the server closes it
_NO_EXAMPLE = b"\xff" * 100
Attack = Callable[["Target"], Awaitable[str]]


class Target:
    """The address of the attacked server."""

    def __init__(self, rest: str, grpc_address: str, model: str):
        self.host, port = rest.rsplit(":", 1)
        self.port = int(port)
        self.path = f"/v1/models/{model}:predict"
        self.model = model
        self.service = prediction_service_pb2_grpc.PredictionServiceStub(
            grpc.aio.insecure_channel(grpc_address)
        )

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a TCP connection to the REST port."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            yield reader, writer
        finally:
            writer.close()

    def head(self, *fields: str, method: str = "POST") -> bytes:
        """Return a request's head with these fields and one Host."""
        host = [] if any(each.startswith("Host:") for each in fields) else ["Host: 127.0.0.1"]
        return "\r\n".join([f"{method} {self.path} HTTP/1.1", *host, *fields, "", ""]).encode()

    async def send(self, *parts: bytes) -> str:
        """Send the parts; return the response's status, or how the connection ended."""
        async with self.connect() as (reader, writer):
            for part in parts:
                writer.write(part)
                await writer.drain()
            return await _status(reader)

    async def post(self, body: bytes, *fields: str) -> str:
        """Send a complete request with this body."""
        return await self.send(self.head(f"Content-Length: {len(body)}", *fields), body)


async def stalled_body(target: Target) -> str:
    """Declare 64 MiB and send one byte."""
    return await target.send(target.head(f"Content-Length: {UNPACKED}"), b"{")


async def stalled_chunks(target: Target) -> str:
    """Send one byte of a body of unknown length."""
    return await target.send(target.head("Transfer-Encoding: chunked"), b"1\r\n{\r\n")


async def stalled_large_body(target: Target) -> str:
    """Declare 64 MiB and send 60 MiB."""
    parts = [b" " * 2**20] * 60
    return await target.send(target.head(f"Content-Length: {UNPACKED}"), *parts)


async def half_head(target: Target) -> str:
    """Slowloris: send a field of the head every 5 seconds and never its end."""
    async with target.connect() as (reader, writer):
        writer.write(f"POST {target.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode())
        for i in itertools.count():
            writer.write(f"X-{i}: 1\r\n".encode())
            await writer.drain()
            with contextlib.suppress(asyncio.TimeoutError):
                return await asyncio.wait_for(_status(reader), 5)
    raise AssertionError("the loop has no end")


async def gzip_of_lists(target: Target) -> str:
    """Send 65 KB that decompress to 22 million empty lists."""
    return await target.post(_packed(b'{"instances":[', b"[],", b"[]]}"), "Content-Encoding: gzip")


async def gzip_of_blanks(target: Target) -> str:
    """Send 65 KB that decompress to 64 MiB of blanks."""
    return await target.post(_packed(b"{", b" ", b"}"), "Content-Encoding: gzip")


async def broken_gzip(target: Target) -> str:
    """Send a body that is declared as gzip but is not gzip."""
    return await target.post(b"\x1f\x8bno gzip at all", "Content-Encoding: gzip")


async def deep_json(target: Target) -> str:
    """Send 100,000 open brackets."""
    return await target.post(b"[" * 100_000)


async def half_surrogate(target: Target) -> str:
    """Send text that is not valid Unicode: half a surrogate pair."""
    return await target.post(b'{"instances": ["\\ud800"]}')


async def no_http(target: Target) -> str:
    """Send bytes that are not HTTP."""
    return await target.send(b"GET /\x00\xff HTTP/9\r\n\x01\x02: \r\n\r\n")


async def foreign_host(target: Target) -> str:
    """Send a request with a foreign Host, as in DNS rebinding."""
    return await target.send(target.head("Host: evil.example", method="GET"))


async def bad_example(target: Target) -> str:
    """Send bytes that are not an Example, to share a batch with good rows of others."""
    row = {"b64": base64.b64encode(_NO_EXAMPLE).decode()}
    body = json.dumps({"signature_name": "tf_example", "instances": [row]}).encode()
    return await target.post(body)


async def bad_example_grpc(target: Target) -> str:
    """Do the same as `bad_example`, over gRPC."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = target.model
    request.model_spec.signature_name = "tf_example"
    proto = TensorProto(dtype=7, string_val=[_NO_EXAMPLE])
    proto.tensor_shape.dim.add(size=1)
    request.inputs["examples"].CopyFrom(proto)
    try:
        await target.service.Predict(request, timeout=30)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        *(stalled_body, half_head, stalled_chunks, bad_example, gzip_of_lists, bad_example_grpc),
        *(stalled_large_body, gzip_of_blanks, broken_gzip, deep_json, half_surrogate, no_http),
        foreign_host,
    )
}


async def _status(reader: asyncio.StreamReader) -> str:
    try:
        line = await asyncio.wait_for(reader.readline(), _HELD)
    except asyncio.TimeoutError:
        return "held open"
    return line.split()[1].decode() if line.startswith(b"HTTP/") else "closed"


@functools.lru_cache(None)
def _packed(head: bytes, repeated: bytes, tail: bytes) -> bytes:
    count = (UNPACKED - len(head) - len(tail)) // len(repeated)
    return gzip.compress(head + repeated * count + tail)


async def attack(target: Target, names: Sequence[str], connections: int) -> Counter:
    """Attack until SIGTERM; return how often each attack had each outcome."""
    stopped, outcomes = stop_event(), Counter[str]()

    async def repeat(name: str) -> None:
        while not stopped.is_set():  # checked because wait_for may lose a cancellation
            try:
                outcome = await ATTACKS[name](target)
            except OSError as error:
                outcome = type(error).__name__
            outcomes[f"{name} {outcome}"] += 1
            await asyncio.sleep(_PAUSE)

    tasks = [asyncio.create_task(repeat(names[i % len(names)])) for i in range(connections)]
    await stopped.wait()
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):  # a task failed before the cancellation
            raise result
    return outcomes


async def _main(rest: str, grpc_address: str, model: str, connections: str, *names: str) -> None:
    target = Target(rest, grpc_address, model)
    sys.stdin.readline()
    outcomes = await attack(target, names or list(ATTACKS), int(connections))
    for outcome, count in sorted(outcomes.items()):
        print(outcome, count)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
