"""Request bodies and responses shared by the servers of web pages: JSON, static text, JPEG."""

from __future__ import annotations

from typing import Any, TypeVar

import pydantic
from aiohttp import web

from attr_extractor.web.http_server import Handler, HttpServer

B = TypeVar("B", bound=pydantic.BaseModel)


async def read_body(server: HttpServer, request: web.Request, kind: type[B], most_bytes: int) -> B:
    """Return the JSON body of a POST as a model of type `kind`.

    Raises:
      ValueError: if the body is invalid; the message contains the reason.
      aiohttp.web.HTTPException: if the body is too large, too slow or compressed.
    """
    if "Content-Encoding" in request.headers:
        raise web.HTTPUnsupportedMediaType(reason="the body must not have a Content-Encoding")
    content = await server.body(request, most_bytes)
    try:
        return kind.model_validate_json(content)  # rejects lone surrogates
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise ValueError(f"not a JSON body: {first['msg']}") from error
        where = ".".join(map(str, first["loc"])) or "the body"
        raise ValueError(f"{where}: {first['msg']}") from error


def static(content: str, kind: str) -> Handler:
    """Return a handler that answers every request with the same text."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=content, content_type=kind, charset="utf-8")

    return answer


async def nothing(_request: web.Request) -> web.Response:
    """Return a response without content."""
    return web.Response(status=204)


def as_json(content: Any, status: int = 200) -> web.Response:
    """Return a JSON response."""
    return web.json_response(content, status=status)


def jpeg(picture: bytes) -> web.Response:
    """Return a response with the bytes of a JPEG."""
    return web.Response(body=picture, content_type="image/jpeg")
