"""An aiohttp server with deadlines, a connection cap and graceful stop, shared by all servers.

aiohttp alone waits forever for the rest of a head or a body, accepts any number of connections, and
decompresses bodies on the event loop. Here a head has `head_seconds` and a body `body_seconds`. At
the cap, the connection that the server has waited for longest is dropped; connections that were
never answered are dropped before others. On stop, requests that are still arriving get a few
seconds, and requests that have arrived are answered.
"""

from __future__ import annotations

import asyncio
import itertools
import resource
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from attr_extractor.web.log_limit import limit_log_lines

_BACKLOG = 256  # connections that the kernel completes before the server accepts them
_OTHER_FILES = 2 * _BACKLOG  # descriptors for the process' own files and a backlog beyond the cap
LAST_SECONDS = 5.0  # for requests that are still arriving when the server stops
_PATIENCE = 2.0  # seconds after which a slow body may be dropped for other requests
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class HttpLimits:
    """The maximum number of connections, and deadlines for the client."""

    connections: int = 1000  # fewer if the process may open fewer files
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    idle_seconds: float = 75.0  # between two requests


async def _free(_size: int) -> None:
    """Charge nothing."""


class HttpServer:
    """One application on one port; start and stop it within one event loop.

    The application must have `middleware`, and its handlers must read bodies with `body` only.
    """

    def __init__(self, limits: HttpLimits):
        self.limits = limits
        self._cap = min(limits.connections, open_files() // 2)
        self._listening: asyncio.Server | None = None
        self._open: dict[web.RequestHandler, _Connection] = {}
        self._awaited: dict[_Connection, None] = {}  # the server waits for them, longest first

    async def start(
        self, application: web.Application, host: str, port: int, drain_seconds: float
    ) -> int:
        """Start listening.

        Args:
          port: 0: any free port.
          drain_seconds: maximum for the requests in progress on stop.

        Returns:
          The port.

        Raises:
          OSError: if the port is taken, or the host is not an address of this machine.
        """
        limit_log_lines("aiohttp.server", "asyncio")
        self._runner = web.AppRunner(
            application,
            access_log=None,
            handler_cancellation=True,  # cancel a handler if its client disconnects
            shutdown_timeout=drain_seconds,
            auto_decompress=False,
        )
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        try:
            self._listening = await loop.create_server(
                self._connection, host, port, backlog=_BACKLOG
            )
        except OSError:
            await self._runner.cleanup()
            raise
        return self._listening.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop accepting connections, and answer the requests that have arrived."""
        loop = asyncio.get_running_loop()
        if self._listening is None:
            return
        self._listening.close()
        until = loop.time() + LAST_SECONDS
        while any(c.body_since is not None for c in self._awaited) and loop.time() < until:
            await asyncio.sleep(0.02)
        for connection in list(self._awaited):
            if not connection.idle:  # a response may be in transit; aiohttp closes these
                self._drop(connection)
        await self._runner.cleanup()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Track whether the server waits for the client, or the client for the server."""
        connection = self._open.get(request.protocol)
        if connection is None:  # dropped just after its head arrived
            raise web.HTTPServiceUnavailable
        if request.can_read_body:
            self._wait(connection, None)
        else:
            self._work(connection)
        try:
            return await handler(request)
        finally:
            self._wait(connection, self.limits.idle_seconds)
            connection.idle = connection.answered = True

    async def body(
        self,
        request: web.Request,
        most_bytes: int,
        charge: Callable[[int], Awaitable[None]] = _free,
    ) -> bytes:
        """Return a request's body, as sent.

        Args:
          charge: called with the size of each piece that arrives; an exception stops the reading.

        Raises:
          aiohttp.web.HTTPException: if the body is too large, takes too long, or is incomplete.
        """
        connection = self._open.get(request.protocol)
        if connection is None:
            raise web.HTTPServiceUnavailable
        connection.body_since = asyncio.get_running_loop().time()
        reading = _read(request, most_bytes, charge)
        try:
            content = await asyncio.wait_for(reading, self.limits.body_seconds)
        except asyncio.TimeoutError as error:
            seconds = f"{self.limits.body_seconds:g} seconds"
            raise web.HTTPRequestTimeout(reason=f"the body took more than {seconds}") from error
        except (ConnectionError, web.RequestPayloadError) as error:  # disconnected; invalid chunks
            raise web.HTTPBadRequest(reason="the body is incomplete") from error
        finally:
            connection.body_since = None
        self._work(connection)
        return content

    def make_room(self) -> bool:
        """Drop the body that has been arriving longest; return false if none is slow."""
        before = asyncio.get_running_loop().time() - _PATIENCE
        for connection in self._awaited:
            if connection.body_since is not None and connection.body_since < before:
                self._drop(connection)
                return True
        return False

    def _connection(self) -> _Connection:
        assert self._runner.server is not None
        return _Connection(self, self._runner.server())

    def opened(self, connection: _Connection) -> None:
        """Count a new connection; at the cap drop an awaited one, or else the new one."""
        full = len(self._open) >= self._cap
        self._open[connection.aiohttp] = connection
        if full:
            never_answered = (each for each in self._awaited if not each.answered)
            self._drop(next(itertools.chain(never_answered, self._awaited), connection))
        self._wait(connection, self.limits.head_seconds)

    def begun(self, connection: _Connection) -> None:
        """Start the deadline for the head of a connection's next request."""
        self._wait(connection, self.limits.head_seconds)

    def closed(self, connection: _Connection) -> None:
        """Forget a connection."""
        self._work(connection)
        self._open.pop(connection.aiohttp, None)

    def _wait(self, connection: _Connection, seconds: float | None) -> None:
        self._work(connection)
        if connection.aiohttp not in self._open:
            return
        self._awaited[connection] = None
        if seconds is not None:
            loop = asyncio.get_running_loop()
            connection.timer = loop.call_later(seconds, self._drop, connection)

    def _work(self, connection: _Connection) -> None:
        self._awaited.pop(connection, None)
        if connection.timer is not None:
            connection.timer.cancel()
            connection.timer = None

    def _drop(self, connection: _Connection) -> None:
        self.closed(connection)
        connection.transport.abort()


class _Connection(asyncio.Protocol):
    """The protocol of one connection: forwards asyncio's events to aiohttp and to the server."""

    transport: asyncio.Transport

    def __init__(self, server: HttpServer, aiohttp: web.RequestHandler):
        self.aiohttp = aiohttp
        self.answered = False  # at least once
        self.idle = False  # answered, and nothing received since
        self.body_since: float | None = None  # event loop time at which a body began to arrive
        self.timer: asyncio.TimerHandle | None = None
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.aiohttp.connection_made(transport)
        self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        if self.idle:
            self.idle = False
            self._server.begun(self)
        self.aiohttp.data_received(data)

    def eof_received(self) -> None:
        self.aiohttp.eof_received()

    def pause_writing(self) -> None:
        self.aiohttp.pause_writing()

    def resume_writing(self) -> None:
        self.aiohttp.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._server.closed(self)
        self.aiohttp.connection_lost(error)


async def _read(
    request: web.Request, most_bytes: int, charge: Callable[[int], Awaitable[None]]
) -> bytes:
    body, length = bytearray(), request.content_length or 0
    while length <= most_bytes:
        piece = await request.content.readany()
        if not piece:
            return bytes(body)
        await charge(len(piece))
        body += piece
        length = max(length, len(body))
    reason = f"the body has more than {most_bytes:,} bytes"
    raise web.HTTPRequestEntityTooLarge(most_bytes, length, reason=reason)


def open_files() -> int:
    """Return the number of file descriptors available for connections."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(64, (2**20 if soft == resource.RLIM_INFINITY else soft) - _OTHER_FILES)


def stop_event() -> asyncio.Event:
    """Return an event of the running loop that SIGTERM and SIGINT set."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped
