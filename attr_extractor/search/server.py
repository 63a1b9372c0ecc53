"""The search page over HTTP, for this machine only.

  GET  /                 the page; /search.css and /search.js beside it
  GET  /api/facts        attributes and their values, how many photos
  POST /api/search       {photo: base64 | product: id, filters: [text]} -> {found: [...]}
  GET  /photo/{number}   a JPEG of a photo of the index, by its number there
  GET  /product?id=      a JPEG of a product's first photo

A refusal is {"error": why}. A photo is read below the image root only, and asked for by number or
product: no path comes from outside. What is sent is not kept.
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
from attr_extractor.errors import InputError
from attr_extractor.review import responses
from attr_extractor.review.access import HEADERS, Access
from attr_extractor.review.pictures import Photos
from attr_extractor.review.responses import as_json, jpeg
from attr_extractor.search import embed, filters, page
from attr_extractor.search.index import Found, Index
from attr_extractor.serving.http_server import Handler, HttpLimits, HttpServer
from attr_extractor.serving.stop import stop_asked

HOST = "127.0.0.1"
MOST_BYTES = 20 * 2**20  # of a photo that is sent
COUNT = 48  # products on the page
_MAX_BODY = MOST_BYTES * 4 // 3 + 65_536  # base64, and the filters
T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """What is searched, and where the page is."""

    index: str | Path
    model: str | Path
    image_root: str | Path | None = None  # None: where it was when the index was built
    port: int = 8700  # 0: any that is free


class _Search(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    photo: str = ""
    product: str = ""
    filters: List[str] = pydantic.Field([], max_length=200)


class Server:
    """A page that can be started and stopped within one event loop."""

    def __init__(self, options: Options):
        """Opens index and model; raises InputError where something given is wrong."""
        self._embedder = embed.Embedder(options.model)
        self._index = Index(options.index, self._embedder.model)
        self._photos = Photos(options.image_root or self._index.facts.image_root)
        self._wanted_port, self.port = options.port, 0
        self._searching = ThreadPoolExecutor(1)
        self._reading = ThreadPoolExecutor(2)

    async def start(self) -> None:
        """Listens; raises InputError where the port is taken."""
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
        """Answers what was accepted and takes nothing new."""
        await self._http.stop()
        for pool in (self._searching, self._reading):
            pool.shutdown(wait=False, cancel_futures=True)

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.port}/"

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turns refusals into JSON, and gives every answer the page's headers."""
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
            raise InputError(f"not a body of this page: {error}") from error
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


_say = partial(print, flush=True)  # a pipe would keep the lines until the end


def run(options: Options, say: Callable[[str], None] = _say) -> None:
    """Serves until SIGTERM or SIGINT; raises InputError where something cannot be used."""
    asyncio.run(_run(Server(options), say))


async def _run(server: Server, say: Callable[[str], None]) -> None:
    stopped = stop_asked()
    await server.start()
    say(f"search page: {server.address}")
    await stopped.wait()
    await server.stop()
