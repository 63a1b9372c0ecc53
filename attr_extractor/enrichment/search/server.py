"""HTTP server of the search page, for this machine only.

  GET  /                 the page; also /search.css and /search.js
  GET  /api/facts        attributes and their values, number of photos
  POST /api/search       {photo: base64 | product: id, filters: [text]} -> {found: [...]}
  GET  /photo/{number}   a JPEG of a photo, by its number in the index
  GET  /product?id=      a JPEG of a product's first photo

An error is returned as {"error": message}. Photos are read only below the image root and are
requested by number or product; a client cannot pass a path. Uploaded photos are not stored.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, List, TypeVar

import pydantic
from aiohttp import web

from attr_extractor.catalogue.photos import PhotoError
from attr_extractor.enrichment.pictures import Photos
from attr_extractor.enrichment.search import embed, filters, page
from attr_extractor.enrichment.search.index import Found, Index
from attr_extractor.errors import InputError
from attr_extractor.web import responses
from attr_extractor.web.access import HEADERS, Access
from attr_extractor.web.http_server import Handler, HttpLimits, HttpServer
from attr_extractor.web.responses import as_json, jpeg
from attr_extractor.web.stop import stop_asked

HOST = "127.0.0.1"
MOST_BYTES = 20 * 2**20  # of an uploaded photo
COUNT = 48  # products on the page
_MAX_BODY = MOST_BYTES * 4 // 3 + 65_536  # base64, plus the filters
T = TypeVar("T")


@dataclass(frozen=True)
class SearchOptions:
    """Settings of the search server."""

    index: str | Path
    model: str | Path
    image_root: str | Path | None = None  # None: the image root of the index build
    port: int = 8700  # 0: any free port


class _Search(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    photo: str = ""
    product: str = ""
    filters: List[str] = pydantic.Field([], max_length=200)


class Server:
    """A search server that starts and stops within one event loop."""

    def __init__(self, options: SearchOptions):
        """Open the index and the model; raise InputError if an option is invalid."""
        self._embedder = embed.Embedder(options.model)
        self._index = Index(options.index, self._embedder.model)
        self._photos = Photos(options.image_root or self._index.facts.image_root)
        self._wanted_port, self.port = options.port, 0
        self._searching = ThreadPoolExecutor(1)
        self._reading = ThreadPoolExecutor(2)

    async def start(self) -> None:
        """Start listening; raise InputError if the port is in use."""
        self._http = HttpServer(HttpLimits())
        rules = [self._answer, self._http.middleware, Access("").middleware]
        app = web.Application(middlewares=rules)
        for path, content, kind in (
            ("/", page.HTML, "text/html"),
            ("/search.css", page.STYLE, "text/css"),
            ("/search.js", page.SCRIPT, "text/javascript"),
        ):
            app.router.add_get(path, responses.static(content, kind))
        app.router.add_get("/favicon.ico", responses.nothing)
        app.router.add_get("/api/facts", self._facts)
        app.router.add_post("/api/search", self._search)
        app.router.add_get(r"/photo/{number:\d{1,12}}", self._photo)
        app.router.add_get("/product", self._product)
        try:
            self.port = await self._http.start(app, HOST, self._wanted_port, drain_seconds=10.0)
        except OSError as error:
            await self.stop()
            raise InputError(f"cannot listen on {HOST}: {error}") from error

    async def stop(self) -> None:
        """Finish accepted requests and accept no new ones."""
        await self._http.stop()
        for pool in (self._searching, self._reading):
            pool.shutdown(wait=False, cancel_futures=True)

    @property
    def address(self) -> str:
        """URL of the page."""
        return f"http://{HOST}:{self.port}/"

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Convert errors to JSON and add the page's headers to every response."""
        try:
            response = await handler(request)
        except PhotoError as error:
            response = as_json({"error": f"the photo cannot be read: {error}"}, 404)
        except InputError as error:
            response = as_json({"error": str(error)}, 400)
        except web.HTTPException as error:
            response = as_json({"error": error.reason}, error.status)
        response.headers.update(HEADERS)
        response.headers["Cache-Control"] = "no-store"
        return response

    async def _facts(self, _request: web.Request) -> web.Response:
        schema = self._index.schema
        attributes = {a.name: {"title": a.title(), "values": a.values} for a in schema.attributes}
        return as_json(
            {
                "attributes": attributes,
                "category": schema.category,
                "photos": len(self._index),
                "most_bytes": MOST_BYTES,
            }
        )

    async def _search(self, request: web.Request) -> web.Response:
        try:
            body = await responses.read_body(self._http, request, _Search, _MAX_BODY)
        except ValueError as error:
            raise InputError(str(error)) from error
        try:
            photo = base64.b64decode(body.photo, validate=True)
        except ValueError as error:
            raise InputError(f"invalid request body: {error}") from error
        if bool(photo) == bool(body.product):
            raise InputError("send either a photo or a product id")
        if len(photo) > MOST_BYTES:
            raise web.HTTPRequestEntityTooLarge(MOST_BYTES, len(photo))
        found = await self._run(self._searching, self._nearest, photo, body.product, body.filters)
        return as_json({"found": [asdict(each) for each in found]})

    def _nearest(self, photo: bytes, product: str, conditions: list[str]) -> list[Found]:
        chosen = filters.parse_all(conditions, self._index.schema)
        if product:
            query = self._index.vector(self._number_of(product))
        else:
            query = self._embedder.raw(photo)
        return self._index.nearest(query, COUNT, chosen, without=product or None)

    def _number_of(self, product: str) -> int:
        number = self._index.photo_of(product)
        if number is None:
            raise InputError(f"the index has no product {product!r}")
        return number

    async def _photo(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        if number >= len(self._index):
            raise web.HTTPNotFound(reason=f"the index has no photo {number}")
        return jpeg(await self._run(self._reading, self._shown, number))

    async def _product(self, request: web.Request) -> web.Response:
        number = self._number_of(request.query.get("id", ""))
        return jpeg(await self._run(self._reading, self._shown, number))

    def _shown(self, number: int) -> bytes:
        return self._photos.shown(self._index.found(number).image, "", 0)

    async def _run(self, pool: ThreadPoolExecutor, step: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, step, *arguments)


_say = partial(print, flush=True)  # a pipe would buffer the lines


def run(options: SearchOptions, say: Callable[[str], None] = _say) -> None:
    """Serve until SIGTERM or SIGINT; raise InputError if an option is invalid."""
    asyncio.run(_run(Server(options), say))


async def _run(server: Server, say: Callable[[str], None]) -> None:
    stopped = stop_asked()
    await server.start()
    say(f"search page: {server.address}")
    await stopped.wait()
    await server.stop()
