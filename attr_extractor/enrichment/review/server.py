"""Server of the review page.

  GET  /                                  the page
  GET  /api/page                          attributes with their values, and the filters' options
  POST /api/next, decide, skip, undo      one step each; the response contains the progress
  GET  /photo/{item}/{index}              a JPEG
  GET  /heat/{item}/{index}?value=        a JPEG: the photo with the heat map of a value

Errors: 400 for an invalid request, 404 if something does not exist, 409 with the existing decision
if the item is already decided, 503 if the decisions file cannot be written. On SIGTERM or SIGINT
the server finishes accepted requests and stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, TypeVar

import numpy as np
import pydantic
from aiohttp import web

from attr_extractor import ownership, storage, working_copy
from attr_extractor.catalogue.photos import PhotoError
from attr_extractor.catalogue.table import image_paths
from attr_extractor.enrichment.cells import CellsFile, schema_of
from attr_extractor.enrichment.pictures import Photos
from attr_extractor.enrichment.review.build_queue import open_queue
from attr_extractor.enrichment.review.queue import (
    LEASE_SECONDS,
    Filter,
    Item,
    Queue,
    ReviewError,
    Window,
)
from attr_extractor.errors import InputError
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.schema import Schema
from attr_extractor.web.page_server import PageServer, RequestError, jpeg, run_in, say_line

if TYPE_CHECKING:
    from attr_extractor.enrichment.review.heat import Heat
    from attr_extractor.serving.model_dir import ModelFacts

MOST = 100_000  # cells in the queue
_MAX_BODY = 65_536  # bytes
_PHOTO_THREADS = 2


@dataclass(frozen=True)
class ReviewOptions:
    """Settings of the review server."""

    cells: str | Path
    decisions: str | Path
    image_root: str | Path
    schema: str | Path | None = None  # or `model`
    model: str | Path | None = None  # exported model, whose schema and thresholds are used
    run_dir: str | Path | None = None  # for heat maps
    host: str = "127.0.0.1"
    port: int = 8600  # 0: any free port
    token: str = ""
    most: int = MOST
    lease_seconds: float = LEASE_SECONDS


class _Body(pydantic.BaseModel):
    """Body of every POST."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    reviewer: str = pydantic.Field(min_length=1, max_length=60)
    holder: str = pydantic.Field(pattern=r"^[0-9a-f]{32}$")
    queue: str  # id of the queue that the page was opened with
    filter: Filter = Filter()

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


class _Skip(_Body):
    item: int = pydantic.Field(ge=1, le=2**31)


class _Decide(_Skip):
    kind: str = pydantic.Field(pattern="^(seller|values|none)$")
    values: List[str] = []


B = TypeVar("B", bound=_Body)


class Server(PageServer):
    """A review server that starts and stops within one event loop."""

    def __init__(self, options: ReviewOptions):
        """Build the queue or open an existing one; raise InputError if an option is invalid."""
        super().__init__("review", options.host, options.port, options.token, ["review_view.js"])
        source, thresholds = _cells(options)
        self._schema = source.schema
        self._photos = Photos(options.image_root)
        self._heat: Heat | None = None
        if options.run_dir is not None:
            from attr_extractor.enrichment.review.heat import Heat  # imports TensorFlow

            self._heat = Heat(options.run_dir, self._schema, options.image_root)
        self._file, info = open_queue(
            options.decisions, source, self._schema, thresholds, options.most
        )
        self.queue_id, self.summary = info.queue, info.summary
        self._queue = Queue(self._file, self._schema, options.lease_seconds)
        # the SQLite connection and TensorFlow are each used by a single thread
        self._queue_thread = self.threads(1)
        self._heat_thread = self.threads(1)
        self._photo_threads = self.threads(_PHOTO_THREADS)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the page's API."""
        return [
            web.get("/api/page", self._get_page),
            web.post("/api/next", self._post_next),
            web.post("/api/decide", self._post_decide),
            web.post("/api/skip", self._post_skip),
            web.post("/api/undo", self._post_undo),
            web.get(r"/photo/{item:\d{1,9}}/{index:\d{1,4}}", self._get_photo),
            web.get(r"/heat/{item:\d{1,9}}/{index:\d{1,4}}", self._get_heat_map),
        ]

    def request_error(self, error: Exception) -> RequestError | None:
        """Convert an exception of a handler; return None if it is a bug."""
        if isinstance(error, ReviewError):
            decision = error.decision and asdict(error.decision)
            return RequestError(error.status, str(error), decision=decision)
        if isinstance(error, PhotoError):
            return RequestError(404, str(error))
        if isinstance(error, InputError):  # the decisions file
            return RequestError(503, str(error))
        return None

    async def stop(self) -> None:
        """Finish accepted requests, accept no new ones, and close the decisions file."""
        await super().stop()
        self._file.close()

    async def _get_page(self, _request: web.Request) -> web.Response:
        attributes = {
            a.name: {"title": a.title(), "exclusive": a.exclusive, "values": a.values}
            for a in self._schema.attributes
        }
        return web.json_response(
            {
                "attributes": attributes,
                "choices": await run_in(self._queue_thread, self._queue.choices),
                "heat": self._heat is not None,
                "queue": self.queue_id,
            }
        )

    async def _post_next(self, request: web.Request) -> web.Response:
        body = await self._body(request, _Body)
        item = await run_in(self._queue_thread, self._queue.next, body.window, body.filter)
        return await self._item_and_progress(body, item)

    async def _post_decide(self, request: web.Request) -> web.Response:
        body = await self._body(request, _Decide)
        decision = (body.window, body.item, body.kind, body.values)
        await run_in(self._queue_thread, self._queue.decide, *decision)
        return await self._item_and_progress(body, None)

    async def _post_skip(self, request: web.Request) -> web.Response:
        body = await self._body(request, _Skip)
        await run_in(self._queue_thread, self._queue.skip, body.window, body.item)
        return await self._item_and_progress(body, None)

    async def _post_undo(self, request: web.Request) -> web.Response:
        body = await self._body(request, _Body)
        item = await run_in(self._queue_thread, self._queue.undo, body.window)
        return await self._item_and_progress(body, item)

    async def _item_and_progress(self, body: _Body, item: Item | None) -> web.Response:
        progress = await run_in(
            self._queue_thread, self._queue.progress, body.reviewer, body.filter
        )
        content = None if item is None else self._item_content(item)
        return web.json_response({"item": content, "progress": asdict(progress)})

    def _item_content(self, item: Item) -> dict[str, Any]:
        """Return an item for the page: number of photos instead of paths, and ruled-out values."""
        content = asdict(item)
        del content["image"], content["box"]
        content["photos"] = len(image_paths(item.image))
        categories = self._schema[self._schema.category].values
        content["not_allowed"] = []
        if item.category in categories:
            where = self._schema.slices[item.attribute]
            allowed = self._schema.allowed[categories.index(item.category), where]
            values = self._schema[item.attribute].values
            content["not_allowed"] = [value for value, may in zip(values, allowed) if not may]
        return content

    async def _get_photo(self, request: web.Request) -> web.Response:
        item, index = await self._item_and_index(request)
        photo = (item.image, item.box, index)
        return jpeg(await run_in(self._photo_threads, self._photos.shown, *photo))

    async def _get_heat_map(self, request: web.Request) -> web.Response:
        if self._heat is None:
            raise RequestError(404, "no heat maps: the page was started without --run_dir")
        item, index = await self._item_and_index(request)
        value = request.query.get("value", "")
        if value not in self._schema[item.attribute].values:
            raise RequestError(400, f"{item.attribute} has no value {value!r}")
        arguments = (item.image, item.box, index, item.attribute, value)
        picture = await run_in(self._heat_thread, self._heat.drawn, *arguments)
        if picture is None:
            raise RequestError(404, f"no region of the photo is evidence for {value!r}")
        return jpeg(picture)

    async def _item_and_index(self, request: web.Request) -> tuple[Item, int]:
        number = int(request.match_info["item"])
        item = await run_in(self._queue_thread, self._queue.item, number)
        return item, int(request.match_info["index"])

    async def _body(self, request: web.Request, kind: type[B]) -> B:
        """Return the body of a POST; raise RequestError if it is invalid."""
        body = await self.body(request, kind, _MAX_BODY)
        if body.queue != self.queue_id:
            raise RequestError(409, "the server now has another queue: reload the page")
        return body


def run(options: ReviewOptions, say: Callable[[str], None] = say_line) -> None:
    """Serve until SIGTERM or SIGINT; `say` prints the address when requests are accepted.

    Raises:
      InputError: if an option is invalid, or if the port is in use.
      TemporaryError: if another attr-extractor review uses the decisions file.
    """
    if storage.is_remote(options.decisions):
        raise InputError(f"{options.decisions}: --decisions is a database; name a file on a disk")
    with ownership.file(options.decisions, "--decisions"):
        server = Server(options)
        say(server.summary)
        asyncio.run(server.serve(say))
        say("stopped; all decisions are in the decisions file")


def _cells(options: ReviewOptions) -> tuple[CellsFile, np.ndarray]:
    """Return the cells file and the thresholds of the values, float32 [V]."""
    schema, model = schema_of(options.schema, options.model)
    source = CellsFile(options.cells, schema, model)
    if options.run_dir is not None:
        source.require_run(options.run_dir)
    return source, _thresholds(options, schema, model).per_value(schema)


def _thresholds(options: ReviewOptions, schema: Schema, model: ModelFacts | None) -> Thresholds:
    """Return the thresholds of the model, else of the run, else of the schema."""
    if model is not None:
        return model.thresholds
    if options.run_dir is not None:
        return Thresholds.read(working_copy.folder(options.run_dir) / "thresholds.json", schema)
    return Thresholds.of_schema(schema)
