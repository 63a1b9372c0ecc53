"""What a page's server takes and gives, whatever page it is: JSON bodies, files, pictures."""

from __future__ import annotations

from typing import Any, TypeVar

import pydantic
from aiohttp import web

from attr_extractor.serving.http_server import Handler, HttpServer

B = TypeVar("B", bound=pydantic.BaseModel)


async def read_body(server: HttpServer, request: web.Request, kind: type[B], most_bytes: int) -> B:
    """The JSON body of a POST.

    Raises:
      ValueError: it is not of its kind; the message says why.
      aiohttp.web.HTTPException: it is too large, too slow, or compressed, as no page sends it.
    """
    if "Content-Encoding" in request.headers:
        raise web.HTTPUnsupportedMediaType(reason="a body without Content-Encoding is needed")
    content = await server.body(request, most_bytes)
    try:
        return kind.model_validate_json(content)  # which takes no half surrogate pairs
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise ValueError(f"not a JSON body: {first['msg']}") from error
        where = ".".join(map(str, first["loc"])) or "the body"
        raise ValueError(f"{where}: {first['msg']}") from error


def static(content: str, kind: str) -> Handler:
    """Answers every request with the same text."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=content, content_type=kind, charset="utf-8")

    return answer


async def nothing(_request: web.Request) -> web.Response:
    """An answer without content."""
    return web.Response(status=204)


def as_json(content: Any, status: int = 200) -> web.Response:
    """Content as JSON."""
    return web.json_response(content, status=status)


def jpeg(picture: bytes) -> web.Response:
    """The bytes of a JPEG."""
    return web.Response(body=picture, content_type="image/jpeg")
