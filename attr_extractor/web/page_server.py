"""The server of one web page: its files, access rules, errors as JSON, and life cycle.

The page `name` is the template <name>.html with the static files <name>.css and <name>.js. An error
is returned as {"error": message}.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import pydantic
from aiohttp import web

from attr_extractor.errors import InputError
from attr_extractor.web import access, pages
from attr_extractor.web.http_server import Handler, HttpLimits, HttpServer, stop_event

_DRAIN_SECONDS = 10.0  # maximum time for running requests on stop
_SHARED_FILES = ("report.css", "app.css", "app.js")
# the page loads only its own script, style and photos
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # a URL may contain the token
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # the next server on this port may show other data under the same URLs
    "Cache-Control": "no-store",
}
B = TypeVar("B", bound=pydantic.BaseModel)
T = TypeVar("T")


class RequestError(Exception):
    """An error to return to the client.

    Args:
      status: HTTP status.
      message: the reason.
      content: further fields of the JSON.
    """

    def __init__(self, status: int, message: str, **content: Any):
        super().__init__(message)
        self.status = status
        self.content = content


class PageServer:
    """Base class of the servers of web pages; start and stop it within one event loop.

    Args:
      name: name of the page.
      host: name or address to listen on.
      port: 0: any free port.
      token: the token that clients must know; "" if only this machine has access.
      files: names of further static files.
    """

    def __init__(self, name: str, host: str, port: int, token: str = "", files: Sequence[str] = ()):
        access.require_safe(host, token)
        self.name = name
        self.port = port
        self._host = host
        self._token = token
        self._files = (*_SHARED_FILES, f"{name}.css", f"{name}.js", *files)
        self._http = HttpServer(HttpLimits())
        self._pools: list[ThreadPoolExecutor] = []

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the page's API."""
        raise NotImplementedError

    def request_error(self, error: Exception) -> RequestError | None:
        """Convert an exception of a handler; return None if it is a bug."""
        raise NotImplementedError

    async def start(self) -> None:
        """Start listening; raise InputError if the port is in use."""
        checks = [self._respond, self._http.middleware, access.Access(self._token).middleware]
        application = web.Application(middlewares=checks)
        html = pages.render(f"{self.name}.html", page=self.name)
        application.router.add_get("/", _text(html, "text/html"))
        for file in self._files:
            kind = "text/css" if file.endswith(".css") else "text/javascript"
            application.router.add_get(f"/static/{file}", _text(pages.static(file), kind))
        application.router.add_get("/favicon.ico", _no_content)
        application.add_routes(self.routes())
        try:
            self.port = await self._http.start(application, self._host, self.port, _DRAIN_SECONDS)
        except OSError as error:
            await self.stop()
            raise InputError(f"cannot listen on {self._host}: {error}") from error

    async def stop(self) -> None:
        """Accept no new requests, finish the accepted ones, and wait for the threads."""
        await self._http.stop()
        for pool in self._pools:
            shutdown = partial(pool.shutdown, wait=True, cancel_futures=True)
            await asyncio.get_running_loop().run_in_executor(None, shutdown)

    async def serve(self, say: Callable[[str], None]) -> None:
        """Serve until SIGTERM or SIGINT; pass the address to `say` once requests are accepted."""
        stopped = stop_event()
        await self.start()
        query = "?token=... (the token of --token_file)" if self._token else ""
        say(f"{self.name} page: {self.address}{query}")
        await stopped.wait()
        await self.stop()

    @property
    def address(self) -> str:
        """URL of the page, without the token."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/"

    def threads(self, count: int) -> ThreadPoolExecutor:
        """Return a new pool of threads, which `stop` shuts down."""
        self._pools.append(ThreadPoolExecutor(count))
        return self._pools[-1]

    async def body(self, request: web.Request, kind: type[B], most_bytes: int) -> B:
        """Return the JSON body of a POST as a model of type `kind`.

        Raises:
          RequestError: if the body is invalid.
          aiohttp.web.HTTPException: if the body is too large, too slow or compressed.
        """
        if "Content-Encoding" in request.headers:
            raise web.HTTPUnsupportedMediaType(reason="the body must not have a Content-Encoding")
        content = await self._http.body(request, most_bytes)
        try:
            return kind.model_validate_json(content)  # rejects lone surrogates
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the body"
            if first["type"] == "json_invalid":
                where = "not a JSON body"
            raise RequestError(400, f"{where}: {first['msg']}") from error

    @web.middleware
    async def _respond(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Convert errors to JSON and add the headers of the page to every response."""
        try:
            response = await handler(request)
        except web.HTTPException as error:
            if request.path == "/":  # shown by the browser
                response = web.Response(text=f"{error.reason}\n", status=error.status)
            else:
                response = _error_json(RequestError(error.status, error.reason))
        except RequestError as error:
            response = _error_json(error)
        except Exception as error:
            converted = self.request_error(error)
            if converted is None:
                raise
            response = _error_json(converted)
        response.headers.update(_HEADERS)
        return response


say_line = partial(print, flush=True)  # a pipe would buffer the lines


async def run_in(pool: ThreadPoolExecutor, function: Callable[..., T], *arguments: Any) -> T:
    """Return the result of a function that runs in a thread of `pool`."""
    return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)


def jpeg(picture: bytes) -> web.Response:
    """Return a response with the bytes of a JPEG."""
    return web.Response(body=picture, content_type="image/jpeg")


def _error_json(error: RequestError) -> web.Response:
    return web.json_response({"error": str(error), **error.content}, status=error.status)


def _text(content: str, kind: str) -> Handler:
    """Return a handler that answers every request with the same text."""

    async def respond(_request: web.Request) -> web.Response:
        return web.Response(text=content, content_type=kind, charset="utf-8")

    return respond


async def _no_content(_request: web.Request) -> web.Response:
    return web.Response(status=204)
