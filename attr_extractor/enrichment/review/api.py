"""HTTP API of the review page.

  GET  /                                  the page; also /review.css and /review.js
  GET  /api/facts                         attributes, their values, and options of the filters
  POST /api/next, decide, skip, undo      one step each; the response contains the progress
  GET  /photo/{item}/{index}              a JPEG
  GET  /heat/{item}/{index}?value=        a JPEG: the photo with the heat map of a value

An error is returned as {"error": message}: 400 for an invalid request, 404 if something does not
exist, 409 with the existing decision if the item is already decided, 503 if the decisions file
cannot be written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, List, TypeVar

import pydantic
from aiohttp import web

from attr_extractor.catalogue.photos import PhotoError
from attr_extractor.catalogue.table import image_paths
from attr_extractor.enrichment.pictures import Photos
from attr_extractor.enrichment.review import page
from attr_extractor.enrichment.review.filters import Filter
from attr_extractor.enrichment.review.queue import Queue, ReviewError, Window
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema
from attr_extractor.web import responses
from attr_extractor.web.access import HEADERS, Access
from attr_extractor.web.http_server import Handler, HttpLimits, HttpServer
from attr_extractor.web.responses import as_json, jpeg

if TYPE_CHECKING:
    from attr_extractor.enrichment.review.heat import Heat

MAX_BODY = 65_536  # bytes
_PHOTO_THREADS = 2
T = TypeVar("T")


class _Body(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    reviewer: str = pydantic.Field(min_length=1, max_length=60)
    holder: str = pydantic.Field(pattern=r"^[0-9a-f]{32}$")
    queue: str

    @pydantic.field_validator("reviewer")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        name = " ".join(name.split())
        if not name or not name.isprintable():
            raise ValueError("the name must consist of printable characters")
        return name

    @property
    def window(self) -> Window:
        return Window(self.reviewer, self.holder)


class _Which(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    attribute: str = ""
    category: str = ""
    verdict: str = ""
    seller: str = ""
    product: str = ""


class _Next(_Body):
    which: _Which = _Which()


class _Step(_Next):
    item: int = pydantic.Field(ge=1, le=2**31)


class _Decide(_Step):
    kind: str = pydantic.Field(pattern="^(seller|values|none)$")
    values: List[str] = []


B = TypeVar("B", bound=_Body)


class Api:
    """Request handlers for a queue and its photos.

    Args:
      queue: the queue.
      queue_id: unique id of the queue; requests of a page with another id are rejected.
      schema: the schema of the cells.
      photos: photos of the items.
      heat: heat maps, None without a run.
    """

    def __init__(
        self, queue: Queue, queue_id: str, schema: Schema, photos: Photos, heat: Heat | None
    ):
        self._queue_id = queue_id
        self._queue = queue
        self._schema = schema
        self._photos = photos
        self._heat = heat
        self.http = HttpServer(HttpLimits())
        # the SQLite connection and TensorFlow are each used by a single thread
        self._steps = ThreadPoolExecutor(1)
        self._explaining = ThreadPoolExecutor(1)
        self._reading = ThreadPoolExecutor(_PHOTO_THREADS)

    def application(self, token: str) -> web.Application:
        """Return the application with routes, access rules and limits."""
        rules = [self._answer, self.http.middleware, Access(token).middleware]
        app = web.Application(middlewares=rules)
        for path, content, kind in (
            ("/", page.html(), "text/html"),
            ("/review.css", page.STYLE, "text/css"),
            ("/review.js", page.SCRIPT, "text/javascript"),
        ):
            app.router.add_get(path, responses.static(content, kind))
        app.router.add_get("/favicon.ico", responses.nothing)
        app.router.add_get("/api/facts", self._facts)
        app.router.add_post("/api/next", self._next)
        app.router.add_post("/api/decide", self._decide)
        app.router.add_post("/api/skip", self._skip)
        app.router.add_post("/api/undo", self._undo)
        app.router.add_get(r"/photo/{item:\d{1,9}}/{index:\d{1,4}}", self._photo)
        app.router.add_get(r"/heat/{item:\d{1,9}}/{index:\d{1,4}}", self._heat_map)
        return app

    def close(self) -> None:
        """Stop the threads; a running step is finished and committed first."""
        for pool in (self._steps, self._explaining, self._reading):
            pool.shutdown(wait=True, cancel_futures=True)

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Convert errors to JSON and add the page's headers to every response."""
        try:
            response = await handler(request)
        except ReviewError as refusal:
            content = {"error": str(refusal), "decision": refusal.decision}
            response = as_json(content, refusal.status)
        except PhotoError as error:
            response = as_json({"error": str(error)}, 404)
        except InputError as error:
            response = as_json({"error": str(error)}, 503)
        except web.HTTPException as error:
            if request.path == "/":  # shown by the browser
                response = web.Response(text=f"{error.reason}\n", status=error.status)
            else:
                response = as_json({"error": error.reason}, error.status)
        response.headers.update(HEADERS)
        # another queue uses the same item numbers for other items
        response.headers["Cache-Control"] = "no-store"
        return response

    async def _facts(self, _request: web.Request) -> web.Response:
        choices = await self._run(self._steps, self._queue.choices)
        attributes = {
            a.name: {"title": a.title(), "exclusive": a.exclusive, "values": a.values}
            for a in self._schema.attributes
        }
        facts = {"attributes": attributes, "choices": choices, "heat": self._heat is not None}
        facts["queue"] = self._queue_id
        return as_json(facts)

    async def _next(self, request: web.Request) -> web.Response:
        body = await self._read(request, _Next)
        item = await self._run(self._steps, self._queue.next, body.window, _filter(body))
        return await self._progress(body, item)

    async def _decide(self, request: web.Request) -> web.Response:
        body = await self._read(request, _Decide)
        await self._run(
            *(self._steps, self._queue.decide, body.window, body.item, body.kind, body.values)
        )
        return await self._progress(body, None)

    async def _skip(self, request: web.Request) -> web.Response:
        body = await self._read(request, _Step)
        await self._run(self._steps, self._queue.skip, body.window, body.item)
        return await self._progress(body, None)

    async def _undo(self, request: web.Request) -> web.Response:
        body = await self._read(request, _Next)
        item = await self._run(self._steps, self._queue.undo, body.window)
        return await self._progress(body, item)

    async def _progress(self, body: _Next, item: dict[str, Any] | None) -> web.Response:
        progress = await self._run(self._steps, self._queue.progress, body.reviewer, _filter(body))
        return as_json({"item": item and self._shown(item), "progress": progress})

    def _shown(self, item: dict[str, Any]) -> dict[str, Any]:
        """Return an item for the page: number of photos instead of paths, and allowed values."""
        shown = {name: item[name] for name in item if name not in ("image", "box", "decided")}
        shown["photos"] = len(image_paths(item["image"]))
        where = self._schema.slices[item["attribute"]]
        categories = self._schema[self._schema.category].values
        values = self._schema[item["attribute"]].values
        if item["category"] in categories:
            allowed = self._schema.allowed[categories.index(item["category"]), where]
            shown["not_allowed"] = [value for value, may in zip(values, allowed) if not may]
        else:
            shown["not_allowed"] = []
        return shown

    async def _photo(self, request: web.Request) -> web.Response:
        item, index = await self._item(request)
        photo = (item["image"], item["box"], index)
        return jpeg(await self._run(self._reading, self._photos.shown, *photo))

    async def _heat_map(self, request: web.Request) -> web.Response:
        if self._heat is None:
            raise ReviewError(404, "no heat maps: the page was started without --run_dir")
        item, index = await self._item(request)
        value = request.query.get("value", "")
        if value not in self._schema[item["attribute"]].values:
            raise ReviewError(400, f"{item['attribute']} has no value {value!r}")
        asked = (item["image"], item["box"], index, item["attribute"], value)
        picture = await self._run(self._explaining, self._heat.drawn, *asked)
        if picture is None:
            raise ReviewError(404, f"no region of the photo is evidence for {value!r}")
        return jpeg(picture)

    async def _item(self, request: web.Request) -> tuple[Any, int]:
        number = int(request.match_info["item"])
        item = await self._run(self._steps, self._queue.item, number)
        return item, int(request.match_info["index"])

    async def _read(self, request: web.Request, kind: type[B]) -> B:
        """Return the body of a POST; raise ReviewError if it is invalid."""
        try:
            body = await responses.read_body(self.http, request, kind, MAX_BODY)
        except ValueError as error:
            raise ReviewError(400, str(error)) from error
        if body.queue != self._queue_id:
            raise ReviewError(409, "the server now has another queue: reload the page")
        return body

    async def _run(self, pool: ThreadPoolExecutor, step: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, step, *arguments)


def _filter(body: _Next) -> Filter:
    return Filter(**body.which.model_dump())
