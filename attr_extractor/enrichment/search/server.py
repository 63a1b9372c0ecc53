"""Server of the search page, for this machine only.

  GET  /                 the page
  GET  /api/page         attributes and their values, number of photos
  POST /api/search       {photo: base64 | product: id, filters: [text]} -> {hits: [...]}
  GET  /photo/{number}   a JPEG of a photo, by its number in the index
  GET  /product?id=      a JPEG of a product's first photo

Photos are read only below the image root and are requested by number or product; a client cannot
pass a path. Uploaded photos are not stored.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import List

import pydantic
from aiohttp import web

from attr_extractor.catalogue.photos import PhotoError
from attr_extractor.enrichment.pictures import Photos
from attr_extractor.enrichment.search.index import Filter, Hit, Index
from attr_extractor.enrichment.search.query import Embedder
from attr_extractor.errors import InputError
from attr_extractor.web.page_server import PageServer, RequestError, jpeg, run_in, say_line

MOST_BYTES = 20 * 2**20  # of an uploaded photo
COUNT = 48  # products on the page
_MAX_BODY = MOST_BYTES * 4 // 3 + 65_536  # base64, plus the filters
_PHOTO_THREADS = 2


@dataclass(frozen=True)
class SearchOptions:
    """Settings of the search server."""

    index: str | Path
    model: str | Path
    image_root: str | Path | None = None  # None: the image root of the index build
    port: int = 8700  # 0: any free port


class _SearchBody(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    photo: str = ""
    product: str = ""
    filters: List[str] = pydantic.Field([], max_length=200)


class Server(PageServer):
    """A search server that starts and stops within one event loop."""

    def __init__(self, options: SearchOptions):
        """Open the index and the model; raise InputError if an option is invalid."""
        super().__init__("search", "127.0.0.1", options.port)
        self._embedder = Embedder(options.model)
        self._index = Index(options.index, self._embedder.model)
        self._photos = Photos(options.image_root or self._index.facts.image_root)
        self._search_thread = self.threads(1)
        self._photo_threads = self.threads(_PHOTO_THREADS)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the page's API."""
        return [
            web.get("/api/page", self._get_page),
            web.post("/api/search", self._post_search),
            web.get(r"/photo/{number:\d{1,12}}", self._get_photo),
            web.get("/product", self._get_product),
        ]

    def request_error(self, error: Exception) -> RequestError | None:
        """Convert an exception of a handler; return None if it is a bug."""
        if isinstance(error, PhotoError):
            return RequestError(404, f"the photo cannot be read: {error}")
        if isinstance(error, InputError):
            return RequestError(400, str(error))
        return None

    async def _get_page(self, _request: web.Request) -> web.Response:
        schema = self._index.schema
        attributes = {a.name: {"title": a.title(), "values": a.values} for a in schema.attributes}
        return web.json_response(
            {
                "attributes": attributes,
                "category": schema.category,
                "photos": len(self._index),
                "most_bytes": MOST_BYTES,
            }
        )

    async def _post_search(self, request: web.Request) -> web.Response:
        body = await self.body(request, _SearchBody, _MAX_BODY)
        try:
            photo = base64.b64decode(body.photo, validate=True)
        except ValueError as error:
            raise RequestError(400, f"invalid request body: {error}") from error
        if bool(photo) == bool(body.product):
            raise RequestError(400, "send either a photo or a product id")
        if len(photo) > MOST_BYTES:
            raise web.HTTPRequestEntityTooLarge(MOST_BYTES, len(photo))
        query = (photo, body.product, body.filters)
        hits = await run_in(self._search_thread, self._nearest, *query)
        return web.json_response({"hits": [asdict(hit) for hit in hits]})

    def _nearest(self, photo: bytes, product: str, conditions: list[str]) -> list[Hit]:
        filters = [Filter.parse(text, self._index.schema) for text in conditions]
        if product:
            query = self._index.vector(self._number_of(product))
        else:
            query = self._embedder.raw(photo)
        return self._index.nearest(query, COUNT, filters, without=product or None)

    def _number_of(self, product: str) -> int:
        number = self._index.photo_of(product)
        if number is None:
            raise RequestError(400, f"the index has no product {product!r}")
        return number

    async def _get_photo(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        if number >= len(self._index):
            raise RequestError(404, f"the index has no photo {number}")
        return jpeg(await run_in(self._photo_threads, self._shown, number))

    async def _get_product(self, request: web.Request) -> web.Response:
        number = self._number_of(request.query.get("id", ""))
        return jpeg(await run_in(self._photo_threads, self._shown, number))

    def _shown(self, number: int) -> bytes:
        return self._photos.shown(self._index.hit(number).image, "", 0)


def run(options: SearchOptions, say: Callable[[str], None] = say_line) -> None:
    """Serve until SIGTERM or SIGINT; raise InputError if an option is invalid."""
    asyncio.run(Server(options).serve(say))
