"""Start, run and stop the local server, one model behind both APIs.

SIGTERM drains: new connections are refused, accepted requests are answered, then the process exits.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc
import tensorflow as tf

from attr_extractor import storage
from attr_extractor.errors import InputError
from attr_extractor.serving.server.batching import Limits, PendingBytes, Workers
from attr_extractor.serving.server.grpc_service import MessageDeadline, Services
from attr_extractor.serving.server.metrics import Metrics
from attr_extractor.serving.server.rest import Rest
from attr_extractor.serving.server.versions import Versions
from attr_extractor.web import access
from attr_extractor.web.http_server import (
    LAST_SECONDS,
    HttpLimits,
    HttpServer,
    open_files,
    stop_event,
)

BUCKET_POLL_SECONDS = 10.0  # least time between checks for a new version in a bucket
_MB = 2**20


@dataclass(frozen=True)
class ServeOptions:
    """The served model, the addresses and the limits."""

    model: str | Path  # a folder of version folders
    name: str = ""  # default: the folder's name
    host: str = "127.0.0.1"
    port: int = 8501  # 0: any free port
    grpc_port: int | None = None  # None: no gRPC
    limits: Limits = field(default_factory=Limits)
    max_body_bytes: int = 64 * _MB
    max_pending_bytes: int = 512 * _MB
    http: HttpLimits = field(default_factory=HttpLimits)
    poll_seconds: float = 1.0  # between checks for a new version
    drain_seconds: float = 60.0  # maximum for the requests in progress on stop


class Server:
    """One model behind both APIs; start and stop it within one event loop."""

    def __init__(self, options: ServeOptions):
        """Raise InputError if there is no folder of versions."""
        self.options = options
        self.port = self.grpc_port = 0
        self._folder = _require_folder(options.model)
        self._grpc: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Load the model, then start listening.

        Raises:
          InputError: if no version can be loaded, or a port is taken.
        """
        options, metrics = self.options, Metrics()
        workers = Workers(options.limits, metrics)
        self._http = HttpServer(options.http)
        pending = PendingBytes(options.max_pending_bytes, metrics, self._http.make_room)
        name = options.name or storage.file_name(self._folder)
        poll_seconds = options.poll_seconds
        if storage.is_remote(self._folder):
            poll_seconds = max(poll_seconds, BUCKET_POLL_SECONDS)
        self.versions = Versions(name, self._folder, workers, poll_seconds)
        await self.versions.start()
        self._services = Services(self.versions, workers, pending)
        self._rest = Rest(
            *(self.versions, workers, pending, self._http, options.max_body_bytes),
            loopback=access.is_loopback(options.host),
        )
        try:
            self.port = await self._http.start(
                self._rest.application(), options.host, options.port, options.drain_seconds
            )
            if options.grpc_port is not None:
                await self._start_grpc()
        except (OSError, RuntimeError) as error:  # from asyncio; from gRPC
            await self.stop()
            raise InputError(f"cannot listen on {options.host}: {error}") from error

    async def _start_grpc(self) -> None:
        options = self.options
        self._grpc = grpc.aio.server(
            interceptors=[MessageDeadline(options.http.body_seconds)],
            options=[
                ("grpc.max_receive_message_length", options.max_body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # a second server on the port is an error
                ("grpc.max_allowed_incoming_connections", open_files() // 2),
                ("grpc.server_handshake_timeout_ms", round(options.http.head_seconds * 1e3)),
            ],
        )
        self._services.add_to(self._grpc)
        self.grpc_port = self._grpc.add_insecure_port(f"{options.host}:{options.grpc_port}")
        await self._grpc.start()

    async def stop(self) -> None:
        """Refuse new requests, answer the accepted ones, and unload the model."""
        self._rest.draining = True
        await asyncio.gather(self._http.stop(), self._stop_grpc())
        await self.versions.stop()

    async def _stop_grpc(self) -> None:
        if self._grpc is None:
            return
        stopping = asyncio.ensure_future(self._grpc.stop(self.options.drain_seconds))
        await asyncio.wait([stopping], timeout=LAST_SECONDS)
        while self._services.answering and not stopping.done():
            await asyncio.sleep(0.02)
        await self._grpc.stop(None)  # cancels requests that are still arriving
        await stopping


def run(options: ServeOptions) -> None:
    """Serve until SIGTERM or SIGINT; print the addresses once the server is ready.

    Raises:
      InputError: if there is no model to serve, or a port is taken.
    """
    tf.get_logger().setLevel("ERROR")  # the Session's loader logs a deprecation warning
    asyncio.run(_run(Server(options)))


async def _run(server: Server) -> None:
    say = partial(print, flush=True)  # a pipe would buffer the lines until exit
    stopped = stop_event()
    await server.start()
    host = server.options.host
    say(f"REST: http://{host}:{server.port}/v1/models/{server.versions.name}")
    if server.grpc_port:
        say(f"gRPC: {host}:{server.grpc_port}")
    await stopped.wait()
    say("draining")
    await server.stop()
    say("drained")


def _require_folder(path: str | Path) -> str:
    if storage.exists(storage.join(path, "saved_model.pb")):
        parent = storage.parent(path)
        raise InputError(f"{path}: a single version; use the folder of versions, {parent}")
    if not storage.exists(path) or not (storage.is_remote(path) or Path(path).is_dir()):
        raise InputError(f"{path}: the model's folder does not exist; run attr-extractor export")
    return storage.resolve(path)
